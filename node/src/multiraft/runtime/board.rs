//! What the workers publish for everyone else: leaders, health, status. Read without asking a worker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::{
    cluster::map::ClusterMap,
    multiraft::{
        introspect::Governing,
        node::{Event, GroupStatus, Health},
    },
    types::{GroupId, NodeId, ReplicaId, ShardId},
};

/// One shard's entry.
#[derive(Debug, Default)]
struct Place {
    /// The leader's node; 0 is none known.
    leader: AtomicU64,
    /// This node leads and is the only voter.
    sole: AtomicBool,
    /// The replica here does not answer.
    silent: AtomicBool,
}

/// One worker's entry.
#[derive(Debug, Default)]
struct Desk {
    turns: AtomicU64,
    frames_sent: AtomicU64,
    frames_received: AtomicU64,
    groups: Mutex<BTreeMap<GroupId, GroupStatus>>,
}

/// The published state of a node's shards.
#[derive(Debug)]
pub struct Board {
    shards: Box<[Place]>,
    desks: Box<[Desk]>,
    governing: ArcSwapOption<Governing>,
}

impl Board {
    pub(super) fn new(map: &ClusterMap, workers: u32) -> Self {
        let shards = (0..map.num_shards).map(|_| Place::default()).collect();
        let desks = (0..workers).map(|_| Desk::default()).collect();
        Self { shards, desks, governing: ArcSwapOption::empty() }
    }

    /// Who leads a shard, as far as this node knows.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let leader = self.shards.get(shard as usize)?.leader.load(Ordering::Relaxed);
        (leader != 0).then_some(NodeId(leader))
    }

    /// Who leads the meta group, by the status of the replica here.
    #[must_use]
    pub fn meta_leader(&self) -> Option<NodeId> {
        self.desks.iter().find_map(|desk| desk.groups.lock().get(&GroupId::META)?.leader)
    }

    /// What this node knows as the leader of the meta group; `None` when it isn't.
    #[must_use]
    pub fn governing(&self) -> Option<Arc<Governing>> {
        self.governing.load_full()
    }

    /// The worker of the meta group leads it and has looked around, or leads it no more.
    pub fn set_governing(&self, governing: Option<Arc<Governing>>) {
        self.governing.store(governing);
    }

    /// Whether what this node has published of a shard is all that there is: it leads and nobody else votes, so that
    /// no other leader can have answered anything.
    ///
    /// When voters are added, their group's leader says so ([`Event::Leader`]) as it applies the configuration, and the
    /// worker notes that before it sends a frame: no other node can acknowledge anything under the new configuration
    /// while this still holds.
    #[must_use]
    pub fn is_sole(&self, shard: ShardId) -> bool {
        self.shards.get(shard as usize).is_some_and(|place| place.sole.load(Ordering::Acquire))
    }

    /// Whether the replica here may answer at all.
    #[must_use]
    pub fn is_serving(&self, shard: ShardId) -> bool {
        self.shards.get(shard as usize).is_some_and(|place| !place.silent.load(Ordering::Acquire))
    }

    /// Every group with a replica here, as of at most about a second ago.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupStatus> {
        let mut groups: Vec<_> =
            self.desks.iter().flat_map(|desk| desk.groups.lock().values().cloned().collect::<Vec<_>>()).collect();
        groups.sort_unstable_by_key(|status| status.group);
        groups
    }

    /// Shows every group with a replica here, in no order; copies nothing. `f` must be quick: a worker may wait.
    pub fn for_each(&self, mut f: impl FnMut(&GroupStatus)) {
        for desk in &self.desks {
            desk.groups.lock().values().for_each(&mut f);
        }
    }

    /// Whether this replica is here and takes part, by the last status.
    #[must_use]
    pub fn is_served_by(&self, group: GroupId, replica: ReplicaId) -> bool {
        let is_it =
            |status: &GroupStatus| status.replica == replica && !matches!(status.health, Health::Stopped { .. });
        self.desks.iter().any(|desk| desk.groups.lock().get(&group).is_some_and(is_it))
    }

    /// How many groups this node leads that somebody else could lead, by the last status.
    #[must_use]
    pub fn led(&self) -> usize {
        use crate::consensus::Role;
        let leads = |status: &&GroupStatus| status.role == Role::Leader && status.voters.len() > 1;
        self.desks.iter().map(|desk| desk.groups.lock().values().filter(leads).count()).sum()
    }

    /// For each worker, a number that rises with every turn.
    #[must_use]
    pub fn turns(&self) -> Vec<u64> {
        self.desks.iter().map(|desk| desk.turns.load(Ordering::Relaxed)).collect()
    }

    /// Frames that the workers have sent to peers, and got from them.
    #[must_use]
    pub fn frames(&self) -> (u64, u64) {
        let sum =
            |count: fn(&Desk) -> &AtomicU64| self.desks.iter().map(|desk| count(desk).load(Ordering::Relaxed)).sum();
        (sum(|desk| &desk.frames_sent), sum(|desk| &desk.frames_received))
    }

    pub(super) fn count_frames(&self, worker: u32, sent: u64, received: u64) {
        let desk = &self.desks[worker as usize];
        desk.frames_sent.fetch_add(sent, Ordering::Relaxed);
        desk.frames_received.fetch_add(received, Ordering::Relaxed);
    }

    /// What was published is of the past: the workers have stopped, or the cluster goes on without them.
    pub(super) fn close(&self) {
        for place in &self.shards {
            place.sole.store(false, Ordering::Release);
            place.silent.store(true, Ordering::Release);
        }
    }

    pub(super) fn count_turn(&self, worker: u32) {
        self.desks[worker as usize].turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, worker: u32, changed: Vec<GroupStatus>) {
        let mut groups = self.desks[worker as usize].groups.lock();
        groups.extend(changed.into_iter().map(|status| (status.group, status)));
    }

    /// There is no replica of the group here any more; a later one begins without its past.
    pub(super) fn forget(&self, worker: u32, group: GroupId) {
        self.desks[worker as usize].groups.lock().remove(&group);
        if let Some(place) = group.shard().and_then(|shard| self.shards.get(shard as usize)) {
            place.sole.store(false, Ordering::Release);
            place.silent.store(false, Ordering::Release);
        }
    }

    /// Before anything leaves that follows from it.
    pub(super) fn note(&self, event: &Event) {
        let group = match event {
            Event::Leader { group, .. } | Event::Health { group, .. } => group,
            Event::Superseded => return,
        };
        let Some(place) = group.shard().and_then(|shard| self.shards.get(shard as usize)) else { return };
        match event {
            Event::Leader { leader, sole, .. } => {
                place.leader.store(leader.map_or(0, |node| node.0), Ordering::Relaxed);
                place.sole.store(*sole, Ordering::Release);
            }
            Event::Health { health, .. } => place.silent.store(*health != Health::Serving, Ordering::Release),
            Event::Superseded => {}
        }
    }
}
