//! A replica's term, commit and applied index never fall, and nothing is applied before it is committed.

use std::collections::BTreeMap;

use super::Verdict;
use crate::{
    multiraft::node::GroupStatus,
    testing::net::Place,
    types::{GroupId, LogIndex, ReplicaId, Term},
};

/// Where each replica was.
#[derive(Debug, Default)]
pub struct Progress {
    last: BTreeMap<(Place, GroupId, ReplicaId), (Term, LogIndex, LogIndex)>,
}

impl Progress {
    /// Checks one replica.
    pub(super) fn see(&mut self, place: Place, status: &GroupStatus) -> Verdict {
        let now = (status.term, status.commit, status.applied);
        let last = self.last.insert((place, status.group, status.replica), now).unwrap_or_default();
        let (term, commit, applied) = now;
        if term < last.0 || commit < last.1 || applied < last.2 || applied > commit || commit > status.last {
            let reason = format!(
                "{} at place {place}: (term, commit, applied) went from {last:?} to {now:?}, log ends at {}",
                status.group, status.last
            );
            return Err(("progress", reason));
        }
        Ok(())
    }

    /// The process is gone.
    pub(super) fn forget(&mut self, place: Place) {
        self.last.retain(|(other, ..), _| *other != place);
    }
}
