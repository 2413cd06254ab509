//! What the cache's own nodes say through `crema.v1.Admin`: the authority on who is a member and what holds what.

use std::collections::BTreeMap;

use crema_crds::spec::Eviction;

use super::{ClusterUid, Group, Incarnation, MapVersion, NodeId};

/// All answers of one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// What each pod's node said. A pod that is missing here was not asked: it counts as silent.
    pub pods: BTreeMap<NodeId, Answer>,
    /// The newest map that any of them has.
    pub map: Option<MapView>,
}

/// What one node said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing; silence proves nothing.
    Silent {
        /// Why, as far as is known.
        reason: String,
    },
    /// It belongs to no cluster.
    Empty {
        /// The life it is in.
        incarnation: Incarnation,
    },
    /// It belongs to a cluster.
    Member {
        /// Which.
        cluster_uid: ClusterUid,
        /// The life it is in.
        incarnation: Incarnation,
        /// Of its copy of the map.
        map_version: MapVersion,
    },
}

impl Answer {
    /// The life that the node is in, if it said so.
    #[must_use]
    pub fn incarnation(&self) -> Option<&Incarnation> {
        match self {
            Self::Silent { .. } => None,
            Self::Empty { incarnation } | Self::Member { incarnation, .. } => Some(incarnation),
        }
    }
}

/// The cluster map, with what the groups report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapView {
    /// The cluster.
    pub uid: ClusterUid,
    /// Of this map.
    pub version: MapVersion,
    /// The leader of the meta group gave it, and a majority of the group stands behind it. Otherwise it is some node's copy.
    pub confirmed: bool,
    /// Replicas that each shard should have.
    pub replication_factor: u32,
    /// What all replicas agree on.
    pub settings: SettingsView,
    /// All members, those that left included.
    pub members: BTreeMap<NodeId, MemberView>,
    /// The meta group and every shard.
    pub groups: BTreeMap<Group, GroupView>,
    /// What moves.
    pub migrations: Vec<MigrationView>,
    /// No migration begins or copies.
    pub migrations_paused: bool,
    /// Why the cluster's own planner does nothing more now.
    pub waiting_on: Vec<String>,
}

/// The shared settings; 0 is "no limit" or "for ever" as in `admin.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsView {
    /// Capacity of a shard.
    pub max_entries_per_shard: u64,
    /// Capacity of a shard.
    pub max_bytes_per_shard: u64,
    /// The life of keys that are set without one.
    pub default_ttl_ms: u64,
    /// How a full shard chooses what goes.
    pub eviction: Eviction,
    /// Migrations at a time.
    pub migration_concurrency: u32,
    /// Their bandwidth.
    pub migration_bytes_per_s: u64,
    /// How long a node may be silent before the nodes themselves give it up.
    pub repair_after_ms: u64,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has the map and holds nothing yet.
    Joining,
    /// It takes replicas.
    Up,
    /// Its replicas are moved away.
    Draining,
    /// This life of it is dead for good.
    Down,
    /// It has left for good.
    Removed,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Where it stands.
    pub state: MemberState,
    /// The life that the map knows.
    pub incarnation: Incarnation,
    /// Where it runs; empty when not known.
    pub zone: String,
    /// Replicas it holds of all groups, the meta group included.
    pub replicas: u32,
}

/// A group and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Who leads it, by the last reports.
    pub leader: Option<NodeId>,
    /// Who votes.
    pub voters: Vec<VoterView>,
    /// Who only listens.
    pub learners: Vec<NodeId>,
}

/// One voter of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterView {
    /// The member.
    pub node: NodeId,
    /// The life that holds the replica.
    pub incarnation: Incarnation,
    /// How far it is behind the leader, which itself is not; `None` when nobody says.
    pub lag_entries: Option<u64>,
}

/// A replica on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationView {
    /// Of which group.
    pub group: Group,
    /// Its phase, as `admin.proto` names it.
    pub phase: String,
    /// Who gives a replica up.
    pub from: Option<NodeId>,
    /// Who gets one.
    pub to: Option<NodeId>,
    /// Of the state, that the incoming replica has.
    pub bytes: u64,
    /// Of the state; 0 when not known.
    pub total_bytes: u64,
    /// Until the copy is complete, when it can be told.
    pub eta_ms: Option<u64>,
}

impl GroupView {
    /// Whether a member has a vote in it, in whatever life.
    #[must_use]
    pub fn has_voter(&self, node: NodeId) -> bool {
        self.voters.iter().any(|voter| voter.node == node)
    }
}

impl MapView {
    /// Who holds a place in the cluster: all that have not left.
    pub fn present(&self) -> impl Iterator<Item = (NodeId, &MemberView)> {
        self.members
            .iter()
            .filter(|(_, member)| member.state != MemberState::Removed)
            .map(|(node, member)| (*node, member))
    }

    /// Where a member stands; `None` if it never was one.
    #[must_use]
    pub fn state_of(&self, node: NodeId) -> Option<MemberState> {
        self.members.get(&node).map(|member| member.state)
    }

    /// The groups that a member leads.
    pub fn led_by(&self, node: NodeId) -> impl Iterator<Item = Group> {
        self.groups.iter().filter(move |(_, group)| group.leader == Some(node)).map(|(group, _)| *group)
    }
}
