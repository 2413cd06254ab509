//! Shards that lost their majority for good return empty.
//!
//! A shard is given up only if those of its voters that may live can never decide anything again: each life that is
//! missing is over, for its node is back in another one, or is named as dead by who proposes this. That the map has a
//! node down proves nothing: it may have been silent, and beyond a cut it goes on with others that have not heard of it.
//! The new generation has new replicas and a new number, so that nothing of the old one is heard any more; the nodes
//! that still have a replica of that destroy it (PROTOCOL 11).

use std::collections::BTreeSet;

use super::{
    Life, Refused, ShardReset,
    done::{Done, refuse},
};
use crate::{
    cluster::map::{ClusterMap, MemberState, Migration, Phase, ReplicaAt, ReplicaSet},
    machine::MAX_GENERATION,
    types::{GroupId, NodeId},
};

/// All of them, or none.
pub(super) fn reset(map: &mut ClusterMap, shards: &[ShardReset], dead: &[Life]) -> Result<Done, Refused> {
    if let Some((node, _)) = dead.iter().find(|(node, _)| !map.members.contains_key(node)) {
        return refuse(format!("node {node} is no member"));
    }
    if shards.is_empty() {
        return refuse("no shard is named");
    }
    let is_over = |(node, life): &Life| map.incarnation_of(*node) != Some(*life);
    if shards.iter().all(|shard| is_done(map, shard)) && dead.iter().all(is_over) {
        return Ok(Done::Already);
    }
    let mut groups = BTreeSet::new();
    for shard in shards {
        if !groups.insert(shard.group) {
            return refuse(format!("{} is named twice", shard.group));
        }
        check(map, shard, dead)?;
    }
    dead.iter().for_each(|life| condemn(map, *life));
    shards.iter().for_each(|shard| begin_anew(map, shard));
    Ok(Done::Changed)
}

/// Whether this very change was made before.
fn is_done(map: &ClusterMap, reset: &ShardReset) -> bool {
    map.groups.get(&reset.group).is_some_and(|set| {
        let nodes = set.founders.iter().map(|at| at.node);
        reset.generation.checked_add(1) == Some(set.generation) && nodes.eq(reset.nodes.iter().copied())
    })
}

fn check(map: &ClusterMap, reset: &ShardReset, dead: &[Life]) -> Result<(), Refused> {
    let ShardReset { group, generation, nodes } = reset;
    check_lost(map, *group, dead)?;
    let Some(set) = map.groups.get(group) else { return refuse(format!("there is no {group}")) };
    if set.generation != *generation {
        return refuse(format!("{group} is in its generation {}, not {generation}", set.generation));
    }
    if *generation >= MAX_GENERATION {
        return refuse(format!("{group} has begun anew {} times; there are no versions left", generation - 1));
    }
    if nodes.is_empty() || nodes.iter().collect::<BTreeSet<_>>().len() < nodes.len() {
        return refuse(format!("{group}: it begins anew on different nodes, on one at least"));
    }
    match nodes.iter().find(|node| !takes_replicas(map, **node, dead)) {
        Some(node) => refuse(format!("{group}: node {node} takes no replica")),
        None => Ok(()),
    }
}

fn takes_replicas(map: &ClusterMap, node: NodeId, dead: &[Life]) -> bool {
    map.members.get(&node).is_some_and(|member| match member.state {
        MemberState::Joining | MemberState::Up => !dead.contains(&(node, member.incarnation)),
        MemberState::Draining | MemberState::Down | MemberState::Removed => false,
    })
}

/// Whether a shard lost its majority for good, if these lives are dead.
///
/// # Errors
/// It is no shard, or those of its voters that may live are a majority, or may be one.
pub fn check_lost(map: &ClusterMap, group: GroupId, dead: &[Life]) -> Result<(), Refused> {
    if group == GroupId::META {
        return refuse("the meta group can't be reset: it would have to agree to that");
    }
    let Some(set) = map.groups.get(&group) else { return refuse(format!("there is no {group}")) };
    let lives = |at: &&ReplicaAt| !is_over(map, at, dead);
    for voters in deciding(map, group, set) {
        let living: Vec<String> = voters.iter().filter(lives).map(|at| at.node.to_string()).collect();
        if living.len() > voters.len() / 2 {
            let (count, all, nodes) = (living.len(), voters.len(), living.join(", "));
            return refuse(format!("{group} is not lost: {count} of its {all} voters may live, on node {nodes}"));
        }
    }
    Ok(())
}

/// Whether a replica's life is certainly over.
fn is_over(map: &ClusterMap, at: &ReplicaAt, dead: &[Life]) -> bool {
    let is_back = || map.members.get(&at.node).is_none_or(|member| member.incarnation != at.incarnation);
    dead.contains(&(at.node, at.incarnation)) || is_back()
}

/// The sets of voters one of which decides: the group may swap before the map hears of it. A joint configuration needs
/// both; whether the group is still in one the map can't know, so it counts as left. Who is stuck in one has to end
/// another of its voters.
fn deciding(map: &ClusterMap, group: GroupId, set: &ReplicaSet) -> Vec<Vec<ReplicaAt>> {
    let now = || set.voters().copied().collect();
    match map.migration_of(group) {
        None => vec![now()],
        Some(migration) => match migration.phase {
            Phase::AddLearner | Phase::CatchUp | Phase::Cleanup => vec![now()],
            Phase::JointSwap => vec![now(), swapped(set, migration)],
            Phase::LeaveJoint => vec![swapped(set, migration)],
        },
    }
}

/// The voters that a migration makes.
fn swapped(set: &ReplicaSet, migration: &Migration) -> Vec<ReplicaAt> {
    let comes = |at: &ReplicaAt| Some(at.replica) == migration.incoming && !migration.learner;
    let votes = |at: &ReplicaAt| Some(at.replica) != migration.outgoing && (!at.learner || comes(at));
    set.replicas.iter().copied().filter(votes).collect()
}

/// This life never votes again, should it come back after all.
fn condemn(map: &mut ClusterMap, (node, life): Life) {
    let Some(member) = map.members.get_mut(&node).filter(|member| member.incarnation == life) else { return };
    match member.state {
        MemberState::Joining | MemberState::Up | MemberState::Draining => member.state = MemberState::Down,
        MemberState::Down | MemberState::Removed => {}
    }
}

fn begin_anew(map: &mut ClusterMap, reset: &ShardReset) {
    let ShardReset { group, nodes, .. } = reset;
    let mut founders = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(member) = map.members.get(node) else { continue };
        let replica = map.next_replica;
        founders.push(ReplicaAt { replica, node: *node, incarnation: member.incarnation, learner: false });
        map.next_replica.0 += 1;
    }
    map.migrations.retain(|_, migration| migration.group != *group);
    if let Some(set) = map.groups.get_mut(group) {
        set.generation += 1;
        set.conf_version = 0;
        set.replicas = founders.clone();
        set.founders = founders;
    }
}
