//! What a replica wants on its disk, and what it makes of what it finds there (PROTOCOL 17, 20).
//!
//! [`Persist`] goes down to `storage::LogStore`; [`DiskLog`] comes back up at a start, and with the newest checkpoint
//! becomes a [`Recovered`], from which a replica goes on. Nothing here reads or writes a file.

use crema_api::v1;
use raft::eraftpb::{Entry, HardState};

use super::{
    convert,
    log::{ReplicaLog, SnapshotPoint},
};
use crate::types::{GroupId, LogIndex, ReplicaId};

/// What one poll asks to be made durable, applied in the order of the fields. All of it or nothing must survive a crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Persist {
    /// The group.
    pub group: GroupId,
    /// Its replica here.
    pub replica: ReplicaId,
    /// The life of the group that this replica belongs to.
    pub generation: u64,
    /// Whatever log there was goes; the next entry is the one after this point. The first write of every replica has it,
    /// and one that follows a received snapshot, whose checkpoint must be published before.
    pub reset: Option<SnapshotPoint>,
    /// To be appended without a gap; what was stored at or above the first of them goes.
    pub entries: Vec<Entry>,
    /// Term, vote and commit.
    pub hard_state: Option<HardState>,
    /// Entries up to and including this one are not needed any more.
    pub truncate_to: Option<LogIndex>,
}

/// The log of one replica as a disk has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskLog {
    /// The entry before the first one.
    pub base: SnapshotPoint,
    /// What follows it, without a gap.
    pub entries: Vec<Entry>,
    /// Term, vote and commit, if they were ever written.
    pub hard_state: Option<HardState>,
}

/// Why a disk's log and checkpoint don't make a replica: it has lost what it promised, and must never vote again under
/// its id (PROTOCOL 19).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Entries are missing between the state and the log.
    #[error("its log begins behind entry {base}, and its state ends at entry {applied}")]
    Gap {
        /// The entry before the first one.
        base: u64,
        /// The index of the state.
        applied: u64,
    },
    /// An entry is not the next one, or of an earlier term than the one before.
    #[error("entry {found} of term {term} follows entry {before} in its log")]
    Disorder {
        /// The entry before.
        before: u64,
        /// The one that follows.
        found: u64,
        /// Its term.
        term: u64,
    },
    /// More was committed than there is.
    #[error("entry {commit} was committed, and its log ends at entry {last}")]
    CommitBeyondLog {
        /// What the hard state says.
        commit: u64,
        /// The end of the log.
        last: u64,
    },
    /// A committed entry is another one than the checkpoint's.
    #[error("its log has entry {index} of term {log} where its checkpoint has one of term {checkpoint}")]
    OtherHistory {
        /// The index of the checkpoint.
        index: u64,
        /// The term by the log.
        log: u64,
        /// The term by the checkpoint.
        checkpoint: u64,
    },
    /// It has forgotten a term that it took part in.
    #[error("its hard state is of term {term}, and its log has an entry of term {entry}")]
    ForgottenTerm {
        /// What the hard state says.
        term: u64,
        /// The last entry's.
        entry: u64,
    },
}

/// A replica's log after a restart, known to fit its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    applied: SnapshotPoint,
    conf: v1::ConfState,
    pub(super) base: SnapshotPoint,
    pub(super) entries: Vec<Entry>,
    pub(super) hard_state: HardState,
    pub(super) reset: bool,
}

impl Recovered {
    /// Fits a log to the state at `applied`, in which `conf` was the configuration. A log that does not reach that far,
    /// or went on otherwise before a snapshot came, is given up for the state.
    ///
    /// # Errors
    /// [`Unusable`]: something is gone that was promised.
    pub fn new(log: DiskLog, applied: SnapshotPoint, conf: v1::ConfState) -> Result<Self, Unusable> {
        let DiskLog { base, mut entries, hard_state } = log;
        if base.index > applied.index {
            return Err(Unusable::Gap { base: base.index, applied: applied.index });
        }
        let last = check_order(base, &entries)?;
        let mut hard_state = hard_state.unwrap_or_default();
        if hard_state.commit > last.index {
            return Err(Unusable::CommitBeyondLog { commit: hard_state.commit, last: last.index });
        }
        if hard_state.term < last.term && !entries.is_empty() {
            return Err(Unusable::ForgottenTerm { term: hard_state.term, entry: last.term });
        }
        let at_state = match applied.index - base.index {
            0 => Some(base.term),
            n => entries.get(usize::try_from(n - 1).unwrap_or(usize::MAX)).map(|entry| entry.term),
        };
        let (mut base, mut reset) = (base, false);
        if at_state != Some(applied.term) {
            if let Some(term) = at_state
                && hard_state.commit >= applied.index
            {
                return Err(Unusable::OtherHistory { index: applied.index, log: term, checkpoint: applied.term });
            }
            (base, reset) = (applied, true);
            entries.clear();
        }
        hard_state.commit = hard_state.commit.max(applied.index);
        if hard_state.term < applied.term {
            // It has not voted in that term: a vote leaves only when it is synced.
            (hard_state.term, hard_state.vote) = (applied.term, 0);
        }
        Ok(Self { applied, conf, base, entries, hard_state, reset })
    }

    /// The state that it goes on from.
    #[must_use]
    pub fn applied(&self) -> SnapshotPoint {
        self.applied
    }

    /// Whether the log on the disk was given up.
    pub(super) fn is_reset(&self) -> bool {
        self.reset
    }

    pub(super) fn into_log(self) -> ReplicaLog {
        let Self { applied: _, conf, base, entries, hard_state, reset: _ } = self;
        ReplicaLog::recovered(base, entries, hard_state, convert::conf_from_wire(conf))
    }
}

/// The end of a log whose entries follow one another.
fn check_order(base: SnapshotPoint, entries: &[Entry]) -> Result<SnapshotPoint, Unusable> {
    entries.iter().try_fold(base, |before, entry| {
        if before.index.checked_add(1) != Some(entry.index) || entry.term < before.term {
            return Err(Unusable::Disorder { before: before.index, found: entry.index, term: entry.term });
        }
        Ok(SnapshotPoint { index: entry.index, term: entry.term })
    })
}
