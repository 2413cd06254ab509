//! What the meta leader knows of the cluster's health: the planner's second input, besides the map.
//!
//! Kept by the meta leader from reports and sessions, published for Admin. It is what was last heard, never a truth:
//! a plan that builds on an old one is refused when it is applied, or planned anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    checkpoint::ConfState,
    types::{GroupId, NodeId, ReplicaId},
};

/// What is known of nodes and groups now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The members that were ever heard of, in their present life.
    pub nodes: BTreeMap<NodeId, NodeHealth>,
    /// The groups whose leader has reported lately; the others have none, or it can't reach the meta leader.
    pub groups: BTreeMap<GroupId, GroupHealth>,
    /// Members that nobody has let in yet: no replica goes there, and they count for nothing.
    pub held_back: BTreeSet<NodeId>,
    /// Replicas that their nodes say are good for nothing any more: they are replaced as dead ones are.
    pub unfit: BTreeMap<ReplicaId, Defect>,
    /// Groups whose preferred leader somebody has asked for lately: the balance is made with the others.
    pub asked: BTreeSet<GroupId>,
    /// Nodes that somebody has moved leaders away from lately, as before they are stopped: the balance gives them none.
    pub relieved: BTreeSet<NodeId>,
}

impl Health {
    /// Whether a replica takes no part in its group although its node does.
    #[must_use]
    pub fn is_stopped(&self, replica: ReplicaId) -> bool {
        self.unfit.get(&replica) == Some(&Defect::Stopped)
    }
}

/// What is wrong with a replica of a node that is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Its state is not to be believed. It votes and replicates.
    Corrupt,
    /// It takes part in nothing.
    Stopped,
}

impl Defect {
    /// What ails the replica, as the end of a sentence about it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Corrupt => "is corrupt",
            Self::Stopped => "has stopped",
        }
    }
}

/// One node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Milliseconds since the meta leader last heard of it; 0 while it is connected.
    pub silent_ms: u64,
    /// The version of its copy of the map.
    pub map_version: u64,
    /// Bytes that its replicas hold.
    pub used_bytes: u64,
    /// Bytes that they may hold; `None` when unknown.
    pub limit_bytes: Option<u64>,
    /// Its disk takes nothing any more: it is no place for a replica until it is started again.
    pub disk_failed: bool,
}

/// One group, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupHealth {
    /// Who leads it.
    pub leader: ReplicaId,
    /// The number of its last conf change.
    pub conf_version: u64,
    /// Who votes: the truth, where the map has the intent (PROTOCOL 12).
    pub conf: ConfState,
    /// The last index of the leader's log.
    pub last: u64,
    /// Entries that it holds.
    pub entries: u64,
    /// Bytes that they take on each replica.
    pub bytes: u64,
    /// How far the replicas are.
    pub peers: BTreeMap<ReplicaId, PeerHealth>,
}

/// One replica, as its leader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerHealth {
    /// The last index where its log is known to be the leader's.
    pub matched: u64,
    /// A snapshot is on its way to it.
    pub snapshot: bool,
}
