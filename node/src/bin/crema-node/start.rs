//! `crema-node start`: one node of a cluster, until a signal.

use std::time::Duration;

use anyhow::Context as _;
use crema::{
    cache::{Entry, NodeOptions, RunningNode, StartingNode, default_replication, default_workers},
    cluster::{ClusterSpec, map::SharedSettings},
    grpc::ClusterToken,
    machine::store::{Capacity, EvictionPolicy},
    multiraft::node::{Limits, Timings},
    partitioning::NODE_SLOT_HASH,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{Cluster, Eviction, Start},
    doors::{self, Door, RespLimits},
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

/// How the node is to find its cluster, by the flags.
fn entry(start: &Start) -> anyhow::Result<Entry> {
    let Start { node_id, peers, join, bootstrap, .. } = start;
    match (peers.is_empty(), join.is_empty(), bootstrap) {
        (false, true, false) => {
            let holds_own = peers.iter().any(|(id, _)| id == node_id);
            anyhow::ensure!(holds_own, "--peers: it does not hold this node; add {node_id}=host:port, or use --join");
            Ok(Entry::Listed(peers.clone()))
        }
        (true, false, false) => Ok(Entry::Join(join.clone())),
        (true, true, true) => Ok(Entry::Bootstrap),
        (true, true, false) => anyhow::bail!(
            "how to find the cluster is not said: give --peers with all first members, --join with addresses of a \
             cluster that exists, or --bootstrap to form a new one of this node"
        ),
        _ => anyhow::bail!("--peers, --join and --bootstrap exclude each other; give one of them"),
    }
}

fn options(start: &Start) -> anyhow::Result<NodeOptions> {
    let entry = entry(start)?;
    // Who waits for Init does not know yet of how many members: it takes no more replicas than there are.
    let members = if start.join.is_empty() { start.peers.len().max(1) } else { usize::MAX };
    let spec = spec(&start.cluster, members);
    let own_in_list = start.peers.iter().find(|(id, _)| *id == start.node_id).map(|(_, address)| address.clone());
    let advertise = start.advertise_addr.clone().or(own_in_list);
    anyhow::ensure!(
        advertise.is_some() || !start.peer_addr.ip().is_unspecified(),
        "--advertise-addr is missing: other nodes can't reach this one at {}; give a name or address and a port",
        start.peer_addr
    );
    Ok(NodeOptions {
        node: start.node_id,
        listen: start.peer_addr,
        advertise: advertise.unwrap_or_else(|| start.peer_addr.to_string()),
        entry,
        client_address: start.resp_addr.to_string(),
        host: start.host_name.clone(),
        zone: start.zone.clone(),
        workers: start.cluster.workers.unwrap_or_else(|| default_workers(spec.num_shards)),
        spec,
        timings: Timings::default(),
        limits: Limits::default(),
        token: start.cluster_token.clone().and_then(ClusterToken::new),
    })
}

pub(crate) async fn run(start: Start) -> anyhow::Result<()> {
    let mut signals = StopSignals::watch()?;
    let options = options(&start)?;
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
    let resp = doors::open_resp(resp, limits, start.node_id, router, view, node.metrics());
    tracing::info!(node = %start.node_id, resp = %start.resp_addr, "ready for clients");
    let superseded = node.superseded();
    let end = tokio::select! {
        reason = superseded => Err(anyhow::anyhow!(
            "{reason}. Its replicas here are dead; start the process again to join as a new incarnation"
        )),
        () = signals.recv() => Ok(()),
    };
    let linger = if end.is_ok() { start.linger } else { Duration::ZERO };
    tracing::info!(?linger, bound = ?start.shutdown_timeout, "stopping");
    let leave = tokio::time::timeout(start.shutdown_timeout, leave(node, resp, http, linger));
    tokio::select! {
        left = leave => left.with_context(|| format!("it did not stop within {:?}", start.shutdown_timeout))?,
        () = signals.recv() => anyhow::bail!("a second signal came before it had stopped"),
    }
    end
}

/// Goes away without a failed request: unready at once, while proxies may still send clients here the leaderships move
/// and the doors answer; then the clients go, then the shards.
async fn leave(node: RunningNode, resp: Door, http: Door, linger: Duration) {
    node.view().set_stopping();
    tokio::join!(node.resign(), tokio::time::sleep(linger));
    resp.close().await;
    node.shutdown().await;
    http.close().await;
}
