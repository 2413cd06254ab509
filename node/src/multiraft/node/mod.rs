//! All replicas of one worker of a node, stepped synchronously (pure).
//!
//! [`Node`] is what a worker thread of `multiraft::runtime` owns, and what the simulator runs. It takes inputs
//! (a tick, a frame, client operations) and after [`Node::turn`] says what is to be done: frames to send, replies
//! to give, snapshots to stream. It never waits, reads no clock and knows no socket.
//!
//! A batch of operations lives in exactly one place at a time: parked in its group's `route::Route`, in the log
//! of a leader (`group::Group`), among its reads, or forwarded to another node (`forward::Forwards`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crema_api::v1;

use crate::{
    checkpoint::{self, Compression, Triggers},
    clock::ClockTable,
    cluster::{command::MetaCommand, map::ClusterMap},
    faults::Faults,
    machine::{Machine, command::Op, store::EntryStore},
    types::{GroupId, Incarnation, LogIndex, NodeId, Now, ReplicaId},
};

mod admit;
mod apply;
mod batch;
mod beds;
mod checkpoints;
mod conf;
mod drive;
mod durable;
mod evict;
mod forward;
mod govern;
mod group;
mod hashes;
mod hibernate;
mod membership;
mod meta;
mod news;
mod out;
mod peers;
mod propose;
mod read;
mod received;
mod recover;
mod report;
mod route;
mod snapshot;
mod status;
mod steer;
#[cfg(test)]
mod tests;

pub use self::{
    admit::Admission,
    batch::Ticket,
    checkpoints::{CheckpointPiece, Piece},
    durable::PersistBatch,
    govern::Governing,
    hashes::{Health, IN_THE_MINORITY, NO_MAJORITY},
    out::{Effects, Event, SendSnapshot},
    received::ReceivedSnapshot,
    recover::{Found, Restart, RestartedGroup, Restored},
    status::{Counters, GroupStatus},
};
use self::{
    beds::Beds,
    forward::Forwards,
    govern::Governor,
    group::Group,
    membership::living,
    out::Out,
    report::Report,
    route::{Route, Routes},
};

/// Lanes: a group's lane is its number modulo this; a worker owns whole lanes, so that nodes with different
/// numbers of workers understand each other's beats.
pub const LANES: u32 = 64;

/// Which lanes a worker owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// This worker, from 0.
    pub worker: u32,
    /// How many workers the node has; at least 1.
    pub workers: u32,
}

impl Lanes {
    /// All lanes: a node with one worker.
    pub const ALL: Self = Self { worker: 0, workers: 1 };

    /// Whether a group belongs to this worker.
    #[must_use]
    pub fn owns(self, group: GroupId) -> bool {
        self.owns_lane(lane_of(group))
    }

    /// Whether a lane belongs to this worker.
    #[must_use]
    pub fn owns_lane(self, lane: u32) -> bool {
        lane % self.workers == self.worker
    }
}

/// The lane of a group.
#[must_use]
pub fn lane_of(group: GroupId) -> u32 {
    group.0 % LANES
}

/// The Raft clock, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Milliseconds between two ticks.
    pub tick_ms: u64,
    /// Election timeouts are drawn from `[n, 2n)` ticks.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Idle ticks after which a group may sleep; 0 never.
    pub hibernate_ticks: u64,
    /// Ticks between a node's beats to each peer.
    pub beat_ticks: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self { tick_ms: 50, election_ticks: 10, heartbeat_ticks: 2, hibernate_ticks: 60, beat_ticks: 4 }
    }
}

/// Bounds of a group's memory beyond its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The log is truncated above this many entries…
    pub log_entries: usize,
    /// …or this many bytes.
    pub log_bytes: usize,
    /// State hashes are compared at multiples of this index.
    pub hash_interval: u64,
    /// Entries that a capture visits per turn.
    pub capture_step: usize,
    /// Memory that the node may use for entries, as its reports say; 0 is not known.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { log_entries: 10_000, log_bytes: 16 << 20, hash_interval: 1_024, capture_step: 4_096, memory_bytes: 0 }
    }
}

/// What a worker's node is made from.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The member.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The lanes of this worker.
    pub lanes: Lanes,
    /// The Raft clock.
    pub timings: Timings,
    /// Bounds.
    pub limits: Limits,
    /// With a disk, when a checkpoint is due.
    pub checkpoints: Triggers,
    /// How checkpoints and snapshots are packed.
    pub compression: Compression,
    /// Decides every draw.
    pub seed: u64,
    /// Whether it has a disk: [`Effects::persist`] is then made durable and confirmed by [`Input::Persisted`].
    pub durable: bool,
    /// Unlike that of any earlier process in this life; a life without a disk has only one.
    pub boot: u64,
    /// Whom it lets in while it leads the meta group.
    pub admission: Admission,
    /// Planted bugs; none in production.
    pub faults: Faults,
}

/// What happens to a node.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "frames are the rule; boxing each would cost the hot path")]
pub enum Input {
    /// One interval of [`Timings::tick_ms`] has passed.
    Tick,
    /// A stream to a peer stands; anything of an earlier one is over.
    SessionUp {
        /// The peer.
        peer: NodeId,
        /// The session, unlike any earlier one with that peer.
        session: u64,
    },
    /// A stream broke.
    SessionDown {
        /// The peer.
        peer: NodeId,
        /// The session.
        session: u64,
    },
    /// A frame of a standing session, in the order it was sent.
    Frame {
        /// The peer.
        from: NodeId,
        /// The session.
        session: u64,
        /// What it said. The hello was checked by `network`.
        frame: v1::Frame,
    },
    /// A frame of this node's did not leave: there was no stream, or its queue was full.
    Undelivered {
        /// The peer.
        to: NodeId,
        /// What was to be sent.
        frame: Box<v1::Frame>,
    },
    /// Client operations on one group, in order.
    Submit {
        /// Comes back with the reply.
        ticket: Ticket,
        /// The group.
        group: GroupId,
        /// The operations; at least one.
        ops: Vec<Op>,
        /// When the client stops waiting, on this process's monotonic clock.
        deadline_mono_ms: u64,
    },
    /// A snapshot came in whole and was decoded.
    Snapshot(Box<ReceivedSnapshot>),
    /// Sending a snapshot ended.
    SnapshotSent {
        /// The group.
        group: GroupId,
        /// The receiver.
        to: ReplicaId,
        /// Whether the receiver has it.
        ok: bool,
    },
    /// Hand the leadership of a group to a node, if this one leads.
    TransferLeader {
        /// The group.
        group: GroupId,
        /// The next leader.
        to: NodeId,
    },
    /// Somebody says who leads a group. Only tells where to try first when no replica here knows better.
    LeaderHint {
        /// The group.
        group: GroupId,
        /// Who is said to lead it.
        leader: NodeId,
    },
    /// Hand every leadership to somebody: this node is going away.
    Resign,
    /// A newer map that the meta group has committed; from the worker of this node that holds the meta group. To that
    /// worker: from another node, which has taken it in.
    Map(Arc<ClusterMap>),
    /// A change of the map, to be committed if this worker leads the meta group. Answered in [`Effects::governed`].
    Govern {
        /// Comes back with the reply.
        ticket: Ticket,
        /// The change.
        command: MetaCommand,
        /// Refused when the map has another version.
        expected_version: Option<u64>,
        /// When the caller stops waiting, on this process's monotonic clock.
        deadline_mono_ms: u64,
    },
    /// The disk has synced everything up to this [`PersistBatch::number`].
    Persisted {
        /// The number.
        number: u64,
    },
    /// A write or a sync failed. Nothing that is not confirmed yet ever will be.
    PersistFailed {
        /// Why.
        reason: String,
    },
    /// A checkpoint is published: whole, synced and in its place.
    Checkpointed {
        /// The group.
        group: GroupId,
        /// Its replica.
        replica: ReplicaId,
        /// The index of the checkpoint.
        index: LogIndex,
    },
    /// A checkpoint is over, and there is no file of it: the disk is full, say. It is tried again after a while.
    CheckpointFailed {
        /// The group.
        group: GroupId,
        /// Its replica.
        replica: ReplicaId,
        /// The index that it was of.
        index: LogIndex,
    },
    /// What another worker of this node reports; only for the worker that holds the meta group.
    Report(v1::NodeReport),
}

/// Makes the store of a replica that begins here.
pub type MakeStore<S> = Box<dyn FnMut(GroupId) -> S + Send>;

/// One worker's replicas and what they wait for.
pub struct Node<S> {
    config: NodeConfig,
    map: Arc<ClusterMap>,
    make_store: MakeStore<S>,
    groups: BTreeMap<GroupId, Group<S>>,
    routes: Routes,
    forwards: Forwards,
    peers: peers::Peers,
    clock: ClockTable,
    /// Groups that have something to do this turn.
    dirty: BTreeSet<GroupId>,
    /// Groups that are ticked; the others sleep, and are not even looked at.
    awake: BTreeSet<GroupId>,
    /// How the others sleep.
    beds: Beds,
    /// Groups with a capture to go on with.
    capturing: BTreeSet<GroupId>,
    /// Those whose capture waits for [`Self::checkpoint_room`].
    paused: BTreeSet<GroupId>,
    /// Whether what writes the checkpoints takes more.
    checkpoint_room: bool,
    /// Groups whose status may have changed since it was last told.
    touched: BTreeSet<GroupId>,
    /// Groups whose leader here has something to bring about: it is looked at with each beat.
    unsteady: BTreeSet<GroupId>,
    /// The highest replica that this node has held in each group: none is created at or below it.
    held: BTreeMap<GroupId, ReplicaId>,
    /// With which this life of the node began to take part.
    birth: Arc<ClusterMap>,
    /// Replicas of the disk that wait for the map of their generation.
    early: BTreeMap<GroupId, RestartedGroup<S>>,
    report: Report,
    /// While this worker leads the meta group.
    governor: Option<Governor>,
    /// The cluster has declared this node's life over.
    superseded: bool,
    /// Why the disk can't be trusted.
    failed: Option<String>,
    tick: u64,
    resigning: bool,
    out: Out,
}

impl<S: EntryStore> Node<S> {
    /// The replicas that the map places on this node and in these lanes, all of them at the beginning of their life.
    pub fn new(
        config: NodeConfig,
        map: Arc<ClusterMap>,
        make_store: impl FnMut(GroupId) -> S + Send + 'static,
    ) -> Self {
        let restart = Restart::fresh(map.clone());
        Self::restart(config, map, restart, make_store)
    }

    /// The replicas that the disk has, and those that the map places here beside them. The map is the newest that this
    /// node knows; `restart` may name groups of other lanes.
    pub fn restart(
        config: NodeConfig,
        map: Arc<ClusterMap>,
        restart: Restart<S>,
        make_store: impl FnMut(GroupId) -> S + Send + 'static,
    ) -> Self {
        let mut make_store: MakeStore<S> = Box::new(make_store);
        let ids: Vec<GroupId> = map.groups.keys().copied().filter(|group| config.lanes.owns(*group)).collect();
        let mut out = Out::new(config.node);
        let birth = restart.birth.clone();
        let recover::Replicas { groups, held, early } =
            recover::replicas(&config, &map, restart, &mut make_store, &mut out);
        for group in groups.values().filter(|group| !group.health.is_serving()) {
            out.event(Event::Health { group: group.id, health: group.health.clone() });
        }
        // Nobody's operations go into the meta group.
        let shards = ids.iter().filter(|id| id.shard().is_some());
        let routes = shards.map(|id| (*id, Route::new(Route::members(config.node, &map, &map.groups[id])))).collect();
        Self {
            clock: ClockTable::new(living(&map), map.settings.max_clock_skew_ms),
            dirty: groups.keys().copied().collect(),
            awake: groups.keys().copied().collect(),
            held,
            birth,
            early,
            beds: Beds::default(),
            capturing: BTreeSet::new(),
            paused: BTreeSet::new(),
            checkpoint_room: true,
            touched: BTreeSet::new(),
            unsteady: BTreeSet::new(),
            report: Report::default(),
            governor: None,
            superseded: false,
            failed: None,
            peers: peers::Peers::default(),
            forwards: Forwards::default(),
            out,
            tick: 0,
            resigning: false,
            routes: Routes::new(routes),
            groups,
            config,
            map,
            make_store,
        }
    }

    /// Takes one input. Nothing leaves before [`Self::turn`].
    pub fn input(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => self.on_tick(now),
            Input::SessionUp { peer, session } => self.on_session_up(now, peer, session),
            Input::SessionDown { peer, session } => self.on_session_down(peer, session),
            Input::Frame { from, session, frame } => self.on_frame(now, from, session, frame),
            Input::Undelivered { to, frame } => self.on_undelivered(to, *frame),
            Input::Submit { ticket, group, ops, deadline_mono_ms } => {
                self.on_submit(ticket, group, ops, deadline_mono_ms);
            }
            Input::Snapshot(snapshot) => self.on_snapshot(*snapshot),
            Input::SnapshotSent { group, to, ok } => self.on_snapshot_sent(group, to, ok),
            Input::TransferLeader { group, to } => self.on_transfer(group, to),
            Input::LeaderHint { group, leader } => self.on_leader_hint(group, leader),
            Input::Resign => self.resigning = true,
            Input::Map(map) => self.take_map(now, map),
            Input::Govern { ticket, command, expected_version, deadline_mono_ms } => {
                self.on_govern(ticket, command, expected_version, deadline_mono_ms);
            }
            Input::Persisted { number } => self.on_persisted(number),
            Input::PersistFailed { reason } => self.on_persist_failed(now, &reason),
            Input::Checkpointed { group, replica, index } => self.on_checkpointed(group, replica, index),
            Input::CheckpointFailed { group, replica, index } => self.on_checkpoint_failed(group, replica, index),
            Input::Report(report) => self.on_report(now, self.config.node, report),
        }
    }

    /// Lets every group with something to do make its progress, and says what is to be done outside.
    pub fn turn(&mut self, now: Now) -> Effects {
        while let Some(group) = self.dirty.pop_first() {
            self.drive(now, group);
        }
        // Captures go on next turn, so that one large shard doesn't hold the others up.
        self.dirty.append(&mut self.capturing);
        self.out.take_effects(now, !self.dirty.is_empty())
    }

    /// The Raft clock.
    #[must_use]
    pub fn timings(&self) -> &Timings {
        &self.config.timings
    }

    /// The cluster as this worker acts by it.
    #[must_use]
    pub fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// The machine of a shard's replica here; for the simulator's invariants and for status.
    #[must_use]
    pub fn machine(&self, group: GroupId) -> Option<&Machine<S>> {
        self.groups.get(&group)?.machine()
    }

    /// The replicas here, by group.
    pub fn hosted(&self) -> impl Iterator<Item = (GroupId, ReplicaId)> + '_ {
        self.groups.iter().map(|(id, group)| (*id, group.own()))
    }

    /// The configuration that a replica here has applied, and how many changes led to it.
    #[must_use]
    pub fn conf(&self, group: GroupId) -> Option<(u64, &checkpoint::ConfState)> {
        self.groups.get(&group).map(|group| (group.conf_version, &group.conf))
    }

    /// Lets the leader of a group propose a change of its configuration that nobody wants now; for the simulator.
    #[cfg(any(feature = "planted-faults", feature = "testing"))]
    pub fn propose_conf(&mut self, group: GroupId, change: &crate::consensus::ConfChange) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.stir();
            // Refused is as good as lost.
            let _ = group.replica.propose_conf(change);
        }
        self.dirty.insert(group);
    }

    /// As [`Self::machine`], to damage it: the simulator plays a broken memory.
    #[cfg(any(feature = "planted-faults", feature = "testing"))]
    pub fn machine_mut(&mut self, group: GroupId) -> Option<&mut Machine<S>> {
        self.groups.get_mut(&group)?.machine_mut()
    }
}
