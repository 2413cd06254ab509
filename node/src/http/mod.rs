//! The HTTP door: `/metrics`, `/livez`, `/readyz`, `/status` and a page for people at `/`.
//!
//! Sits on [`Introspect`] and the metrics alone. Read-only: nothing here changes anything, and no request body is
//! ever read. Headers, time and connections are bounded, since this port is often open to more people than others.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{net::TcpListener, time::Instant};

use crate::{
    accept::Acceptor,
    metrics::{self, DoorMetrics, MetricsRegistry, NodeMetrics},
    multiraft::introspect::{ClusterStatus, Fact, Introspect, NodeStatus, ShardStatus},
};

mod live;
mod serve;
#[cfg(test)]
mod tests;

use live::Watchdog;

/// Bounds of the door.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Open connections; more are closed at once.
    pub max_connections: usize,
    /// How long a client may take to send a request's headers.
    pub header_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a worker may stand still before `/livez` fails.
    pub stall: Duration,
    /// After the signal to stop: how long answers under way may take.
    pub drain: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 256,
            header_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            drain: Duration::from_secs(2),
        }
    }
}

/// What the handlers share.
struct Shared<I> {
    node: I,
    registry: MetricsRegistry,
    watchdog: Watchdog,
}

type Ctx<I> = State<Arc<Shared<I>>>;

/// The routes of the door, without its bounds; for embedding, and for [`serve`].
pub fn routes<I: Introspect>(node: I, metrics: &NodeMetrics, config: &HttpConfig) -> Router {
    let shared = Shared { node, registry: metrics.registry.clone(), watchdog: Watchdog::new(config.stall) };
    let limit = config.request_timeout;
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(scrape::<I>))
        .route("/livez", get(livez::<I>))
        .route("/readyz", get(readyz::<I>))
        .route("/status", get(status::<I>))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /, /metrics, /livez, /readyz and /status\n") })
        .layer(middleware::from_fn(move |request, next: middleware::Next| async move {
            match tokio::time::timeout(limit, next.run(request)).await {
                Ok(response) => response,
                Err(_) => (StatusCode::GATEWAY_TIMEOUT, "no answer in time\n").into_response(),
            }
        }))
        .with_state(Arc::new(shared))
}

/// Serves the door on `listener` until `stop` resolves and the answers under way are out, or
/// [`HttpConfig::drain`] has passed.
pub async fn serve<I: Introspect>(
    listener: TcpListener,
    node: I,
    metrics: &NodeMetrics,
    config: HttpConfig,
    stop: impl Future<Output = ()>,
) {
    let door: DoorMetrics = metrics.door("http", &[]);
    let acceptor = Acceptor::new(listener, config.max_connections, door);
    let routes = routes(node, metrics, &config);
    serve::run(acceptor, routes, &config, stop).await;
}

async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

async fn scrape<I: Introspect>(State(shared): Ctx<I>) -> Response {
    let text = metrics::render(&shared.registry, &shared.node);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The body of `/status`.
#[derive(Serialize)]
struct StatusPage {
    node: NodeStatus,
    shards: Vec<ShardStatus>,
    /// Nothing before the node belongs to one.
    cluster: Option<ClusterStatus>,
}

async fn status<I: Introspect>(State(shared): Ctx<I>) -> Json<StatusPage> {
    let node = &shared.node;
    Json(StatusPage { node: node.status(), shards: node.shards(), cluster: node.cluster() })
}

async fn readyz<I: Introspect>(State(shared): Ctx<I>) -> Response {
    verdict(&shared.node.readiness())
}

async fn livez<I: Introspect>(State(shared): Ctx<I>) -> Response {
    verdict(&shared.watchdog.look(&shared.node.worker_turns(), Instant::now()))
}

/// 200 when every fact holds, else 503; the body names each, as in Kubernetes.
fn verdict(facts: &[Fact]) -> Response {
    let line = |fact: &Fact| {
        let mark = if fact.ok { "[+]" } else { "[-]" };
        format!("{mark}{} {}: {}\n", fact.name, if fact.ok { "ok" } else { "not ok" }, fact.detail)
    };
    let all = facts.iter().all(|fact| fact.ok);
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, facts.iter().map(line).collect::<String>()).into_response()
}
