//! What changes the cluster map: the commands of the meta group's log (pure).
//!
//! [`apply`] is their meaning and [`encode`] their bytes. Proposed by the planner's executor in `multiraft::node` and by Admin and Join through
//! [`Input::Govern`](crate::multiraft::node::Input); applied on every node in the order of the log.
//! Nothing here looks at a clock or at anyone's health: whether a change is wise is the planner's question, here it is
//! only whether it is possible.

use crate::{
    cluster::map::{Member, MemberState, Phase, Reason, SharedSettings},
    types::{GroupId, Incarnation, MigrationId, NodeId, ReplicaId, Timestamp},
};

mod apply;
mod done;
mod members;
mod migrate;
mod reset;
mod wire;

pub use apply::{MAX_REPLICATION_FACTOR, apply};
pub use migrate::following;
pub use reset::check_lost;
pub use wire::{DecodeError, decode, decode_command, encode, encode_command};

/// One entry of the meta group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaRecord {
    /// The leader's clock when it proposed this (PROTOCOL 3).
    pub stamp: Timestamp,
    /// The version that the map must have; `None` is any.
    pub expected_version: Option<u64>,
    /// What is to change.
    pub command: MetaCommand,
}

/// One change of the map. Refused, it changes nothing, not even the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaCommand {
    /// A node becomes a member, or comes back in a new life, which retires its previous one. Idempotent for the same
    /// incarnation (its address, host, zone and levels are brought up to date).
    Join {
        /// The node.
        node: NodeId,
        /// What it says of itself; its state is not looked at.
        member: Member,
    },
    /// A member's state changes: `Joining` → `Up`, `Up` ↔ `Draining`, any but `Removed` → `Down`, and `Removed` once no
    /// replica of it is left.
    SetState {
        /// The member.
        node: NodeId,
        /// The life that is meant.
        incarnation: Incarnation,
        /// Its state from now on.
        state: MemberState,
    },
    /// A group's replicas are to change.
    StartMigration {
        /// The group; it must have no migration.
        group: GroupId,
        /// What comes.
        incoming: Incoming,
        /// The replica that goes.
        outgoing: Option<ReplicaId>,
        /// The incoming replica stays a learner.
        learner: bool,
        /// Why.
        reason: Reason,
    },
    /// A migration has done its present phase. Refused when it is in another one, so that it may be proposed twice.
    AdvanceMigration {
        /// Which.
        migration: MigrationId,
        /// The phase that is done.
        from: Phase,
        /// The next one; `None` ends the migration.
        to: Option<Phase>,
        /// The version of the ConfState that shows it done; 0 when it does not depend on one.
        conf_version: u64,
    },
    /// A migration is rolled back; refused after [`Phase::JointSwap`], and in it when it has no joint configuration. A promotion is over at once, its learner stays;
    /// a new replica goes when the group's ConfState no longer has it.
    CancelMigration(MigrationId),
    /// Leadership of a group should be at this voter.
    Prefer {
        /// The group.
        group: GroupId,
        /// The voter.
        replica: ReplicaId,
    },
    /// What all replicas must agree on.
    SetSettings(SharedSettings),
    /// How many voters each shard should have.
    SetReplicationFactor(u32),
    /// The level that log entries, checkpoints and frames may use from now on.
    RaiseFeatureLevel(u32),
    /// Shards that lost the majority of their voters for good return empty: their entries are lost. Refused unless that
    /// is so, and when one has begun another generation since. The dead lives become `Down` with it.
    ResetShards {
        /// The shards, and where each begins anew.
        shards: Vec<ShardReset>,
        /// Lives that are proved dead otherwise than by coming back in another one. Those that the map has down are none of
        /// them by that.
        dead: Vec<Life>,
    },
}

/// One life of a node.
pub type Life = (NodeId, Incarnation);

/// One shard that begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReset {
    /// The shard's group.
    pub group: GroupId,
    /// Its generation that is lost.
    pub generation: u64,
    /// Where the replicas of the next one are; on the first the leader should be.
    pub nodes: Vec<NodeId>,
}

/// The replica that a migration brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// None.
    None,
    /// A new one on a node.
    New(NodeId),
    /// A learner that is in the set already.
    Promote(ReplicaId),
}

/// Why a change of the map was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The map has moved on since the caller looked at it.
    #[error("the map has version {actual}, not {expected}; look at it again")]
    Version {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// It does not fit what is there.
    #[error("{0}")]
    Reason(String),
}

#[cfg(test)]
mod tests;
