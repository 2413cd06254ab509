//! What keeps a cluster from being healthy, in plain words (pure).
//!
//! Asked by Admin's `WaitHealthy` on the meta leader. Nothing is wrong when every member takes part, every group has
//! the voters that it should have, all of them level with a leader that reports, and nothing is being moved.

use crate::{
    cluster::{
        ClusterMap,
        map::{MemberState, ReplicaSet},
    },
    multiraft::introspect::Governing,
    placement::{self, GroupHealth},
    types::GroupId,
};

/// A replica that is so many entries behind its leader is not level.
const LEVEL_ENTRIES: u64 = 1_000;

/// Everything that ails the cluster; nothing when it is healthy.
#[must_use]
pub fn ailments(map: &ClusterMap, governing: &Governing) -> Vec<String> {
    let mut found = Vec::new();
    members(map, governing, &mut found);
    for (group, set) in &map.groups {
        match governing.health.groups.get(group) {
            None => found.push(format!("{group}: no leader has reported")),
            Some(health) => found.extend(group_ailment(map, *group, set, health)),
        }
        for at in &set.replicas {
            let defect = governing.health.unfit.get(&at.replica);
            found.extend(defect.map(|defect| format!("{group}: the replica on node {} {}", at.node, defect.name())));
        }
    }
    for migration in map.migrations.values() {
        let (id, group, phase) = (migration.id, migration.group, migration.phase.name());
        found.push(format!("migration {id} of {group} is in its phase {phase}"));
    }
    let planned = placement::plan(map, &governing.health).actions.len();
    if planned > 0 && !map.settings.migrations_paused {
        found.push(format!("the planner has {planned} more to do"));
    }
    found
}

fn members(map: &ClusterMap, governing: &Governing, found: &mut Vec<String>) {
    for (node, member) in &map.members {
        let heard = governing.health.nodes.get(node).map(|heard| heard.silent_ms);
        match (member.state, heard) {
            (MemberState::Removed | MemberState::Down, _) => {}
            (MemberState::Joining, _) => found.push(format!("node {node} is joining")),
            (MemberState::Up | MemberState::Draining, None) => {
                found.push(format!("node {node} has not reported yet"));
            }
            (MemberState::Up | MemberState::Draining, Some(ms)) if ms > 0 => {
                found.push(format!("node {node} is not connected, and was last heard of {ms} ms ago"));
            }
            (MemberState::Draining, Some(_)) if map.replicas_on(*node).next().is_some() => {
                found.push(format!("node {node} is being drained"));
            }
            (MemberState::Up | MemberState::Draining, Some(_)) => {}
        }
    }
}

/// The first thing that is wrong with a group.
fn group_ailment(map: &ClusterMap, group: GroupId, set: &ReplicaSet, health: &GroupHealth) -> Option<String> {
    let voters = set.voters().filter(|at| map.is_alive(at)).count();
    let wanted = map.replication_factor as usize;
    if group.shard().is_some() && voters < wanted {
        return Some(format!("{group} has {voters} of {wanted} voters"));
    }
    if let Some(dead) = set.replicas.iter().find(|at| !map.is_alive(at)) {
        return Some(format!("{group} still lists a replica of an earlier life of node {}", dead.node));
    }
    if !health.conf.voters_outgoing.is_empty() {
        return Some(format!("{group} is in a joint configuration"));
    }
    let mut mapped: Vec<_> = set.voters().map(|at| at.replica).collect();
    let mut voting = health.conf.voters.clone();
    mapped.sort_unstable();
    voting.sort_unstable();
    if mapped != voting {
        return Some(format!("{group} has other voters than the map says"));
    }
    let others = set.replicas.iter().filter(|at| at.replica != health.leader);
    others.into_iter().find_map(|at| {
        let behind =
            health.peers.get(&at.replica).map(|peer| (peer.snapshot, health.last - peer.matched.min(health.last)));
        match behind {
            None => Some(format!("{group}: its leader says nothing of the replica on node {}", at.node)),
            Some((true, _)) => Some(format!("{group}: node {} waits for a snapshot", at.node)),
            Some((false, lag)) if lag > LEVEL_ENTRIES => {
                Some(format!("{group}: node {} is {lag} entries behind", at.node))
            }
            Some((false, _)) => None,
        }
    })
}
