//! What a replica is made from, and what it begins with.

use raft::eraftpb::ConfState;

use super::{
    log::{ReplicaLog, SnapshotPoint},
    persist::Recovered,
};
use crate::types::{GroupId, Incarnation, LogIndex, ReplicaId, Term};

/// What a replica is made from.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The group.
    pub group: GroupId,
    /// The group's generation: it rises when a lost group is formed anew.
    pub generation: u64,
    /// This peer's id.
    pub replica: ReplicaId,
    /// The node's life, which makes read contexts unique.
    pub incarnation: Incarnation,
    /// What it begins with.
    pub origin: Origin,
    /// Election timeouts are drawn from `[n, 2n)` ticks.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Decides every election timeout.
    pub seed: u64,
    /// Whether it has a disk: what [`Output::persist`](super::Output::persist) says is then reported by
    /// [`Replica::persisted`](super::Replica::persisted).
    pub durable: bool,
    /// Unlike that of any earlier process in this life of the node; makes read contexts unique together with it.
    pub boot: u64,
}

/// The index that every group's log starts behind: its first entry is the next one. Never 0, so that a replica that
/// begins with nothing lacks something in every log, and is sent a snapshot.
pub const FIRST_INDEX: LogIndex = LogIndex(1);
/// The term of that index.
pub const FIRST_TERM: Term = Term(1);

/// What a replica begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// It is one of the group's first replicas: all of them begin at [`FIRST_INDEX`] with this configuration. The
    /// state machine must be told that this index is applied.
    First {
        /// Who votes; not empty.
        voters: Vec<ReplicaId>,
        /// Who learns.
        learners: Vec<ReplicaId>,
    },
    /// It comes later: it belongs to no configuration and never stands for election until a snapshot tells it one.
    Empty,
    /// It goes on from what its disk has. The state machine must be that of [`Recovered::applied`].
    Recovered(Recovered),
}

impl Origin {
    /// The log that it begins with, and how far the state is.
    pub(super) fn begin(self) -> (ReplicaLog, SnapshotPoint) {
        let ids = |replicas: Vec<ReplicaId>| replicas.into_iter().map(|id| id.0).collect();
        match self {
            Self::First { voters, learners } => {
                let conf = ConfState { voters: ids(voters), learners: ids(learners), ..Default::default() };
                let base = SnapshotPoint { index: FIRST_INDEX.0, term: FIRST_TERM.0 };
                (ReplicaLog::new(base, conf), base)
            }
            Self::Empty => {
                let base = SnapshotPoint { index: 0, term: 0 };
                (ReplicaLog::new(base, ConfState::default()), base)
            }
            Self::Recovered(recovered) => {
                let applied = recovered.applied();
                (recovered.into_log(), applied)
            }
        }
    }
}
