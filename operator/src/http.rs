//! The HTTP door of the operator: `/metrics`, `/livez` and `/readyz`. Nothing here changes anything.
//!
//! hyper is driven directly: axum's own server sets no bounds on headers and their time.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use crema_operator::{
    health::{Fact, Health},
    metrics::Metrics,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Open connections: Prometheus, the kubelet and a person. More wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a request; also what a connection buffers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// A pause after an accept that failed, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: Metrics,
}

/// Serves until `stop` resolves. What is under way then is cut off: every answer is short.
pub(crate) async fn serve(listener: TcpListener, health: Health, metrics: Metrics, stop: impl Future<Output = ()>) {
    let routes = routes(Shared { health, metrics });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut stop => return,
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let routes = routes.clone();
                    connections.spawn(async move {
                        let _place = place;
                        converse(stream, routes).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n") })
        .with_state(shared)
}

async fn converse(stream: TcpStream, routes: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await {
        tracing::debug!(%error, "HTTP connection");
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response()
}

async fn livez(State(shared): State<Shared>) -> Response {
    verdict(&shared.health.liveness())
}

async fn readyz(State(shared): State<Shared>) -> Response {
    verdict(&shared.health.readiness())
}

/// 200 when every fact holds, else 503; the body names each, as in Kubernetes.
fn verdict(facts: &[Fact]) -> Response {
    let line = |fact: &Fact| {
        let (mark, word) = if fact.ok { ("[+]", "ok") } else { ("[-]", "not ok") };
        format!("{mark}{} {word}: {}\n", fact.name, fact.detail)
    };
    let all = facts.iter().all(|fact| fact.ok);
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, facts.iter().map(line).collect::<String>()).into_response()
}
