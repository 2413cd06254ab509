//! `crema-node start`: one node of a cluster, until a signal.

use std::time::Duration;

use anyhow::Context as _;
use crema::{
    cache::{NodeOptions, StartingNode, default_workers},
    cluster::{ClusterSpec, map::SharedSettings},
    grpc::ClusterToken,
    machine::store::{Capacity, EvictionPolicy},
    multiraft::node::{Limits, Timings},
    partitioning::SlotHash,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Cluster, Eviction, Start},
    doors::{self, RespLimits},
};

/// The replicas that a shard has when the cluster is large enough.
const DEFAULT_REPLICATION: u32 = 3;

/// What the flags say of the cluster, for so many members.
pub(crate) fn spec(cluster: &Cluster, members: usize) -> ClusterSpec {
    ClusterSpec {
        num_shards: cluster.shards,
        slot_hash: SlotHash::Crc16,
        replication_factor: cluster.replication.unwrap_or(DEFAULT_REPLICATION.min(members as u32)),
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

/// Resolves at the first SIGTERM or SIGINT.
pub(crate) async fn told_to_stop() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

pub(crate) async fn run(start: Start) -> anyhow::Result<()> {
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
        stopped = told_to_stop() => {
            http.close().await;
            return stopped;
        }
    };
    let limits =
        RespLimits { max_clients: start.max_clients, write_timeout: Duration::from_secs(start.write_timeout_s) };
    let (router, view) = (node.router().clone(), node.view().clone());
    let resp = doors::open_resp(resp, limits, start.node_id, router, view, node.metrics(), node.map());
    tracing::info!(node = %start.node_id, resp = %start.resp_addr, "ready for clients");
    told_to_stop().await?;
    tracing::info!("stopping");
    // While the leaderships move the doors still answer; then the clients go, then the shards.
    node.resign().await;
    resp.close().await;
    http.close().await;
    node.shutdown().await;
    Ok(())
}
