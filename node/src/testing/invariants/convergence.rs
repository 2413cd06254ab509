//! After the trouble is over, live replicas agree: one leader that all know, everything committed and applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    consensus::Role,
    machine::model::ModelStore,
    multiraft::node::{GroupStatus, Health, Node},
    testing::net::Place,
    types::GroupId,
};

/// Why the nodes do not agree yet; `None`: they do. Replicas that say that they are corrupt are left out, and groups
/// that had to stop.
#[must_use]
pub fn missing(nodes: &[(Place, &Node<ModelStore>)], stopped: &BTreeSet<GroupId>) -> Option<String> {
    let mut groups: BTreeMap<GroupId, Vec<(Place, GroupStatus)>> = BTreeMap::new();
    for (place, node) in nodes {
        for status in node.status().filter(|status| !stopped.contains(&status.group)) {
            groups.entry(status.group).or_default().push((*place, status));
        }
    }
    groups.into_values().find_map(|replicas| missing_in(&replicas))
}

fn missing_in(replicas: &[(Place, GroupStatus)]) -> Option<String> {
    let sound = |(_, status): &&(Place, GroupStatus)| status.health == Health::Serving;
    let leaders = replicas.iter().filter(sound).filter(|(_, status)| status.role == Role::Leader);
    let Some((_, leader)) = leaders.max_by_key(|(_, status)| status.term) else {
        return Some(format!("{} has no leader: {}", replicas[0].1.group, describe(replicas)));
    };
    let same = |(_, status): &(Place, GroupStatus)| {
        status.term == leader.term
            && status.leader == leader.leader
            && status.applied == leader.last
            && status.commit == leader.last
            && status.last == leader.last
    };
    let all = replicas.iter().filter(sound).all(same);
    (!all).then(|| format!("{} has not converged: {}", leader.group, describe(replicas)))
}

fn describe(replicas: &[(Place, GroupStatus)]) -> String {
    let one = |(place, s): &(Place, GroupStatus)| {
        format!(
            "place {place} {:?} term {} leader {:?} applied {} commit {} last {}{}{}",
            s.role,
            s.term,
            s.leader,
            s.applied,
            s.commit,
            s.last,
            if s.asleep { " asleep" } else { "" },
            if s.health == Health::Serving { String::new() } else { format!(" {:?}", s.health) },
        )
    };
    replicas.iter().map(one).collect::<Vec<_>>().join("; ")
}
