//! Changes of a group's configuration, as they stand in the log (PROTOCOL 12).
//!
//! The whole change is in the entry's context, in our own encoding; what raft-rs puts into the entry's data is never
//! parsed. The state machine checks the version before the change takes effect.

use crate::{
    checkpoint::Peer,
    types::{MigrationId, ReplicaId},
};

/// One change of who votes and who learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfChange {
    /// The migration that wants it; 0 is none.
    pub migration: MigrationId,
    /// The conf version that it builds on; applied to any other, it changes nothing.
    pub expected_version: u64,
    /// What changes.
    pub step: ConfStep,
    /// Where the replicas live that it adds.
    pub peers: Vec<Peer>,
}

/// What a [`ConfChange`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfStep {
    /// A replica follows and does not vote.
    AddLearner(ReplicaId),
    /// A learner is no more.
    RemoveLearner(ReplicaId),
    /// A joint configuration begins: in the incoming half `add` votes and `remove` does not.
    EnterJoint {
        /// A learner that is to vote.
        add: Option<ReplicaId>,
        /// A voter that is to go.
        remove: Option<ReplicaId>,
    },
    /// The joint configuration ends; only its incoming half is left.
    LeaveJoint,
}
