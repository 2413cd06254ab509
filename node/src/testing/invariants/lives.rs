//! A replica id belongs to one life of one node: lost with its memory, it never acts again (PROTOCOL 11).

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::{
    multiraft::node::GroupStatus,
    testing::net::Place,
    types::{GroupId, Incarnation, ReplicaId},
};

/// Whose the ids are.
#[derive(Debug, Default)]
pub struct Lives {
    owners: BTreeMap<(GroupId, ReplicaId), (Place, Incarnation)>,
    lost: BTreeSet<(GroupId, ReplicaId)>,
}

impl Lives {
    /// Checks one replica.
    pub(super) fn see(&mut self, place: Place, life: Incarnation, status: &GroupStatus) -> Verdict {
        let (group, replica) = (status.group, status.replica);
        let owner = *self.owners.entry((group, replica)).or_insert((place, life));
        if owner == (place, life) && !self.lost.contains(&(group, replica)) {
            return Ok(());
        }
        let reason = format!("{group} at place {place}, {life}: replica {replica} was lost with {owner:?}");
        Err(("one life for each replica", reason))
    }

    /// The process is gone, and all its replicas knew.
    pub(super) fn forget(&mut self, place: Place) {
        self.lost.extend(self.owners.iter().filter(|(_, (owner, _))| *owner == place).map(|(id, _)| *id));
    }
}
