//! The library's error, grouped by what the caller does next.

use crate::types::{LogIndex, NodeId, ShardId};

/// Why an operation has no result. The variants say what the caller may do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not applied. Ask the leader, if one is known; the library itself forwards and rarely shows this.
    #[error("this node does not lead shard {shard}")]
    NotLeader {
        /// The shard.
        shard: ShardId,
        /// Who leads it, as far as this node knows.
        hint: Option<NodeId>,
    },
    /// Not applied. The key's slot belongs to a shard of another map version.
    #[error("slot {slot} has moved to shard {shard}")]
    Moved {
        /// The slot of the key.
        slot: u16,
        /// The shard that owns it now.
        shard: ShardId,
    },
    /// Not applied. The shard can't answer for certain now (no quorum, no leader); try again later.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// It may or may not have happened: read before you decide; never proposed twice by Crema.
    #[error("outcome unknown: the write may or may not have happened ({reason})")]
    OutcomeUnknown {
        /// Why the answer was lost.
        reason: String,
        /// Where in the shard's log it may be, when known.
        index: Option<LogIndex>,
    },
    /// Not applied. A bounded queue stayed full; slow down and try again.
    #[error("busy: {what} is full")]
    Busy {
        /// Which queue or limit.
        what: &'static str,
    },
    /// Not applied. The request itself is wrong; trying again won't help.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// What is wrong.
        field: &'static str,
        /// The value, and what would be right.
        reason: String,
    },
    /// Not applied. This node is going away; ask another.
    #[error("this node is shutting down")]
    ShuttingDown,
    /// The node could not start or stopped for good.
    #[error("{0}")]
    Fatal(String),
}

/// The result of a library call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
