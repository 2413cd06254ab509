//! After the trouble is over the cluster has the shape it is to have: everybody has the same map, nothing is under way,
//! and every group has its voters, on distinct living nodes, as its own configuration says.

use std::collections::BTreeSet;

use crate::{
    checkpoint::ConfState,
    cluster::map::{ClusterMap, MAX_META_VOTERS, MemberState, ReplicaSet},
    consensus::Role,
    machine::model::ModelStore,
    multiraft::node::Node,
    testing::{host::node_id, net::Place},
    types::{GroupId, NodeId, ReplicaId},
};

/// What the cluster lacks; `None`: nothing.
#[must_use]
pub fn misshapen(nodes: &[(Place, &Node<ModelStore>)]) -> Option<String> {
    let map = nodes.iter().map(|(_, node)| node.map()).max_by_key(|map| map.version)?;
    if let Some((place, node)) = nodes.iter().find(|(_, node)| node.map().version != map.version) {
        return Some(format!("place {place} has map {}, others have {}", node.map().version, map.version));
    }
    if let Some(migration) = map.migrations.values().next() {
        let conf = leader_conf(migration.group, nodes);
        return Some(format!("under way: {migration:?} of {conf:?}"));
    }
    let living: BTreeSet<NodeId> = nodes.iter().map(|(place, _)| node_id(*place)).collect();
    if let Some(reason) = wrong_members(map, &living) {
        return Some(reason);
    }
    map.groups.iter().find_map(|(group, set)| {
        let wrong = wrong_set(map, *group, set, living.len()).or_else(|| wrong_conf(*group, set, nodes));
        wrong.map(|wrong| format!("{group}: {wrong}, in {set:?}"))
    })
}

fn wrong_members(map: &ClusterMap, living: &BTreeSet<NodeId>) -> Option<String> {
    let known: BTreeSet<NodeId> =
        map.members.keys().copied().filter(|node| map.incarnation_of(*node).is_some()).collect();
    if known != *living {
        return Some(format!("{living:?} live, the map knows {known:?}"));
    }
    let unsettled = map.members.iter().find(|(_, member)| {
        map.settings.migrations_paused || matches!(member.state, MemberState::Joining | MemberState::Draining)
    });
    unsettled.map(|(node, member)| format!("node {node} is {}", member.state.name()))
}

fn wrong_set(map: &ClusterMap, group: GroupId, set: &ReplicaSet, living: usize) -> Option<String> {
    let nodes: BTreeSet<NodeId> = set.replicas.iter().map(|at| at.node).collect();
    if nodes.len() != set.replicas.len() || !set.replicas.iter().all(|at| map.is_alive(at)) {
        return Some("two replicas on a node, or a dead one".to_owned());
    }
    let voters = set.voters().count();
    let wanted = match group.shard() {
        Some(_) => (map.replication_factor as usize).min(living),
        // An odd number is wanted, more do no harm.
        None => (living.min(MAX_META_VOTERS) - 1) / 2 * 2 + 1,
    };
    match group.shard() {
        Some(_) if voters != wanted || set.replicas.len() != voters => Some(format!("{wanted} voters are wanted")),
        None if voters < wanted || voters > MAX_META_VOTERS || nodes.len() != living => {
            Some(format!("{wanted} voters are wanted, and a replica on each node"))
        }
        Some(_) | None => None,
    }
}

/// The configuration that a group's leader has applied.
fn leader_conf<'a>(group: GroupId, nodes: &[(Place, &'a Node<ModelStore>)]) -> Option<&'a ConfState> {
    let leads = |node: &Node<ModelStore>| node.group_status(group).is_some_and(|status| status.role == Role::Leader);
    let (_, node) = nodes.iter().find(|(_, node)| leads(node))?;
    node.conf(group).map(|(_, conf)| conf)
}

fn wrong_conf(group: GroupId, set: &ReplicaSet, nodes: &[(Place, &Node<ModelStore>)]) -> Option<String> {
    let conf = leader_conf(group, nodes)?;
    let ids = |learner: bool| {
        set.replicas
            .iter()
            .filter(move |at| at.learner == learner)
            .map(|at| at.replica)
            .collect::<BTreeSet<ReplicaId>>()
    };
    let same = ids(false) == conf.voters.iter().copied().collect()
        && ids(true) == conf.learners.iter().copied().collect()
        && conf.voters_outgoing.is_empty();
    (!same).then(|| format!("its configuration is {conf:?}"))
}
