//! Election safety: a term of a group has at most one leader.

use std::collections::BTreeMap;

use crema::{
    consensus::Role,
    multiraft::node::GroupStatus,
    types::{GroupId, Term},
};

use super::Verdict;
use crate::net::Place;

/// Who led when.
#[derive(Debug, Default)]
pub struct Elections {
    leaders: BTreeMap<(GroupId, Term), Place>,
}

impl Elections {
    /// Checks one replica.
    pub(super) fn see(&mut self, place: Place, status: &GroupStatus) -> Verdict {
        if status.role != Role::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry((status.group, status.term)).or_insert(place);
        if first == place {
            return Ok(());
        }
        let reason = format!("{} has two leaders in term {}: places {first} and {place}", status.group, status.term);
        Err(("election safety", reason))
    }
}
