//! The doors that the binary adds to a node: Redis and HTTP.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use crema::{
    cache::{NodeView, Places, Router, StartingNode},
    cluster::ClusterMap,
    http::{self, HttpConfig},
    metrics::{DoorMetrics, NodeMetrics},
    multiraft::{govern::Govern as _, introspect::Introspect as _},
    resp::{self, CommandObserver, NodeFacts, RespConfig, RespMode, RespStats},
    types::NodeId,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::args;

/// A door that runs until it is told to stop.
pub(crate) struct Door {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Door {
    /// Stops it, and waits until it has let its clients go.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        // A panic of the door was printed where it happened.
        let _ = self.task.await;
    }
}

/// Binds a port, and says which when that fails.
pub(crate) async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen for {what} on {address}"))
}

/// `/metrics`, `/livez`, `/readyz`, `/status`: open from before the node has joined.
pub(crate) fn open_http(listener: TcpListener, node: &StartingNode) -> Door {
    let (view, metrics) = (node.view().clone(), node.metrics().clone());
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        http::serve(listener, view, &metrics, HttpConfig::default(), stopped).await;
    });
    Door { stop, task }
}

/// What the flags say of the Redis door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RespLimits {
    pub(crate) max_clients: usize,
    pub(crate) write_timeout: Duration,
    pub(crate) local_reads: bool,
    pub(crate) mode: args::RespMode,
}

impl Default for RespLimits {
    fn default() -> Self {
        let RespConfig { max_clients, write_timeout, local_reads, .. } = RespConfig::default();
        Self { max_clients, write_timeout, local_reads, mode: args::RespMode::Proxy }
    }
}

/// The Redis door of a node that has joined.
pub(crate) fn open_resp(
    listener: TcpListener,
    limits: RespLimits,
    node: NodeId,
    router: Router,
    view: NodeView,
    metrics: &NodeMetrics,
) -> Door {
    let mode = match limits.mode {
        args::RespMode::Proxy => RespMode::Proxy,
        args::RespMode::Cluster => RespMode::Cluster(Arc::new(Places::new(node, router.clone()))),
    };
    let config = RespConfig {
        max_clients: limits.max_clients,
        write_timeout: limits.write_timeout,
        local_reads: limits.local_reads,
        mode,
        facts: Arc::new(facts(node, view, metrics)),
        observer: Some(Arc::new(Observer::new(metrics))),
        ..RespConfig::default()
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let stats = Arc::new(RespStats::default());
    let door = metrics.door("resp", &resp::command_names());
    tokio::spawn(follow(stats.clone(), door, stop.clone()));
    let task = tokio::spawn(async move {
        let served = resp::serve(listener, router, config, stats, stopped).await;
        if let Err(error) = served {
            tracing::error!(%error, "the Redis door has failed");
        }
    });
    Door { stop, task }
}

/// Puts what the door counts by itself into the metrics, once a second.
async fn follow(stats: Arc<RespStats>, door: DoorMetrics, stop: CancellationToken) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    let mut refused = 0;
    let mut errors: HashMap<&'static str, u64> = HashMap::new();
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        door.connections.set(stats.connected());
        door.connections_refused.inc_by(stats.connections_refused() - refused);
        refused = stats.connections_refused();
        for command in stats.commands() {
            let last = errors.insert(command.name, command.errors).unwrap_or(0);
            door.command(command.name).record_errors(command.errors - last);
        }
    }
}

/// What clients may ask of the node beside their data.
fn facts(node_id: NodeId, view: NodeView, metrics: &NodeMetrics) -> impl Fn() -> NodeFacts + Send + Sync + 'static {
    let (evictions, expirations) = (metrics.evictions.clone(), metrics.expirations.clone());
    let (hits, misses) = (metrics.cache_hits.clone(), metrics.cache_misses.clone());
    move || {
        let totals = view.status().shards;
        let map = view.map();
        let living = |map: &ClusterMap| map.members.keys().filter(|id| map.incarnation_of(**id).is_some()).count();
        let settings = map.as_ref().map(|map| map.settings).unwrap_or_default();
        NodeFacts {
            node_id,
            nodes: map.as_deref().map_or(0, living),
            shards_hosted: totals.local as usize,
            shards_led: totals.led as usize,
            durable: false,
            max_memory_bytes: settings.capacity.max_bytes * u64::from(totals.total),
            eviction_policy: settings.eviction,
            sure_copies: map.as_ref().map_or(0, |map| u64::from(map.replication_factor) / 2),
            hits: hits.get(),
            misses: misses.get(),
            evicted_keys: evictions.get(),
            expired_keys: expirations.get(),
        }
    }
}

/// Puts the door's times into the metrics.
struct Observer(DoorMetrics);

impl Observer {
    fn new(metrics: &NodeMetrics) -> Self {
        Self(metrics.door("resp", &resp::command_names()))
    }
}

impl CommandObserver for Observer {
    fn observe(&self, command: &'static str, calls: u64, elapsed: Duration) {
        self.0.command(command).record_run(calls, elapsed);
    }
}
