//! Judges plans and their results. It shares no code with the planner: what both got wrong would go unseen.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::{
    cluster::{
        command::{Incoming, MetaCommand},
        map::{MemberState, Reason},
    },
    placement::{Health, Plan},
    types::{GroupId, NodeId},
};

/// A node that was not heard of for so long gets nothing.
const STALE_MS: u64 = 5_000;

/// Whether a plan may be carried out in this world.
pub(super) fn check_plan(world: &World, health: &Health, plan: &Plan) -> Result<(), String> {
    if plan.actions.len() > 8 {
        return Err(format!("{} actions in one plan", plan.actions.len()));
    }
    if plan.waiting_on.len() > 21 {
        return Err(format!("{} lines of reasons", plan.waiting_on.len()));
    }
    let mut busy: BTreeSet<GroupId> = world.map.migrations.values().map(|migration| migration.group).collect();
    for action in &plan.actions {
        check_action(world, health, action, &mut busy).map_err(|why| format!("{action:?}: {why}"))?;
    }
    Ok(())
}

fn check_action(
    world: &World,
    health: &Health,
    action: &MetaCommand,
    busy: &mut BTreeSet<GroupId>,
) -> Result<(), String> {
    let map = &world.map;
    match action {
        MetaCommand::StartMigration { group, incoming, outgoing, reason, .. } => {
            let set = map.groups.get(group).ok_or("no such group")?;
            let bound = map.settings.migration_concurrency as usize;
            let allowed = if matches!(reason, Reason::Repair | Reason::Meta) { bound * 2 } else { bound };
            let outgoing =
                outgoing.map(|id| set.replicas.iter().find(|at| at.replica == id).ok_or("no such replica"));
            let outgoing = outgoing.transpose()?;
            if !busy.insert(*group) {
                return Err("the group has a migration".to_owned());
            }
            if busy.len() > allowed {
                return Err(format!("{} migrations at once", busy.len()));
            }
            if map.settings.migrations_paused {
                return Err("migrations are paused".to_owned());
            }
            if !health.groups.contains_key(group) {
                return Err("no leader reports".to_owned());
            }
            match incoming {
                Incoming::None if outgoing.is_none() => Err("it changes nothing".to_owned()),
                Incoming::None => Ok(()),
                Incoming::New(node) => check_target(world, health, *group, *node),
                Incoming::Promote(id) => {
                    let learner = set.replicas.iter().find(|at| at.replica == *id && at.learner);
                    learner.map(|_| ()).ok_or_else(|| "it promotes no learner".to_owned())
                }
            }
        }
        MetaCommand::SetState { node, state: MemberState::Down, .. } => {
            let broken = map.groups.keys().find(|group| !world.has_quorum(**group, Some(*node)));
            broken.map_or(Ok(()), |group| Err(format!("{group} loses its majority")))
        }
        MetaCommand::Prefer { group, replica } => {
            let set = map.groups.get(group).ok_or("no such group")?;
            let voter = set.replicas.iter().find(|at| at.replica == *replica && !at.learner);
            let member = |node| &map.members[&node];
            let heard = |node| health.nodes[&node].silent_ms < STALE_MS;
            match voter {
                Some(at) if member(at.node).incarnation != at.incarnation => {
                    Err("the preferred one is dead".to_owned())
                }
                Some(at) if member(at.node).state == MemberState::Up && heard(at.node) => Ok(()),
                _ => Err("the preferred one can't lead".to_owned()),
            }
        }
        MetaCommand::CancelMigration(id) if map.migrations.contains_key(id) => Ok(()),
        _ => Err("no command of a planner".to_owned()),
    }
}

fn check_target(world: &World, health: &Health, group: GroupId, node: NodeId) -> Result<(), String> {
    let member = world.map.members.get(&node).ok_or("the target is no member")?;
    if !matches!(member.state, MemberState::Up | MemberState::Joining) {
        return Err(format!("the target is {:?}", member.state));
    }
    let seen = health.nodes.get(&node).ok_or("nobody has heard of the target")?;
    if seen.silent_ms >= STALE_MS {
        return Err("the target is silent".to_owned());
    }
    let living = |set: &crate::cluster::map::ReplicaSet| {
        set.replicas.iter().any(|at| at.node == node && at.incarnation == member.incarnation)
    };
    if living(&world.map.groups[&group]) {
        return Err("the target has a replica already".to_owned());
    }
    if group != GroupId::META && !living(&world.map.groups[&GroupId::META]) {
        return Err("the target has no copy of the map".to_owned());
    }
    let bytes = health.groups[&group].bytes;
    match seen.limit_bytes {
        Some(limit) if group != GroupId::META && seen.used_bytes + bytes > limit / 100 * 90 => {
            Err("the target has no room".to_owned())
        }
        _ => Ok(()),
    }
}

/// Each group has a running majority in each half of its configuration.
pub(super) fn check_quorums(world: &World) -> Result<(), String> {
    let broken = world.map.groups.keys().find(|group| !world.has_quorum(**group, None));
    broken.map_or(Ok(()), |group| Err(format!("{group} has lost its majority: {:?}", world.confs[group])))
}

/// The nodes that have a place in the cluster at the end.
pub(super) fn usable(world: &World) -> Vec<NodeId> {
    let members = world.map.members.iter();
    let good = members.filter(|(node, member)| {
        member.state == MemberState::Up && world.running.get(node) == Some(&member.incarnation)
    });
    good.map(|(node, _)| *node).collect()
}

/// How many replicas of shards each node has.
pub(super) fn loads(world: &World) -> BTreeMap<NodeId, usize> {
    let mut loads: BTreeMap<NodeId, usize> = usable(world).into_iter().map(|node| (node, 0)).collect();
    for (_, set) in world.map.groups.iter().filter(|(group, _)| **group != GroupId::META) {
        for at in &set.replicas {
            *loads.entry(at.node).or_default() += 1;
        }
    }
    loads
}

/// What must hold once nothing more is done.
pub(super) fn check_settled(world: &World) -> Result<(), String> {
    let usable: BTreeSet<NodeId> = usable(world).into_iter().collect();
    let map = &world.map;
    let wanted = (map.replication_factor as usize).min(usable.len());
    let is_left = |node: &NodeId| map.replicas_on(*node).next().is_some();
    let drained = map.members.iter().any(|(node, member)| member.state == MemberState::Draining && is_left(node));
    if drained && usable.len() >= map.replication_factor as usize {
        return Err("a drain has not ended".to_owned());
    }
    for (group, set) in &map.groups {
        let conf: BTreeSet<_> = world.confs[group].voters.iter().copied().collect();
        if conf != set.voters().map(|at| at.replica).collect() {
            return Err(format!("{group}: map and configuration differ"));
        }
        if let Some(dead) = set.replicas.iter().find(|at| !world.runs(at)) {
            return Err(format!("{group} keeps a dead replica on node {}", dead.node));
        }
        let voters = set.voters().count();
        if *group == GroupId::META {
            check_meta(&usable, set.replicas.iter().map(|at| at.node).collect(), voters)?;
        } else if voters < wanted || voters > map.replication_factor as usize {
            return Err(format!("{group} has {voters} voters, not {wanted}"));
        } else if !drained {
            check_zones(world, *group, &usable)?;
        }
    }
    check_leaders(world, &usable)
}

fn check_meta(usable: &BTreeSet<NodeId>, on: BTreeSet<NodeId>, voters: usize) -> Result<(), String> {
    let most = usable.len().min(5);
    let odd = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    if !on.is_superset(usable) {
        return Err(format!("the meta group is on {on:?}, not on each of {usable:?}"));
    }
    // An even number is what formation or a node that left has made; it is never made by adding.
    if voters < odd || voters > 5 { Err(format!("the meta group has {voters} voters, not {odd}")) } else { Ok(()) }
}

/// The pairs of replicas in one zone are as few as the nodes allow.
fn check_zones(world: &World, group: GroupId, usable: &BTreeSet<NodeId>) -> Result<(), String> {
    let zone = |node: &NodeId| world.map.members[node].zone.clone();
    let mut room: BTreeMap<String, usize> = BTreeMap::new();
    let unzoned = usable.iter().filter(|node| zone(node).is_empty()).count();
    usable.iter().map(zone).filter(|zone| !zone.is_empty()).for_each(|zone| *room.entry(zone).or_default() += 1);
    let set = &world.map.groups[&group];
    let mut has: BTreeMap<String, usize> = BTreeMap::new();
    let zones = set.voters().map(|at| zone(&at.node)).filter(|zone| !zone.is_empty());
    zones.for_each(|zone| *has.entry(zone).or_default() += 1);
    let pairs =
        |counts: &BTreeMap<String, usize>| counts.values().map(|k| k * k.saturating_sub(1) / 2).sum::<usize>();
    let mut best: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..set.voters().count().saturating_sub(unzoned) {
        let open = room.iter().filter(|(zone, room)| best.get(*zone).copied().unwrap_or(0) < **room);
        let next = open.map(|(zone, _)| zone).min_by_key(|zone| best.get(*zone).copied().unwrap_or(0));
        *best.entry(next.ok_or("more replicas than nodes")?.clone()).or_default() += 1;
    }
    match pairs(&has) == pairs(&best) {
        true => Ok(()),
        false => Err(format!("{group} is spread as {has:?}, it could be {best:?}")),
    }
}

/// No choice of preferred leaders has a lower maximum, or a higher minimum.
fn check_leaders(world: &World, usable: &BTreeSet<NodeId>) -> Result<(), String> {
    let shards = || world.map.groups.iter().filter(|(group, _)| **group != GroupId::META).map(|(_, set)| set);
    let mut counts: BTreeMap<NodeId, usize> = usable.iter().map(|node| (*node, 0)).collect();
    for set in shards() {
        let first = set.replicas.first().ok_or("a shard without replicas")?;
        if first.learner {
            return Err("a learner is preferred".to_owned());
        }
        *counts.entry(first.node).or_default() += 1;
    }
    let choices: Vec<Vec<NodeId>> =
        shards().map(|set| set.voters().map(|at| at.node).filter(|node| usable.contains(node)).collect()).collect();
    let most = counts.values().copied().max().unwrap_or(0);
    if most > 0 && matches(&choices, most - 1) == choices.len() {
        return Err(format!("leaders are spread as {counts:?}; {} at most would do", most - 1));
    }
    let least = counts.values().copied().min().unwrap_or(0) + 1;
    if usable.len() > 1 && matches(&choices, least) == usable.len() * least {
        return Err(format!("leaders are spread as {counts:?}; {least} at least would do"));
    }
    Ok(())
}

/// How many shards can have a leader when each node leads at most so many (Kuhn's algorithm).
fn matches(choices: &[Vec<NodeId>], each: usize) -> usize {
    let mut led: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    (0..choices.len()).filter(|shard| seat(*shard, choices, each, &mut led, &mut BTreeSet::new())).count()
}

fn seat(
    shard: usize,
    choices: &[Vec<NodeId>],
    each: usize,
    led: &mut BTreeMap<NodeId, Vec<usize>>,
    seen: &mut BTreeSet<NodeId>,
) -> bool {
    for node in &choices[shard] {
        if !seen.insert(*node) {
            continue;
        }
        let sitting = led.entry(*node).or_default().clone();
        if sitting.len() < each {
            led.entry(*node).or_default().push(shard);
            return true;
        }
        for other in sitting {
            if seat(other, choices, each, led, seen) {
                let seats = led.entry(*node).or_default();
                seats.retain(|sits| *sits != other);
                seats.push(shard);
                return true;
            }
        }
    }
    false
}

/// The least moves that make loads differ by at most one on the nodes that stay, and 0 on the others.
pub(super) fn fewest_moves(loads: &BTreeMap<NodeId, usize>, stay: &BTreeSet<NodeId>) -> usize {
    let total: usize = loads.values().sum();
    let (each, extra) = (total / stay.len(), total % stay.len());
    let mut staying: Vec<usize> = stay.iter().map(|node| loads.get(node).copied().unwrap_or(0)).collect();
    staying.sort_unstable_by(|a, b| b.cmp(a));
    let leaving: usize = loads.iter().filter(|(node, _)| !stay.contains(node)).map(|(_, load)| *load).sum();
    let over = staying.iter().enumerate().map(|(at, load)| load.saturating_sub(each + usize::from(at < extra)));
    leaving + over.sum::<usize>()
}
