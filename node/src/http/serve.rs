//! Connections of the HTTP door, driven by hyper itself: axum's own server sets no bounds on headers.

use std::future::Future;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{sync::watch, task::JoinSet};

use super::HttpConfig;
use crate::accept::{Acceptor, Connection};

/// The longest head of a request; also what a connection buffers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// Accepts until `stop` resolves, then lets the answers under way finish.
pub(super) async fn run(acceptor: Acceptor, routes: Router, config: &HttpConfig, stop: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            (connection, _) = acceptor.accept() => {
                connections.spawn(converse(http.clone(), connection, routes.clone(), stopping.subscribe()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(acceptor);
    stopping.send_replace(true);
    // What is still open after that is cut off when the set is dropped.
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(config.drain, all).await.ok();
}

async fn converse(http: http1::Builder, connection: Connection, routes: Router, mut stopping: watch::Receiver<bool>) {
    let serving = http.serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes));
    tokio::pin!(serving);
    let finished = tokio::select! {
        served = serving.as_mut() => Some(served),
        // An error means that the server is gone, which is a stop too.
        () = async { stopping.wait_for(|stop| *stop).await.map_or((), drop) } => None,
    };
    let served = match finished {
        Some(served) => served,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection");
    }
}
