//! The cluster as its members agreed on it: the state of the meta group (pure).
//!
//! Read by the core (which replicas live here, who their peers are), by the router and by the planner. A
//! [`ClusterMap`] is valid by construction from foreign bytes: [`wire`] refuses what contradicts itself. Nobody
//! changes one in place except the meta group's `apply`, which raises `version` with each change.

use std::collections::BTreeMap;

use crate::{
    machine::store::{Capacity, EvictionPolicy},
    partitioning::{ShardMap, SlotHash},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

mod migration;
pub mod wire;

pub use migration::{Left, Migration, Phase, Reason};

/// How many voters the meta group has at most; the other nodes follow as learners, so that each has a copy.
pub const MAX_META_VOTERS: usize = 5;

/// The lowest and only feature level so far: what a new cluster begins with.
pub const FIRST_FEATURE_LEVEL: u32 = 1;

/// The levels that this binary supports.
pub const SUPPORTED_LEVELS: FeatureLevels = FeatureLevels { min: FIRST_FEATURE_LEVEL, max: FIRST_FEATURE_LEVEL };

/// The cluster: its identity, members, replica sets and shared settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMap {
    /// Which formation this is; never 0.
    pub uid: ClusterUid,
    /// Rises by one with each committed change; the first map has 1.
    pub version: u64,
    /// What log entries, checkpoints and frames may use (DESIGN 4, Versions).
    pub feature_level: u32,
    /// How many shards there are: 1 to 16,384.
    pub num_shards: u32,
    /// How keys become slots.
    pub slot_hash: SlotHash,
    /// How many voters each shard should have; at least 1.
    pub replication_factor: u32,
    /// The nodes, those that left included.
    pub members: BTreeMap<NodeId, Member>,
    /// The replica sets: the meta group and one group for each shard, no other.
    pub groups: BTreeMap<GroupId, ReplicaSet>,
    /// ReplicaIds below it have been given out.
    pub next_replica: ReplicaId,
    /// What all replicas must agree on.
    pub settings: SharedSettings,
    /// Changes of replica sets that are under way.
    pub migrations: BTreeMap<MigrationId, Migration>,
    /// Numbers of migrations below it have been given out.
    pub next_migration: MigrationId,
}

/// One node in its present life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its present life; never 0.
    pub incarnation: Incarnation,
    /// Host name and port where peers reach it; resolved again at each connect.
    pub address: String,
    /// Where it runs: two replicas of a group avoid one host. Empty when unknown.
    pub host: String,
    /// Its zone; empty when unknown.
    pub zone: String,
    /// What it may do now.
    pub state: MemberState,
    /// The levels that its binary supports.
    pub levels: FeatureLevels,
    /// Host name and port of its RESP door; empty when it has none.
    pub client_address: String,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// Known, but it holds no voter yet.
    #[default]
    Joining,
    /// A full member.
    Up,
    /// Its replicas are being moved away.
    Draining,
    /// Its incarnation may never vote again.
    Down,
    /// It has left.
    Removed,
}

impl MemberState {
    /// Its name in tables, metrics and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Removed => "removed",
        }
    }
}

/// A range of feature levels, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureLevels {
    /// The lowest; at least 1.
    pub min: u32,
    /// The highest; at least `min`.
    pub max: u32,
}

impl FeatureLevels {
    /// Whether a binary with these levels can run a cluster at `level`.
    #[must_use]
    pub fn supports(self, level: u32) -> bool {
        (self.min..=self.max).contains(&level)
    }

    /// Whether there is a level that both support.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// Where the replicas of a group should be; the group's own ConfState says who votes (PROTOCOL 12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Fences frames of an earlier life of the group; never 0. It rises when a group that lost its majority begins anew.
    pub generation: u64,
    /// The replicas; the first is where leadership should be.
    pub replicas: Vec<ReplicaAt>,
    /// Migrations that were ever begun. With 0 the replicas are the group's first ones and begin with its first
    /// configuration; otherwise a replica that has no data begins empty and waits for a snapshot.
    pub changes: u64,
    /// The highest conf version that a step of a migration was based on. What a leader reports of an earlier one is old
    /// news: it may lack a replica that votes by now. A swap begins from this very version only.
    pub conf_version: u64,
    /// The voters with which a generation after the first began, whatever the set has become since: each begins with all
    /// of them, at whatever time it does. Empty in the first generation.
    pub founders: Vec<ReplicaAt>,
}

impl ReplicaSet {
    /// The replicas that vote.
    pub fn voters(&self) -> impl Iterator<Item = &ReplicaAt> {
        self.replicas.iter().filter(|at| !at.learner)
    }

    /// A replica by its id.
    #[must_use]
    pub fn get(&self, replica: ReplicaId) -> Option<&ReplicaAt> {
        self.replicas.iter().find(|at| at.replica == replica)
    }

    /// The replica on a node: the newest, should an earlier life of the node still be listed.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<&ReplicaAt> {
        self.replicas.iter().filter(|at| at.node == node).max_by_key(|at| at.replica)
    }
}

/// One replica and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaAt {
    /// Its Raft id; unique in the cluster, never 0.
    pub replica: ReplicaId,
    /// Where it lives; a member.
    pub node: NodeId,
    /// The life of the node's data that it belongs to: when the member has another, this replica is dead.
    pub incarnation: Incarnation,
    /// It follows and does not vote.
    pub learner: bool,
}

/// Settings that all replicas must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedSettings {
    /// What one shard may hold.
    pub capacity: Capacity,
    /// How a full shard chooses what goes.
    pub eviction: EvictionPolicy,
    /// The life of a key that is stored without one; `None` is for ever.
    pub default_ttl_ms: Option<u64>,
    /// How far a leader's stamp may run ahead of the median clock (PROTOCOL 3).
    pub max_clock_skew_ms: u64,
    /// Migrations under way at once, in the whole cluster; at least 1.
    pub migration_concurrency: u32,
    /// Snapshot bytes that each node sends per second; `None` is no limit.
    pub migration_bytes_per_s: Option<u64>,
    /// No migration begins or goes on to a phase that copies; repair of dead replicas waits too.
    pub migrations_paused: bool,
    /// A node that nobody has heard of for so long is declared down and its replicas are replaced; `None` is never.
    pub repair_after_ms: Option<u64>,
}

impl Default for SharedSettings {
    fn default() -> Self {
        Self {
            capacity: Capacity::default(),
            eviction: EvictionPolicy::default(),
            default_ttl_ms: None,
            max_clock_skew_ms: 500,
            migration_concurrency: 4,
            migration_bytes_per_s: None,
            migrations_paused: false,
            repair_after_ms: Some(60_000),
        }
    }
}

impl ClusterMap {
    /// From keys to shards, as of this map.
    #[must_use]
    pub fn shard_map(&self) -> ShardMap {
        ShardMap::new(self.slot_hash, self.num_shards)
    }

    /// The life in which a node takes part; `None` for a stranger and for one that was declared dead or left.
    #[must_use]
    pub fn incarnation_of(&self, node: NodeId) -> Option<Incarnation> {
        let member = self.members.get(&node)?;
        match member.state {
            MemberState::Joining | MemberState::Up | MemberState::Draining => Some(member.incarnation),
            MemberState::Down | MemberState::Removed => None,
        }
    }

    /// The replicas that belong on a node, by group: the newest of each group.
    pub fn replicas_on(&self, node: NodeId) -> impl Iterator<Item = (GroupId, &ReplicaSet, &ReplicaAt)> {
        self.groups.iter().filter_map(move |(group, set)| Some((*group, set, set.on(node)?)))
    }

    /// The migration of a group, if it has one.
    #[must_use]
    pub fn migration_of(&self, group: GroupId) -> Option<&Migration> {
        self.migrations.values().find(|migration| migration.group == group)
    }

    /// Whether a replica's life goes on: its node has not come back in another one, and is not down or removed.
    #[must_use]
    pub fn is_alive(&self, at: &ReplicaAt) -> bool {
        self.incarnation_of(at.node) == Some(at.incarnation)
    }

    /// The node of a replica, by the map's intent.
    #[must_use]
    pub fn node_of(&self, group: GroupId, replica: ReplicaId) -> Option<NodeId> {
        self.groups.get(&group)?.get(replica).map(|at| at.node)
    }
}

#[cfg(test)]
mod tests;
