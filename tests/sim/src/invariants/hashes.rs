//! Replicas at the same applied index have the same state hash, and only a damaged one says that it is corrupt.

use std::collections::BTreeMap;

use crema::{
    multiraft::node::{GroupStatus, Health},
    types::{GroupId, LogIndex},
};

use super::Verdict;
use crate::net::Place;

/// The first hash seen of each state.
#[derive(Debug, Default)]
pub struct Hashes {
    seen: BTreeMap<(GroupId, LogIndex), (u128, Place)>,
    /// The replica whose memory this run has damaged.
    damaged: Option<(Place, GroupId)>,
    /// Its process is gone.
    is_over: bool,
}

impl Hashes {
    /// From now on this replica's state is wrong.
    pub(super) fn damage(&mut self, place: Place, group: GroupId) {
        self.damaged = Some((place, group));
    }

    /// Whether this replica was damaged.
    pub(super) fn is_damaged(&self, place: Place, group: GroupId) -> bool {
        self.damaged == Some((place, group)) && !self.is_over
    }

    /// The process is gone, and its damage with it.
    pub(super) fn forget(&mut self, place: Place) {
        self.is_over |= self.damaged.is_some_and(|(damaged, _)| damaged == place);
    }

    /// Whether any replica was damaged.
    pub(super) fn has_damage(&self) -> bool {
        self.damaged.is_some()
    }

    /// Checks one replica.
    pub(super) fn see(&mut self, place: Place, status: &GroupStatus) -> Verdict {
        if self.is_damaged(place, status.group) {
            return Ok(());
        }
        if status.health != Health::Serving {
            let reason = format!("{} at place {place} is sound and says {:?}", status.group, status.health);
            return Err(("only the damaged are corrupt", reason));
        }
        let first = *self.seen.entry((status.group, status.applied)).or_insert((status.state_hash, place));
        if first.0 == status.state_hash {
            return Ok(());
        }
        let reason = format!(
            "{} at entry {}: place {} has hash {:032x}, place {place} has {:032x}",
            status.group, status.applied, first.1, first.0, status.state_hash
        );
        Err(("equal state hashes", reason))
    }
}
