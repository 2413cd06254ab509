//! A whole node in this process: the peer network, the workers, the router and the gRPC door, wired together.
//!
//! [`RunningNode::start`] is called by [`super::DistributedCache`] and by the binary, which adds the doors for Redis
//! and HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    discover::Finder,
    disk::OpenDisk,
    enter::{Entrant, Entry},
    moves, pump,
    readers::Readers,
    router::{Joined, Router},
    storage::{CheckpointPolicy, Storage},
    store::StoreConfig,
    view::NodeView,
};
use crate::{
    cluster::{ClusterMap, ClusterSpec, discovery::ClusterDiscovery},
    error::Error,
    grpc::{ClusterToken, GrpcConfig, GrpcDoor},
    metrics::{MetricsRegistry, NodeMetrics},
    multiraft::{
        node::{Event, Health, Limits, Timings},
        runtime::{Disk, Runtime, RuntimeConfig, RuntimeHandle, Stores},
    },
    network::{self, NetworkSettings, PeerDoor, Superseded, find::Seeker},
    partitioning::ShardMap,
    types::{Incarnation, NodeId},
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
    /// The gRPC port as other nodes reach it: a name and port.
    pub advertise: String,
    /// How it comes to be part of a cluster.
    pub entry: Entry,
    /// What the cluster is to be, should it be formed now.
    pub spec: ClusterSpec,
    /// Where Redis clients reach this node; empty when they don't.
    pub client_address: String,
    /// The machine that it runs on; empty when unknown. Two replicas of a shard avoid one host.
    pub host: String,
    /// Its zone; empty when unknown. The replicas of a shard are spread over zones.
    pub zone: String,
    /// Worker threads; at least 1.
    pub workers: u32,
    /// The Raft clock.
    pub timings: Timings,
    /// Bounds of a shard's memory beside its entries.
    pub limits: Limits,
    /// Opens Admin; without one it is closed.
    pub token: Option<ClusterToken>,
    /// Finds other nodes: while this one looks for its cluster, and afterwards as its switches allow.
    pub discovery: Option<Arc<dyn ClusterDiscovery>>,
    /// Where its logs are.
    pub storage: Storage,
}

impl NodeOptions {
    /// Refuses what no start could make right: the list of members and what the cluster is to be.
    ///
    /// # Errors
    /// [`Error::Invalid`], as [`StartingNode::listen`] would say it.
    pub fn validate(&self) -> Result<(), Error> {
        Entrant::new(self, Incarnation(1), None).map(|_| ())
    }

    /// How many members there are at first, should a cluster be formed now.
    #[must_use]
    pub fn first_members(&self) -> usize {
        self.entry.listed((self.node, &self.advertise)).len()
    }
}

/// A node that takes part in its cluster.
pub struct RunningNode {
    router: Router,
    view: NodeView,
    metrics: NodeMetrics,
    runtime: Runtime,
    disk: Option<OpenDisk>,
    discovery: Option<Arc<dyn ClusterDiscovery>>,
    stop: CancellationToken,
    grpc: JoinHandle<()>,
}

/// A node that listens, before it has met the others.
pub struct StartingNode {
    options: NodeOptions,
    incarnation: Incarnation,
    entrant: Entrant,
    router: Router,
    view: NodeView,
    metrics: NodeMetrics,
    disk: Option<OpenDisk>,
    /// Of the cluster that it is in already.
    map: Option<Arc<ClusterMap>>,
    door: PeerDoor,
    stop: CancellationToken,
    grpc: JoinHandle<()>,
}

impl StartingNode {
    /// Opens the data directory, if there is to be one, and the gRPC port. Until [`Self::join`] is done it answers peers
    /// that form the cluster, and everyone else with `Unavailable`.
    ///
    /// # Errors
    /// When the options are wrong, the port is taken, or the data directory is not for this node.
    pub async fn listen(options: NodeOptions) -> Result<Self, Error> {
        let (node, workers, storage) = (options.node, options.workers, options.storage.clone());
        let opened = blocking(move || match storage {
            Storage::Memory => Ok((None, Incarnation(rand::random()), None)),
            Storage::Disk(disk) => {
                let disk = OpenDisk::open(&disk, node, workers)?;
                let (incarnation, map) = (disk.incarnation(), disk.map()?);
                Ok((Some(disk), incarnation, map))
            }
        });
        let (disk, incarnation, map) = opened.await?;
        let mut options = options;
        if disk.as_ref().is_some_and(OpenDisk::is_reborn) {
            options.entry = options.entry.of_reborn(options.node)?;
        }
        let (entrant, former) = Entrant::new(&options, incarnation, map.as_deref())?;
        let listener = TcpListener::bind(options.listen).await;
        let listener =
            listener.map_err(|error| Error::Fatal(format!("listen for peers on {}: {error}", options.listen)))?;
        let router = Router::new(ShardMap::new(options.spec.slot_hash, options.spec.num_shards));
        let view = NodeView::new(&options, incarnation);
        let metrics = NodeMetrics::new(&MetricsRegistry::new());
        let door = PeerDoor::new(former);
        door.set_token(options.token.clone());
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
        Ok(Self { options, incarnation, entrant, router, view, metrics, disk, map, door, stop, grpc })
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

    /// Forms the cluster with the other listed nodes, or joins the one that there is; a node that has lost its memory
    /// joins as a new incarnation, one with its data goes on where it was. Waits for as long as others are missing.
    ///
    /// # Errors
    /// [`Error::Fatal`] when this process can't take part, ever (PROTOCOL 10, 11).
    pub async fn join(mut self) -> Result<RunningNode, Error> {
        match self.enter().await {
            Ok((map, finder, began)) => self.run(map, finder, began),
            Err(error) => {
                self.view.set_refused(error.to_string());
                self.grpc.abort();
                Err(error)
            }
        }
    }

    /// The way into the cluster, and what the disk has for it.
    async fn enter(&mut self) -> Result<(Arc<ClusterMap>, Option<Finder>, Began), Error> {
        let finder = Finder::start(&self.options).await?;
        let map = match &self.map {
            Some(map) => {
                if let Some(reason) = self.entrant.check_others(map, finder.as_ref()).await? {
                    return Err(self.give_life_up(reason).await);
                }
                map.clone()
            }
            None => Arc::new(self.entrant.enter(&self.door, finder.as_ref()).await?),
        };
        let store_config = StoreConfig { capacity: map.settings.capacity, policy: map.settings.eviction };
        let readers = Arc::new(Readers::new(map.num_shards, store_config));
        let Some(mut disk) = self.disk.take() else { return Ok((map, finder, Began { readers, disk: None })) };
        let (newest, stores, view) = (map.clone(), readers.clone(), self.view.clone());
        let begin = move || {
            let begun = disk.begin(&newest, &*stores, |done, total| view.set_recovering(done, total));
            begun.map(|parts| (disk, parts))
        };
        let (disk, parts) = blocking(begin).await?;
        self.disk = Some(disk);
        Ok((map, finder, Began { readers, disk: Some(parts) }))
    }

    /// It was removed, say, while it was away: the next start finds no data of this life, and joins in a new one.
    async fn give_life_up(&mut self, reason: String) -> Error {
        if let Some(disk) = self.disk.take() {
            let retired = blocking(move || {
                disk.retire();
                Ok(())
            });
            if let Err(error) = retired.await {
                return error;
            }
        }
        Error::Fatal(format!("{reason}. Its data is set aside; start the process again to join as a new incarnation"))
    }

    fn run(self, map: Arc<ClusterMap>, finder: Option<Finder>, began: Began) -> Result<RunningNode, Error> {
        let Self { options, incarnation, entrant, router, view, metrics, disk, map: known, door, stop, grpc } = self;
        if matches!(options.entry, Entry::Listed(_)) {
            warn_of_differences(&options.spec, &map);
        }
        let CheckpointPolicy { triggers, compression } = options.storage.checkpoints();
        let config = RuntimeConfig {
            node: options.node,
            incarnation,
            workers: options.workers,
            timings: options.timings,
            limits: options.limits,
            checkpoints: triggers,
            compression,
            seed: rand::random(),
            boot: rand::random(),
            admission: finder.as_ref().map(Finder::admission).unwrap_or_default(),
            network: NetworkSettings::default(),
        };
        let Began { readers, disk: parts } = began;
        let started = Runtime::start(config, &map, &door, readers.clone(), parts);
        let (runtime, events) = started.map_err(|error| Error::Fatal(format!("start the workers: {error}")))?;
        let handle = runtime.handle();
        view.set_joined(handle.clone());
        router.join(Joined {
            runtime: handle.clone(),
            shard_map: map.shard_map().into(),
            readers,
            metrics: metrics.clone(),
        });
        if known.is_some() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(entrant.tell_changes(map, finder.as_ref())));
        }
        tokio::spawn(log_events(events));
        tokio::spawn(follow_fate(handle.clone(), view.clone(), stop.clone()));
        tokio::spawn(pump::run(handle, view.clone(), metrics.clone(), stop.clone()));
        tokio::spawn(moves::run(view.clone(), metrics.clone(), stop.clone()));
        if let Some(finder) = finder {
            let seeker = Seeker { node: options.node, incarnation };
            tokio::spawn(finder.follow(seeker, view.clone(), metrics.clone(), stop.clone()));
        }
        Ok(RunningNode { router, view, metrics, runtime, disk, discovery: options.discovery, stop, grpc })
    }
}

/// What a node begins to run with.
struct Began {
    readers: Arc<Readers>,
    disk: Option<Disk<<Readers as Stores>::Store>>,
}

/// Runs what waits for the disk away from the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Fatal(format!("a thread that works on the disk failed: {error}"))))
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

    /// The cluster, as this node has it applied.
    #[must_use]
    pub fn map(&self) -> Arc<ClusterMap> {
        self.runtime.handle().map()
    }

    /// Resolves when the cluster has no place for this life of the node any more, and says why: another life of it has
    /// joined, or it was declared down or removed. It answers nothing then; only a new process can take part again.
    pub fn superseded(&self) -> impl Future<Output = Superseded> + Send + use<> {
        self.runtime.handle().peers().superseded()
    }

    /// Hands every leadership over, while the doors still answer; at most some seconds.
    pub async fn resign(&self) {
        self.view.set_stopping();
        self.runtime.handle().resign(RESIGN_PATIENCE).await;
    }

    /// Stops. [`Self::resign`] before, or the others wait for an election; close the doors of the caller before, so
    /// that nobody waits for an answer any more.
    pub async fn shutdown(self) {
        let Self { runtime, disk, discovery, stop, mut grpc, .. } = self;
        let superseded = runtime.handle().peers().superseded().now_or_never().is_some();
        stop.cancel();
        if let Some(discovery) = discovery {
            discovery.shutdown().await;
        }
        // Requests under way are answered while the shards still run. The door itself lasts as long as the peers'
        // streams, which end with the runtime.
        let _ = tokio::time::timeout(GRPC_DRAIN, &mut grpc).await;
        runtime.shutdown().await;
        grpc.abort();
        let close = move || {
            match disk {
                Some(disk) if superseded => disk.retire(),
                Some(disk) => disk.close(),
                None => {}
            }
            Ok(())
        };
        if let Err(error) = blocking(close).await {
            tracing::error!(%error, "the data directory was not closed in an orderly way");
        }
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

/// Stops answering when the cluster has no place for this node any more (PROTOCOL 11).
async fn follow_fate(runtime: RuntimeHandle, view: NodeView, stop: CancellationToken) {
    let superseded = runtime.peers().superseded();
    if let Some(Superseded { reason, removed }) = stop.run_until_cancelled(superseded).await {
        tracing::error!(reason, "this node takes no part in its cluster any more");
        // Who was removed held nothing any more: its last clients are served through the others until it stops.
        if !removed {
            runtime.fall_silent();
        }
        view.set_refused(reason);
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
