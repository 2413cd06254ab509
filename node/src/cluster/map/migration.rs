//! Changes of a group's replicas that are under way (pure).
//!
//! A migration lives in the map from its committed start to its committed end, so whoever leads the meta group goes on
//! with it. The group's own leader makes the conf changes; the map only says what is wanted now (PROTOCOL 12, 13).

use crate::types::{GroupId, Incarnation, MigrationId, NodeId, ReplicaId};

/// One change of one group: a replica comes, one goes, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub id: MigrationId,
    /// The group; it has no other migration.
    pub group: GroupId,
    /// The replica that comes, or the learner that is promoted. It is in the group's set.
    pub incoming: Option<ReplicaId>,
    /// The replica that goes.
    pub outgoing: Option<ReplicaId>,
    /// The incoming replica stays a learner.
    pub learner: bool,
    /// The incoming replica was a learner of the set before: rolled back, it stays one.
    pub promoted: bool,
    /// How far it is.
    pub phase: Phase,
    /// Why it was begun.
    pub reason: Reason,
    /// It is rolled back: the incoming learner is taken out again. In [`Phase::JointSwap`] that is decided only by what
    /// the configuration shows next: another version without the swap, or the swap, which then goes on.
    pub cancelled: bool,
    /// The meta group's log time at its start, in ms.
    pub started_ms: u64,
    /// In [`Phase::Cleanup`], where the outgoing replica was: it is no longer in the set.
    pub left: Option<Left>,
}

/// Where a replica was that the map has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its node.
    pub node: NodeId,
    /// The life of the node that it belonged to.
    pub incarnation: Incarnation,
    /// The version of the map that dropped it: once the node acts by this one, the replica is destroyed.
    pub version: u64,
}

/// The steps of a migration, in order. A step is done when the group's applied ConfState shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The incoming replica becomes a learner of the group. Skipped when it is one, or when none comes.
    AddLearner,
    /// It gets a snapshot and the log.
    CatchUp,
    /// The group enters a joint configuration: the incoming one votes, the outgoing one does so only in the old half.
    /// A learner that goes is simply taken out here.
    JointSwap,
    /// The group leaves the joint configuration.
    LeaveJoint,
    /// The outgoing replica is out of the set; its node destroys it.
    Cleanup,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::AddLearner, Self::CatchUp, Self::JointSwap, Self::LeaveJoint, Self::Cleanup];

    /// Its name in tables, metrics and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AddLearner => "add-learner",
            Self::CatchUp => "catch-up",
            Self::JointSwap => "joint-swap",
            Self::LeaveJoint => "leave-joint",
            Self::Cleanup => "cleanup",
        }
    }
}

/// Why a migration was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A replica is dead, or there are too few.
    Repair,
    /// Its node is being drained.
    Drain,
    /// Some node holds more than its share.
    Balance,
    /// Somebody asked for it.
    Asked,
    /// The meta group's voters and learners follow the nodes.
    Meta,
}

impl Reason {
    /// Its name in tables, metrics and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Drain => "drain",
            Self::Balance => "balance",
            Self::Asked => "asked",
            Self::Meta => "meta",
        }
    }
}
