//! What a program is told of a shard, in the words of the library's reference.

use std::time::Duration;

use super::{MultiRaftCoordinator, NodeId};
use crate::{
    cluster::map::{ClusterMap, MemberState},
    multiraft::introspect::{ReplicaRole, ShardStatus},
    types::{GroupId, NodeId as Member, ShardId},
};

/// What a shard is doing, as far as this node is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShardState {
    /// The replica here has heard of no leader yet.
    Initializing,
    /// It serves.
    Active,
    /// A replica of it is being moved or rebuilt; it serves meanwhile.
    Transferring,
    /// The replica here goes, because its node is being drained or has no place for it any more.
    Removing,
    /// The replica here has stopped, or does not answer because it differs from its peers.
    Stopped,
}

/// One shard, with numbers where a replica of it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// The shard.
    pub shard_id: ShardId,
    /// What it is doing.
    pub state: ShardState,
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// The nodes with a replica, voters first.
    pub members: Vec<NodeId>,
    /// Keys held here.
    pub entry_count: u64,
    /// What they weigh.
    pub size_bytes: u64,
    /// The term of the replica here.
    pub term: u64,
    /// What it knows to be committed.
    pub commit_index: u64,
}

/// The shards in sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MultiRaftStats {
    /// In the cluster.
    pub total_shards: usize,
    /// That serve: active ones, and those that serve while a replica is moved.
    pub active_shards: usize,
    /// Led by this node.
    pub local_leader_shards: usize,
    /// Keys held by this node.
    pub total_entries: u64,
    /// What they weigh.
    pub total_size_bytes: u64,
    /// Reads and writes that this node took per second, lately.
    pub operations_per_sec: f64,
}

/// What a shard is to be: [`MultiRaftBuilder::shards_like`](super::MultiRaftBuilder::shards_like) makes all of them so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// The shard.
    pub shard_id: ShardId,
    /// How many there are.
    pub total_shards: u32,
    /// Voters.
    pub replicas: u32,
    /// Entries that it holds at most; 0 is no limit.
    pub max_capacity: u64,
    /// The life of keys that are put without one.
    pub default_ttl: Option<Duration>,
}

/// The keys of a shard: those whose hash leaves its number when divided by the number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardRange {
    /// The shard.
    pub shard_id: ShardId,
    /// How many there are.
    pub total_shards: u32,
}

/// One shard through a coordinator.
#[derive(Clone)]
pub struct Shard {
    coordinator: MultiRaftCoordinator,
    id: ShardId,
}

impl ShardConfig {
    /// Three replicas, no limit, keys for ever.
    #[must_use]
    pub fn new(shard_id: ShardId, total_shards: u32) -> Self {
        Self { shard_id, total_shards, replicas: 3, max_capacity: 0, default_ttl: None }
    }

    /// How many voters.
    #[must_use]
    pub fn with_replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Entries that it holds at most; 0 is no limit.
    #[must_use]
    pub fn with_max_capacity(mut self, entries: u64) -> Self {
        self.max_capacity = entries;
        self
    }

    /// The life of keys that are put without one.
    #[must_use]
    pub fn with_default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// The keys of the shard.
    #[must_use]
    pub fn range(&self) -> ShardRange {
        ShardRange { shard_id: self.shard_id, total_shards: self.total_shards }
    }
}

impl ShardRange {
    /// Whether a key with this hash belongs to the shard; never, when there are no shards.
    #[must_use]
    pub fn contains(&self, key_hash: u64) -> bool {
        key_hash.checked_rem(u64::from(self.total_shards)) == Some(u64::from(self.shard_id))
    }
}

impl Shard {
    pub(super) fn new(coordinator: MultiRaftCoordinator, id: ShardId) -> Self {
        Self { coordinator, id }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How it is now; `None` before the node belongs to a cluster.
    #[must_use]
    pub fn info(&self) -> Option<ShardInfo> {
        self.coordinator.shard_info().into_iter().find(|info| info.shard_id == self.id)
    }

    /// What it was configured with; `None` before the node belongs to a cluster.
    #[must_use]
    pub fn config(&self) -> Option<ShardConfig> {
        use crate::multiraft::govern::Govern as _;
        let map = self.coordinator.0.view.map()?;
        Some(ShardConfig {
            shard_id: self.id,
            total_shards: map.num_shards,
            replicas: map.replication_factor,
            max_capacity: map.settings.capacity.max_entries,
            default_ttl: map.settings.default_ttl_ms.map(Duration::from_millis),
        })
    }
}

impl ShardInfo {
    pub(super) fn new(status: ShardStatus, leader: Option<NodeId>, map: &ClusterMap) -> Self {
        let state = state_of(&status, leader, map);
        let members = status.voters.iter().chain(&status.learners).copied().collect();
        Self {
            shard_id: status.shard,
            state,
            leader,
            members,
            entry_count: status.entries,
            size_bytes: status.bytes,
            term: status.term,
            commit_index: status.commit,
        }
    }
}

fn state_of(status: &ShardStatus, leader: Option<NodeId>, map: &ClusterMap) -> ShardState {
    let group = GroupId::of_shard(status.shard);
    let here = map.groups.get(&group).and_then(|set| set.replicas.iter().find(|at| at.replica.0 == status.replica));
    let draining = |node: Member| {
        let state = map.members.get(&node).map(|member| member.state);
        matches!(state, Some(MemberState::Draining | MemberState::Down | MemberState::Removed))
    };
    match (status.role, here) {
        (ReplicaRole::None, _) if leader.is_none() => ShardState::Initializing,
        (ReplicaRole::None, _) => moving_or_active(group, map),
        _ if status.health != "serving" => ShardState::Stopped,
        (_, None) => ShardState::Removing,
        (_, Some(at)) if draining(at.node) => ShardState::Removing,
        _ if status.applied == 0 => ShardState::Initializing,
        _ => moving_or_active(group, map),
    }
}

fn moving_or_active(group: GroupId, map: &ClusterMap) -> ShardState {
    if map.migration_of(group).is_some() { ShardState::Transferring } else { ShardState::Active }
}

impl MultiRaftStats {
    pub(super) fn new(shards: &[ShardInfo], own: NodeId, operations_per_sec: f64) -> Self {
        let serves = |info: &&ShardInfo| matches!(info.state, ShardState::Active | ShardState::Transferring);
        Self {
            total_shards: shards.len(),
            active_shards: shards.iter().filter(serves).count(),
            local_leader_shards: shards.iter().filter(|info| info.leader == Some(own)).count(),
            total_entries: shards.iter().map(|info| info.entry_count).sum(),
            total_size_bytes: shards.iter().map(|info| info.size_bytes).sum(),
            operations_per_sec,
        }
    }
}
