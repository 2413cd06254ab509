//! What drives the pure core: worker threads that own the shards, and the peer network beneath them.
//!
//! Started by `cache::node` with a map and the [`Stores`]. A worker owns whole lanes of groups and is the only
//! thread that touches them, so the hot path takes no lock. Clients come in through [`RuntimeHandle`], peers through
//! the network's sink; both are held back by permits, never by an unbounded queue.

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    checkpoint::{Compression, Triggers},
    cluster::map::ClusterMap,
    error::Error,
    faults::Faults,
    machine::{
        codec,
        command::{Op, Outcome},
        store::EntryStore,
    },
    multiraft::node::{Admission, Event, Lanes, Limits, Node, NodeConfig, Timings, lane_of},
    network::{Network, NetworkSettings, PeerDoor, PeerHandle},
    types::{GroupId, Incarnation, NodeId, ShardId},
};

mod board;
mod disk;
mod govern;
mod mailbox;
mod outlets;
mod sink;
mod wall;
mod worker;

pub use self::{
    board::Board,
    disk::{Disk, DiskBoard, DiskCounts},
};
use self::{
    disk::{Listeners, Part},
    mailbox::{Mail, Mailbox, Submission},
    outlets::Outlets,
    sink::{Landing, Sink},
    wall::Clock,
    worker::Worker,
};

/// What a runtime is made from.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The member.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// Worker threads; at least 1.
    pub workers: u32,
    /// The Raft clock.
    pub timings: Timings,
    /// Bounds of a group's memory.
    pub limits: Limits,
    /// When a checkpoint is due; without a disk there are none.
    pub checkpoints: Triggers,
    /// How the entries of checkpoints and snapshots are packed.
    pub compression: Compression,
    /// Decides the election timeouts.
    pub seed: u64,
    /// Unlike that of any earlier process in this life.
    pub boot: u64,
    /// Whom this node lets in while it leads the meta group.
    pub admission: Admission,
    /// The peer network.
    pub network: NetworkSettings,
}

/// The running shards of a node.
pub struct Runtime {
    handle: RuntimeHandle,
    network: Network,
    threads: Vec<JoinHandle<()>>,
}

/// A way into the runtime; cheap to clone.
#[derive(Clone)]
pub struct RuntimeHandle {
    mailboxes: Arc<[Mailbox]>,
    board: Arc<Board>,
    clock: Clock,
    peers: PeerHandle,
    newest_map: watch::Receiver<Arc<ClusterMap>>,
    disk: Option<Arc<DiskBoard>>,
}

/// Where the stores of shards come from, and where their readers go with them. Called by worker threads.
pub trait Stores: Send + Sync + 'static {
    /// What they are.
    type Store: EntryStore + Send + 'static;

    /// The store of a replica that begins here.
    fn make(&self, group: GroupId) -> Self::Store;

    /// There is no replica of the group here any more: nobody may read from what is left of its store.
    fn discard(&self, group: GroupId);
}

impl Runtime {
    /// Starts the workers and the peer network, from what the disk has if there is one. Events go to the receiver, which
    /// may lag; the newest state of each shard is always on the [`Board`]. Call within a tokio runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start<T: Stores>(
        config: RuntimeConfig,
        map: &ClusterMap,
        door: &PeerDoor,
        stores: Arc<T>,
        disk: Option<Disk<T::Store>>,
    ) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let clock = Clock::start();
        let board = Arc::new(Board::new(map, config.workers));
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..config.workers).map(|_| mailbox::mailbox()).unzip();
        let mailboxes: Arc<[Mailbox]> = mailboxes.into();
        let tell = Listeners { mailboxes: mailboxes.clone(), board: Arc::default() };
        let landing = disk.as_ref().map(|disk| Landing {
            cluster: map.uid,
            checkpoints: disk.checkpoints.clone(),
            board: board.clone(),
            tell: tell.clone(),
        });
        let disk_board = disk.as_ref().map(|_| tell.board.clone());
        let sink = Arc::new(Sink::new(mailboxes.clone(), landing));
        let network = Network::start(map, config.node, config.incarnation, config.network.clone(), door, sink);
        let peers = network.handle();
        let (events, receiver) = mpsc::channel(EVENTS);
        let map = Arc::new(map.clone());
        let (maps, newest_map) = watch::channel(map.clone());
        let outlets = Arc::new(Outlets {
            mailboxes: mailboxes.clone(),
            peers: peers.clone(),
            door: door.clone(),
            maps,
            board: board.clone(),
            events,
            stores,
            clock: clock.clone(),
        });
        let parts = disk::parts(disk, config.workers, &map, tell)?;
        let start = |((inbox, number), Part { restart, journal }): (_, Part<T::Store>)| {
            let stores = outlets.stores.clone();
            let config = config.of_worker(number, journal.is_some());
            let node = Node::restart(config, map.clone(), restart, move |group| stores.make(group));
            let worker = Worker::new(number, node, inbox, outlets.clone(), journal);
            let thread = std::thread::Builder::new().name(format!("shards-{number}"));
            thread.spawn(move || worker.run())
        };
        let threads = inboxes.into_iter().zip(0..).zip(parts).map(start).collect::<io::Result<_>>()?;
        let handle = RuntimeHandle { mailboxes, board, clock, peers, newest_map, disk: disk_board };
        door.set_governor(Arc::new(handle.clone()));
        Ok((Self { handle, network, threads }, receiver))
    }

    /// A way in.
    #[must_use]
    pub fn handle(&self) -> RuntimeHandle {
        self.handle.clone()
    }

    /// Stops the workers and the network; resign before, or the others wait for an election.
    pub async fn shutdown(self) {
        let Self { handle, network, threads } = self;
        for mailbox in handle.mailboxes.iter() {
            mailbox.send(Mail::Stop);
        }
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        // A worker that panicked has said so.
        let _ = joined.await;
        handle.board.close();
        network.shutdown().await;
    }
}

impl RuntimeConfig {
    fn of_worker(&self, worker: u32, durable: bool) -> NodeConfig {
        NodeConfig {
            node: self.node,
            incarnation: self.incarnation,
            lanes: Lanes { worker, workers: self.workers },
            timings: self.timings,
            limits: self.limits,
            checkpoints: self.checkpoints,
            compression: self.compression,
            seed: self.seed,
            durable,
            boot: self.boot,
            admission: self.admission.clone(),
            faults: Faults::none(),
        }
    }
}

/// Which of so many workers holds the meta group.
fn meta_worker(workers: usize) -> usize {
    lane_of(GroupId::META) as usize % workers
}

/// Events that wait for the one who logs them; more are only of interest in sum.
const EVENTS: usize = 4_096;

impl RuntimeHandle {
    /// What the workers publish.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// What the disk's threads do; `None` without a disk.
    #[must_use]
    pub fn disk(&self) -> Option<&DiskBoard> {
        self.disk.as_deref()
    }

    /// The peer streams.
    #[must_use]
    pub fn peers(&self) -> &PeerHandle {
        &self.peers
    }

    /// The newest map that this node has applied.
    #[must_use]
    pub fn map(&self) -> Arc<ClusterMap> {
        self.newest_map.borrow().clone()
    }

    /// Follows the map; the receiver's present value counts as seen.
    #[must_use]
    pub fn watch_map(&self) -> watch::Receiver<Arc<ClusterMap>> {
        self.newest_map.clone()
    }

    /// The wall clock as the workers read it.
    #[must_use]
    pub fn now(&self) -> crate::types::Now {
        self.clock.now()
    }

    /// Nothing that was published here is read any more: the cluster has gone on without this node.
    pub fn fall_silent(&self) {
        self.board.close();
    }

    /// Which worker owns a shard.
    #[must_use]
    pub fn worker_of(&self, shard: ShardId) -> usize {
        lane_of(GroupId::of_shard(shard)) as usize % self.mailboxes.len()
    }

    /// Runs operations on shards of one worker, each shard's in their order; answers each shard's.
    pub async fn submit(
        &self,
        worker: usize,
        calls: Vec<(ShardId, Vec<Op>)>,
        timeout: Duration,
    ) -> Vec<Result<Vec<Outcome>, Error>> {
        let count = calls.len();
        let units: usize = calls.iter().flat_map(|(_, ops)| ops).map(units).sum();
        let mailbox = &self.mailboxes[worker];
        let Ok(permit) = tokio::time::timeout(timeout, mailbox.admit(units)).await else {
            return vec![Err(Error::Busy { what: "the worker's queue" }); count];
        };
        let deadline_mono_ms = self.clock.now().mono_ms + timeout.as_millis() as u64;
        let calls = calls.into_iter().map(|(shard, ops)| (GroupId::of_shard(shard), ops)).collect();
        let (reply, answer) = oneshot::channel();
        if !mailbox.offer(Mail::Submit(Submission { calls, deadline_mono_ms, reply, permit })) {
            return vec![Err(Error::ShuttingDown); count];
        }
        // Without an answer the worker has stopped: whether it proposed is not known.
        answer.await.unwrap_or_else(|_| {
            let reason = "this node stopped meanwhile".to_owned();
            vec![Err(Error::OutcomeUnknown { reason, index: None }); count]
        })
    }

    /// Asks the leader of a shard, if it is this node, to hand over to another.
    pub fn transfer_leader(&self, shard: ShardId, to: NodeId) {
        self.mailboxes[self.worker_of(shard)].send(Mail::Transfer { group: GroupId::of_shard(shard), to });
    }

    /// A hint at the leader of a shard, for operations of which no replica here knows better.
    pub fn hint_leader(&self, shard: ShardId, leader: NodeId) {
        self.mailboxes[self.worker_of(shard)].send(Mail::Hint { group: GroupId::of_shard(shard), leader });
    }

    /// Hands every leadership over; returns when none is left or time is up.
    pub async fn resign(&self, patience: Duration) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(Mail::Resign);
        }
        let alone = self.peers.sessions().is_empty();
        let deadline = tokio::time::Instant::now() + patience;
        while !alone && self.board.led() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What an operation counts against a worker's queue: one, and one more for each KiB.
fn units(op: &Op) -> usize {
    1 + codec::op_size(op) / 1_024
}
