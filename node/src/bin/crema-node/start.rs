//! `crema-node start`: one node of a cluster, until a signal.

use std::time::Duration;

use anyhow::Context as _;
use crema::{
    cache::{RunningNode, StartingNode},
    network::{PARTING, Superseded},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{ReadLevel, Start},
    config::Settings,
    doors::{self, Door, RespLimits},
    zone,
};

/// SIGTERM and SIGINT. Made once: a signal that comes between two waits is not lost.
pub(crate) struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let term = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
        let int = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
        Ok(Self { term, int })
    }

    /// Resolves at the next of them.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut signals = StopSignals::watch()?;
    let Settings { start, mut options, list: _ } = settings;
    let Start { node: start, cluster, doors: ports, .. } = start;
    if let Some(file) = start.zone_file.as_deref().filter(|_| options.zone.is_empty()) {
        options.zone = tokio::select! {
            zone = zone::told(file) => zone,
            () = signals.recv() => return Ok(()),
        };
    }
    let resp = doors::bind(ports.resp_addr, "Redis clients").await?;
    let http = doors::bind(ports.http_addr, "HTTP").await?;
    let node = StartingNode::listen(options).await?;
    let http = doors::open_http(http, &node);
    let node = tokio::select! {
        joined = node.join() => joined?,
        () = signals.recv() => {
            http.close().await;
            return Ok(());
        }
    };
    let limits = RespLimits {
        max_clients: ports.max_clients as usize,
        write_timeout: Duration::from_secs(ports.write_timeout_s),
        local_reads: ports.read_level == ReadLevel::Local,
        mode: cluster.resp_mode,
    };
    let (router, view) = (node.router().clone(), node.view().clone());
    let resp = doors::open_resp(resp, limits, start.node_id, router, view, node.metrics());
    tracing::info!(node = %start.node_id, resp = %ports.resp_addr, "ready for clients");
    let superseded = node.superseded();
    let end = tokio::select! {
        end = superseded => Some(end),
        () = signals.recv() => None,
    };
    // A node that was removed is as sound as one that is stopped; any other superseded one can answer nobody.
    let linger = match &end {
        None => start.linger,
        // Its peers part with it soon, and it has then nobody to answer from.
        Some(end) if end.removed => start.linger.min(PARTING / 2),
        Some(_) => Duration::ZERO,
    };
    tracing::info!(?linger, bound = ?start.shutdown_timeout, "stopping");
    let leave = tokio::time::timeout(start.shutdown_timeout, leave(node, resp, linger));
    tokio::select! {
        left = leave => left.with_context(|| format!("it did not stop within {:?}", start.shutdown_timeout))?,
        () = signals.recv() => anyhow::bail!("a second signal came before it had stopped"),
    }
    match end {
        None => {}
        Some(Superseded { reason, removed: false }) => {
            anyhow::bail!(
                "{reason}. Its replicas here are dead; start the process again to join as a new incarnation"
            )
        }
        // A supervisor would restart a process that ends, and the new one would join again.
        Some(Superseded { reason, removed: true }) => {
            tracing::info!(reason, "it serves no more, and waits to be stopped");
            signals.recv().await;
        }
    }
    http.close().await;
    Ok(())
}

/// Goes away without a failed request: while proxies may still send clients here the leaderships move and the doors
/// answer; then the clients go, then the shards. `/readyz` has said so from the start.
async fn leave(node: RunningNode, resp: Door, linger: Duration) {
    node.view().set_stopping();
    tokio::join!(node.resign(), tokio::time::sleep(linger));
    resp.close().await;
    node.shutdown().await;
}
