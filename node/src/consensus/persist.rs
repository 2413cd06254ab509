//! What a replica asks to be made durable.

use raft::eraftpb::{Entry, HardState};

use super::SnapshotPoint;
use crate::types::{GroupId, LogIndex, ReplicaId};

/// What one poll asks to be made durable, applied in the order of its fields: reset, entries, hard state, truncation.
#[derive(Clone, Debug, PartialEq)]
pub struct Persist {
    /// The group.
    pub group: GroupId,
    /// The replica of it that is here.
    pub replica: ReplicaId,
    /// The log is forgotten and starts after this point: a received snapshot.
    pub reset: Option<SnapshotPoint>,
    /// Appended, in the place of whatever conflicting tail there is.
    pub entries: Vec<Entry>,
    /// Term, vote and commit index.
    pub hard_state: Option<HardState>,
    /// The entries up to and including this one are not needed any more.
    pub truncate_to: Option<LogIndex>,
}
