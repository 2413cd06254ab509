//! `crema-node start`: one node of a cluster, until a signal.

use std::time::Duration;

use anyhow::Context as _;
use crema::{
    cache::{NodeOptions, StartingNode, default_replication, default_workers},
    cluster::{ClusterSpec, map::SharedSettings},
    grpc::ClusterToken,
    machine::store::{Capacity, EvictionPolicy},
    multiraft::node::{Limits, Timings},
    partitioning::NODE_SLOT_HASH,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{Cluster, Eviction, Start},
    doors::{self, RespLimits},
};

/// What the flags say of the cluster, for so many members.
pub(crate) fn spec(cluster: &Cluster, members: usize) -> ClusterSpec {
    ClusterSpec {
        num_shards: cluster.shards,
        slot_hash: NODE_SLOT_HASH,
        replication_factor: cluster.replication.unwrap_or(default_replication(members)),
        settings: SharedSettings {
            capacity: Capacity { max_entries: cluster.shard_max_entries, max_bytes: cluster.shard_max_bytes },
            eviction: match cluster.eviction {
                Eviction::TinyLfu => EvictionPolicy::TinyLfu,
                Eviction::Lru => EvictionPolicy::Lru,
            },
            default_ttl_ms: cluster.default_ttl_ms,
            ..SharedSettings::default()
        },
    }
}

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

pub(crate) async fn run(start: Start) -> anyhow::Result<()> {
    let mut signals = StopSignals::watch()?;
    let spec = spec(&start.cluster, start.peers.len());
    let options = NodeOptions {
        node: start.node_id,
        listen: start.peer_addr,
        members: start.peers,
        client_address: start.resp_addr.to_string(),
        workers: start.cluster.workers.unwrap_or_else(|| default_workers(spec.num_shards)),
        spec,
        timings: Timings::default(),
        limits: Limits::default(),
        token: start.cluster_token.and_then(ClusterToken::new),
    };
    let resp = doors::bind(start.resp_addr, "Redis clients").await?;
    let http = doors::bind(start.http_addr, "HTTP").await?;
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
        max_clients: start.max_clients as usize,
        write_timeout: Duration::from_secs(start.write_timeout_s),
    };
    let (router, view) = (node.router().clone(), node.view().clone());
    let resp = doors::open_resp(resp, limits, start.node_id, router, view, node.metrics(), node.map());
    tracing::info!(node = %start.node_id, resp = %start.resp_addr, "ready for clients");
    signals.recv().await;
    tracing::info!("stopping");
    // While the leaderships move the doors still answer; then the clients go, then the shards.
    node.resign().await;
    resp.close().await;
    http.close().await;
    node.shutdown().await;
    Ok(())
}
