//! Election safety: a term of a group has at most one leader, in each of the group's generations.

use std::collections::BTreeMap;

use super::Verdict;
use crate::{
    consensus::Role,
    multiraft::node::GroupStatus,
    testing::net::Place,
    types::{GroupId, ReplicaId, Term},
};

/// Who led when.
#[derive(Debug, Default)]
pub struct Elections {
    leaders: BTreeMap<(GroupId, u64, Term), (Place, ReplicaId)>,
}

impl Elections {
    /// Checks one replica.
    pub(super) fn see(&mut self, place: Place, generation: u64, status: &GroupStatus) -> Verdict {
        if status.role != Role::Leader {
            return Ok(());
        }
        let own = (place, status.replica);
        let first = *self.leaders.entry((status.group, generation, status.term)).or_insert(own);
        if first == own {
            return Ok(());
        }
        let reason = format!("{} has two leaders in term {}: {first:?} and {own:?}", status.group, status.term);
        Err(("election safety", reason))
    }
}
