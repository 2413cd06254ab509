//! What is in the directory, in memory: with thousands of shards, listing it for each of them would take seconds (pure).

use std::collections::BTreeSet;

use super::{CheckpointId, name::FileName};
use crate::types::{GroupId, LogIndex, ReplicaId};

/// The names of published and damaged checkpoints. Drafts are known to their writers only.
#[derive(Debug, Default)]
pub(super) struct Index {
    published: BTreeSet<CheckpointId>,
    damaged: BTreeSet<CheckpointId>,
}

impl Index {
    pub(super) fn add(&mut self, name: FileName) {
        match name {
            FileName::Published(id) => drop(self.published.insert(id)),
            FileName::Damaged(id) => drop(self.damaged.insert(id)),
            FileName::Draft(..) => {}
        }
    }

    pub(super) fn remove(&mut self, name: FileName) {
        match name {
            FileName::Published(id) => drop(self.published.remove(&id)),
            FileName::Damaged(id) => drop(self.damaged.remove(&id)),
            FileName::Draft(..) => {}
        }
    }

    /// The published checkpoints of a replica, the newest first.
    pub(super) fn published(&self, group: GroupId, replica: ReplicaId) -> Vec<CheckpointId> {
        of(&self.published, group, replica).rev().copied().collect()
    }

    /// Those of a replica that were set aside.
    pub(super) fn damaged(&self, group: GroupId, replica: ReplicaId) -> Vec<CheckpointId> {
        of(&self.damaged, group, replica).copied().collect()
    }

    pub(super) fn replicas(&self) -> BTreeSet<(GroupId, ReplicaId)> {
        self.published.iter().chain(&self.damaged).map(|id| (id.group, id.replica)).collect()
    }
}

fn of(
    ids: &BTreeSet<CheckpointId>,
    group: GroupId,
    replica: ReplicaId,
) -> impl DoubleEndedIterator<Item = &CheckpointId> {
    let at = |index| CheckpointId { group, replica, index: LogIndex(index) };
    ids.range(at(0)..=at(u64::MAX))
}
