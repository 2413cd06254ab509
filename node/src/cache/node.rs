//! A whole node in this process: the peer network, the workers, the router and the gRPC door, wired together.
//!
//! [`RunningNode::start`] is called by [`super::DistributedCache`] and by the binary, which adds the doors for Redis
//! and HTTP.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    pump,
    router::{Joined, Router},
    store::{StoreConfig, entry_store},
    view::NodeView,
};
use crate::{
    cluster::{ClusterMap, ClusterSpec, FormConfig, FormError, FormMode, FormOutcome, Former},
    error::Error,
    faults::Faults,
    grpc::{ClusterToken, GrpcConfig, GrpcDoor},
    metrics::{MetricsRegistry, NodeMetrics},
    multiraft::{
        node::{Event, Health, Limits, Timings},
        runtime::{Runtime, RuntimeConfig},
    },
    network::{self, NetworkSettings, PeerDoor},
    partitioning::ShardMap,
    types::{ClusterUid, GroupId, Incarnation, NodeId},
};

/// How long leaderships may take to move when the node stops.
const RESIGN_PATIENCE: Duration = Duration::from_secs(3);

/// How long gRPC requests under way may take when the node stops.
const GRPC_DRAIN: Duration = Duration::from_secs(1);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// This member; not 0.
    pub node: NodeId,
    /// Where the gRPC port listens: peers, `crema.v1.Cache` and `crema.v1.Admin`.
    pub listen: SocketAddr,
    /// Every member, this one included, with the address of its gRPC port.
    pub members: Vec<(NodeId, String)>,
    /// What the cluster is to be, should it be formed now.
    pub spec: ClusterSpec,
    /// Where Redis clients reach this node; empty when they don't.
    pub client_address: String,
    /// Worker threads; at least 1.
    pub workers: u32,
    /// The Raft clock.
    pub timings: Timings,
    /// Bounds of a shard's memory beside its entries.
    pub limits: Limits,
    /// Opens Admin; without one it is closed.
    pub token: Option<ClusterToken>,
}

/// A node that takes part in its cluster.
pub struct RunningNode {
    router: Router,
    view: NodeView,
    metrics: NodeMetrics,
    map: ClusterMap,
    runtime: Runtime,
    stop: CancellationToken,
    grpc: JoinHandle<()>,
}

/// A node that listens, before it has met the others.
pub struct StartingNode {
    options: NodeOptions,
    incarnation: Incarnation,
    router: Router,
    view: NodeView,
    metrics: NodeMetrics,
    door: PeerDoor,
    stop: CancellationToken,
    grpc: JoinHandle<()>,
}

impl StartingNode {
    /// Opens the gRPC port. Until [`Self::join`] is done it answers peers that form the cluster, and everyone else
    /// with `Unavailable`.
    pub async fn listen(options: NodeOptions) -> Result<Self, Error> {
        let incarnation = Incarnation(rand::random());
        let spec = options.spec.clone();
        let addresses: BTreeMap<NodeId, String> = options.members.iter().cloned().collect();
        let former = Former::new(FormConfig {
            node: options.node,
            incarnation,
            mode: FormMode::Static(options.members.clone()),
            uid: ClusterUid(rand::random()),
            spec: spec.clone(),
            host: String::new(),
            zone: String::new(),
            client_address: options.client_address.clone(),
            faults: Faults::none(),
        });
        let former = former.map_err(|error| {
            let field = if matches!(error, FormError::BadList { .. }) { "peers" } else { "cluster settings" };
            Error::Invalid { field, reason: error.to_string() }
        })?;
        let listener = TcpListener::bind(options.listen).await;
        let listener =
            listener.map_err(|error| Error::Fatal(format!("listen for peers on {}: {error}", options.listen)))?;
        let router = Router::new(ShardMap::new(spec.slot_hash, spec.num_shards));
        let view = NodeView::new(options.node, incarnation, addresses);
        let metrics = NodeMetrics::new(&MetricsRegistry::new());
        let door = PeerDoor::new(former);
        let mut grpc = GrpcDoor::new(router.clone(), view.clone(), &metrics, options.token.clone());
        grpc.routes = grpc.routes.add_service(door.service());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let grpc = tokio::spawn(async move {
            let served = grpc.serve(network::server_builder(), listener, GrpcConfig::default(), stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "the gRPC door has failed");
            }
        });
        Ok(Self { options, incarnation, router, view, metrics, door, stop, grpc })
    }

    /// What the node tells about itself; of use before it has joined.
    #[must_use]
    pub fn view(&self) -> &NodeView {
        &self.view
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> &NodeMetrics {
        &self.metrics
    }

    /// Runs operations once the node has joined.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Forms the cluster with the other listed nodes, or learns that it takes part in one. Waits for as long as
    /// others are missing.
    ///
    /// # Errors
    /// [`Error::Fatal`] when this process must not take part: above all when the cluster remembers another life of
    /// this node, whose memory is gone (PROTOCOL 10, 11).
    pub async fn join(self) -> Result<RunningNode, Error> {
        let Self { options, incarnation, router, view, metrics, door, stop, grpc } = self;
        let refused = match network::form::form(&door).await {
            Ok(FormOutcome::Formed(map)) => Ok(map),
            Ok(FormOutcome::Join { map }) => Err(format!(
                "node {} (incarnation {incarnation}) is not in cluster {}, and can't join a cluster that runs yet",
                options.node, map.uid
            )),
            Err(error) => Err(error.to_string()),
        };
        let map = match refused {
            Ok(map) => map,
            Err(reason) => {
                view.set_refused(reason.clone());
                grpc.abort();
                return Err(Error::Fatal(reason));
            }
        };
        warn_of_differences(&options.spec, &map);
        let config = RuntimeConfig {
            node: options.node,
            incarnation,
            workers: options.workers,
            timings: options.timings,
            limits: options.limits,
            seed: rand::random(),
            network: NetworkSettings::default(),
        };
        let readers: Arc<Mutex<Vec<_>>> = Arc::new(Mutex::new((0..map.num_shards).map(|_| None).collect()));
        let places = readers.clone();
        let store_config = StoreConfig { capacity: map.settings.capacity, policy: map.settings.eviction };
        let (runtime, events) = Runtime::start(config, &map, &door, move |group: GroupId| {
            let (store, reader) = entry_store(store_config);
            let mut places = places.lock();
            if let Some(place) = group.shard().and_then(|shard| places.get_mut(shard as usize)) {
                *place = Some(reader);
            }
            store
        });
        let handle = runtime.handle();
        view.set_joined(map.clone(), handle.clone());
        router.join(Joined {
            runtime: handle.clone(),
            shard_map: map.shard_map().into(),
            readers: std::mem::take(&mut readers.lock()),
            metrics: metrics.clone(),
        });
        tokio::spawn(log_events(events));
        tokio::spawn(pump::run(handle, metrics.clone(), stop.clone()));
        Ok(RunningNode { router, view, metrics, map, runtime, stop, grpc })
    }
}

impl RunningNode {
    /// Listens and joins.
    ///
    /// # Errors
    /// As [`StartingNode::listen`] and [`StartingNode::join`].
    pub async fn start(options: NodeOptions) -> Result<Self, Error> {
        StartingNode::listen(options).await?.join().await
    }

    /// Runs operations.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// What the node tells about itself.
    #[must_use]
    pub fn view(&self) -> &NodeView {
        &self.view
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> &NodeMetrics {
        &self.metrics
    }

    /// The cluster.
    #[must_use]
    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    /// Hands every leadership over, while the doors still answer; at most some seconds.
    pub async fn resign(&self) {
        self.view.set_stopping();
        self.runtime.handle().resign(RESIGN_PATIENCE).await;
    }

    /// Stops. [`Self::resign`] before, or the others wait for an election; close the doors of the caller before, so
    /// that nobody waits for an answer any more.
    pub async fn shutdown(self) {
        let Self { runtime, stop, mut grpc, .. } = self;
        stop.cancel();
        // Requests under way are answered while the shards still run. The door itself lasts as long as the peers'
        // streams, which end with the runtime.
        let _ = tokio::time::timeout(GRPC_DRAIN, &mut grpc).await;
        runtime.shutdown().await;
        grpc.abort();
    }
}

/// The cluster was formed by the member with the lowest number, by its settings.
fn warn_of_differences(wanted: &ClusterSpec, map: &ClusterMap) {
    let formed = ClusterSpec {
        num_shards: map.num_shards,
        slot_hash: map.slot_hash,
        replication_factor: map.replication_factor,
        settings: map.settings,
    };
    if *wanted != formed {
        tracing::warn!(
            ?wanted,
            ?formed,
            "this node was started with other settings than its cluster has; the cluster's hold"
        );
    }
}

/// What happens to shards, in the log.
async fn log_events(mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Leader { group, leader: Some(leader), term, .. } => {
                tracing::info!(%group, %leader, %term, "leader");
            }
            Event::Leader { group, leader: None, term, .. } => tracing::info!(%group, %term, "no leader known"),
            Event::Health { group, health: Health::Serving } => tracing::info!(%group, "a replica begins"),
            Event::Health { group, health } => tracing::error!(%group, ?health, "a replica does not serve any more"),
            Event::Superseded => tracing::error!("this node's life is over for its cluster"),
        }
    }
}
