//! `crema-node start`: one node of a cluster, until a signal.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use crema::{
    cache::{
        Entry, HAS_ROCKSDB, NodeOptions, RunningNode, StartingNode, Storage, default_replication, default_workers,
    },
    cluster::{
        ClusterSpec,
        discovery::{ClusterDiscovery, DnsDiscovery},
        map::SharedSettings,
    },
    grpc::ClusterToken,
    machine::store::{Capacity, EvictionPolicy},
    multiraft::node::{Limits, Timings},
    network::{PARTING, Superseded},
    partitioning::NODE_SLOT_HASH,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    args::{Cluster, Discovery, Eviction, Start, StorageFlags, StorageKind},
    doors::{self, Door, RespLimits},
};

/// What leaving takes beyond lingering, at most: leaderships, then requests under way.
const STOP_TIME: Duration = Duration::from_secs(5);

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
    let Start { node_id, peers, join, discovery, bootstrap, .. } = start;
    match (peers.is_empty(), join.is_empty(), discovery, bootstrap) {
        (false, true, None, false) => {
            let holds_own = peers.iter().any(|(id, _)| id == node_id);
            anyhow::ensure!(holds_own, "--peers: it does not hold this node; add {node_id}=host:port, or use --join");
            Ok(Entry::Listed(peers.clone()))
        }
        (true, false, None, false) => Ok(Entry::Join(join.clone())),
        (true, true, Some(_), false) => Ok(Entry::Discover),
        (true, true, None, true) => Ok(Entry::Bootstrap),
        (true, true, None, false) => anyhow::bail!(
            "how to find the cluster is not said: give --peers with all first members, --join with addresses of a \
             cluster that exists, --discovery to find them by name, or --bootstrap to form a new one of this node"
        ),
        _ => anyhow::bail!("--peers, --join, --discovery and --bootstrap exclude each other; give one of them"),
    }
}

/// What finds the others, by the flags.
fn discovery(start: &Start) -> Option<Arc<dyn ClusterDiscovery>> {
    let Discovery::Dns { name, port } = start.discovery.as_ref()?;
    let dns = DnsDiscovery::new(name.clone(), *port);
    Some(match start.dns_server {
        Some(server) => Arc::new(dns.with_resolver(server.to_string())),
        None => Arc::new(dns),
    })
}

/// Where the logs are, by the flags; `given` names those that are of use on disk only.
fn storage(flags: &StorageFlags, given: &[String]) -> anyhow::Result<Storage> {
    match (flags.storage, &flags.data_dir) {
        (StorageKind::Memory, _) => {
            anyhow::ensure!(
                given.is_empty(),
                "{}: of no use with --storage memory; add --storage rocksdb",
                given.join(", ")
            );
            Ok(Storage::Memory)
        }
        (StorageKind::RocksDb, _) if !HAS_ROCKSDB => {
            anyhow::bail!("--storage rocksdb: this build has no RocksDB; build crema-node with --features rocksdb")
        }
        (StorageKind::RocksDb, Some(dir)) if !dir.as_os_str().is_empty() => {
            Ok(Storage::Disk(flags.disk(dir.clone())))
        }
        (StorageKind::RocksDb, _) => {
            anyhow::bail!("--storage rocksdb: --data-dir is missing; it says where the logs go")
        }
    }
}

fn options(start: &Start, given: &[String]) -> anyhow::Result<NodeOptions> {
    anyhow::ensure!(
        start.shutdown_timeout >= start.linger + STOP_TIME,
        "--shutdown-timeout is {:?}; beyond --linger ({:?}) a stop takes up to {STOP_TIME:?}",
        start.shutdown_timeout,
        start.linger
    );
    let entry = entry(start)?;
    let members = match &entry {
        Entry::Listed(members) => members.len(),
        Entry::Bootstrap => 1,
        // Who waits for Init does not know yet of how many members: it takes no more replicas than there are.
        Entry::Join(_) | Entry::Discover => usize::MAX,
    };
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
        limits: Limits { memory_bytes: start.max_memory, ..Limits::default() },
        token: start.cluster_token.clone().and_then(ClusterToken::new),
        discovery: discovery(start),
        storage: storage(&start.storage, given)?,
    })
}

pub(crate) async fn run(start: Start, given: &[String]) -> anyhow::Result<()> {
    let mut signals = StopSignals::watch()?;
    let options = options(&start, given)?;
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
