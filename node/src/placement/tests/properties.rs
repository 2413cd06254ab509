//! What holds for every plan, over random clusters and faults. A failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    checker::{check_plan, check_quorums, check_settled, fewest_moves, loads, usable},
    world::World,
};
use crate::{
    cluster::{
        command::{Incoming, MetaCommand, following},
        map::{MemberState, Phase, Reason},
    },
    placement::{Health, needing, plan},
    types::{Draw, GroupId, NodeId},
};

/// How many clusters each property tries; `PLACEMENT_SEEDS` asks for more.
const SEEDS: u64 = 40;
/// Rounds of nothing to do that mean the end: longer than a silent node takes to be declared down.
const QUIET_ROUNDS: usize = 70;
const ZONES: [&str; 3] = ["a", "b", "c"];

fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("PLACEMENT_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    0..asked.unwrap_or(SEEDS)
}

/// One round, every step of it judged. Whether anything was done or is under way.
pub(super) fn round(world: &mut World) -> Result<bool, String> {
    let health = world.health();
    let plan_now = plan(&world.map, &health);
    if plan(&world.map.clone(), &health.clone()) != plan_now {
        return Err("two plans for one map".to_owned());
    }
    check_plan(world, &health, &plan_now)?;
    plan_now.actions.iter().for_each(|action| world.apply(action));
    check_quorums(world)?;
    world.round();
    check_quorums(world)?;
    Ok(!plan_now.actions.is_empty() || !world.map.migrations.is_empty())
}

/// Goes on until nothing is left to do.
pub(super) fn converge(world: &mut World) -> Result<(), String> {
    let replicas: usize = world.map.groups.values().map(|set| set.replicas.len()).sum();
    let bound = 400 + replicas * 12;
    let mut quiet = 0;
    for _ in 0..bound {
        quiet = if round(world)? { 0 } else { quiet + 1 };
        if quiet == QUIET_ROUNDS {
            return check_settled(world);
        }
    }
    let health = world.health();
    Err(format!("not settled after {bound} rounds: {:?}", plan(&world.map, &health)))
}

fn random_world(draw: &mut Draw, zoned: bool) -> World {
    let zones = if zoned { 1 + draw.below(3) } else { 0 };
    let nodes = 1 + draw.below(7);
    let names: Vec<&str> = (0..nodes).map(|_| zone(draw, zones)).collect();
    let factor = 1 + draw.below(nodes.min(5));
    let mut world = World::new(&names, 1 + draw.below(64) as u32, factor as u32);
    world.map.settings.migration_concurrency = 1 + draw.below(6) as u32;
    world
}

fn zone(draw: &mut Draw, zones: u64) -> &'static str {
    if zones == 0 { "" } else { ZONES[draw.below(zones) as usize] }
}

/// A node whose loss leaves every group its majority, also in the configuration that a group is just entering.
fn spare(world: &World, draw: &mut Draw) -> Option<NodeId> {
    let entering = |node: &NodeId| {
        let about = world.map.migrations.values().filter(|migration| migration.phase == Phase::JointSwap);
        about.filter_map(|one| world.map.node_of(one.group, one.incoming?)).any(|incoming| incoming == *node)
    };
    let kept = |node: &NodeId| world.map.groups.keys().all(|group| world.has_quorum(*group, Some(*node)));
    let fine = |node: &NodeId| kept(node) && !entering(node);
    let all: Vec<NodeId> = usable(world).into_iter().filter(fine).collect();
    all.get(draw.below(all.len() as u64) as usize).copied()
}

/// A join, a death, an empty restart, a drain or its end.
fn event(world: &mut World, draw: &mut Draw, zones: u64) {
    match draw.below(5) {
        0 | 1 => {
            let node = NodeId(1 + draw.below(9));
            let gone = |state| matches!(state, MemberState::Removed);
            if world.map.members.get(&node).is_none_or(|member| gone(member.state)) {
                world.join(node, zone(draw, zones));
            }
        }
        2 => {
            if let Some(node) = spare(world, draw) {
                world.kill(node);
            }
        }
        3 => {
            if let Some(node) = spare(world, draw) {
                let zone = world.map.members[&node].zone.clone();
                world.join(node, &zone);
            }
        }
        _ => {
            let node = NodeId(1 + draw.below(9));
            match world.map.members.get(&node).map(|member| member.state) {
                Some(MemberState::Up) => world.set_state(node, MemberState::Draining),
                Some(MemberState::Draining) if world.map.replicas_on(node).next().is_none() => {
                    world.set_state(node, MemberState::Removed);
                }
                Some(MemberState::Draining) => world.set_state(node, MemberState::Up),
                _ => {}
            }
        }
    }
}

#[test]
fn random_clusters_settle_and_never_lose_a_quorum() {
    for seed in seeds() {
        let mut draw = Draw::new(seed);
        let zoned = draw.below(2) == 0;
        let mut world = random_world(&mut draw, zoned);
        for _ in 0..draw.below(6) {
            event(&mut world, &mut draw, if zoned { 3 } else { 0 });
            for _ in 0..draw.below(30) {
                round(&mut world).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            }
        }
        // A drain that can't end is taken back, so that the end is one state for all.
        let draining = |world: &World| {
            let mut members = world.map.members.iter();
            members.find(|(_, member)| member.state == MemberState::Draining).map(|(node, _)| *node)
        };
        while let Some(node) =
            draining(&world).filter(|_| usable(&world).len() < world.map.replication_factor as usize)
        {
            world.set_state(node, MemberState::Up);
        }
        converge(&mut world).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn growing_and_shrinking_move_as_little_as_possible() {
    for seed in seeds() {
        let mut draw = Draw::new(seed);
        let mut world = random_world(&mut draw, false);
        let fail = |why: String| -> ! { panic!("seed {seed}: {why}") };
        converge(&mut world).unwrap_or_else(|why| fail(why));
        let (before, nodes) = (loads(&world), usable(&world));
        (0..draw.below(4)).for_each(|at| world.join(NodeId(20 + at), ""));
        let stay_at_least = world.map.replication_factor as usize;
        let total = world.map.members.len();
        for node in nodes.iter().take(draw.below(3) as usize).take(total.saturating_sub(stay_at_least)) {
            world.set_state(*node, MemberState::Draining);
        }
        world.begun.clear();
        converge(&mut world).unwrap_or_else(|why| fail(why));
        let stay: BTreeSet<NodeId> = usable(&world).into_iter().collect();
        let fewest = fewest_moves(&before, &stay);
        let moves = ["drain", "balance", "repair"].map(|reason| world.begun.get(reason).copied().unwrap_or(0));
        let moved: usize = moves.iter().sum();
        assert!(moved >= fewest, "seed {seed}: the bound is wrong, or nothing was drained: {moves:?}, {fewest}");
        assert!(moved * 10 <= fewest * 11, "seed {seed}: {moves:?} moves where {fewest} would do, {before:?}");
        assert_level(&loads(&world), seed);
    }
}

fn assert_level(loads: &BTreeMap<NodeId, usize>, seed: u64) {
    let (least, most) = (loads.values().min(), loads.values().max());
    let level = least.zip(most).is_none_or(|(least, most)| most - least <= 1);
    assert!(level, "seed {seed}: {loads:?}");
}

#[test]
fn three_to_five_nodes() {
    let mut world = World::new(&["", "", ""], 16, 3);
    world.join(NodeId(4), "");
    world.join(NodeId(5), "");
    converge(&mut world).expect("it settles");
    assert_eq!(world.begun.get("balance"), Some(&18), "48 replicas: 10, 10, 10, 9, 9");
    assert_level(&loads(&world), 0);
}

#[test]
fn a_short_silence_moves_nothing() {
    let mut world = World::new(&["a", "b", "c", "a", "b"], 32, 3);
    converge(&mut world).expect("it settles");
    let before = world.map.groups.clone();
    world.begun.clear();
    let life = world.running[&NodeId(2)];
    world.kill(NodeId(2));
    for _ in 0..50 {
        round(&mut world).expect("a sound plan");
    }
    world.running.insert(NodeId(2), life);
    converge(&mut world).expect("it settles");
    assert_eq!(world.begun, BTreeMap::new());
    assert_eq!(world.map.groups, before);
}

#[test]
fn an_empty_restart_rebuilds_in_place() {
    let mut world = World::new(&["", "", "", "", ""], 20, 3);
    converge(&mut world).expect("it settles");
    let (before, lost) = (loads(&world), loads(&world)[&NodeId(2)]);
    world.begun.clear();
    world.kill(NodeId(2));
    (0..10).for_each(|_| _ = round(&mut world).expect("a sound plan"));
    world.join(NodeId(2), "");
    converge(&mut world).expect("it settles");
    assert_eq!(world.begun, BTreeMap::from([("meta", 1), ("repair", lost)]));
    assert_eq!(loads(&world), before);
}

#[test]
fn a_pause_begins_nothing() {
    let mut world = World::new(&["", "", "", ""], 16, 3);
    world.map.settings.migrations_paused = true;
    world.set_state(NodeId(4), MemberState::Draining);
    for _ in 0..20 {
        round(&mut world).expect("a sound plan");
    }
    assert_eq!(world.begun, BTreeMap::new());
    world.map.settings.migrations_paused = false;
    converge(&mut world).expect("it settles");
    assert_eq!(world.map.members[&NodeId(4)].state, MemberState::Draining);
    assert_eq!(world.map.replicas_on(NodeId(4)).count(), 0);
    assert_eq!(world.begun.get("drain"), Some(&12));
}

#[test]
fn a_migration_to_a_node_that_dies_is_taken_back() {
    let mut world = World::new(&["", "", ""], 4, 3);
    world.join(NodeId(4), "");
    while world.map.migrations.values().all(|migration| migration.group == crate::types::GroupId::META) {
        round(&mut world).expect("a sound plan");
    }
    world.kill(NodeId(4));
    converge(&mut world).expect("it settles");
    assert_eq!(world.map.members[&NodeId(4)].state, MemberState::Down);
    assert_level(&loads(&world), 0);
}

/// The group's leader swaps as soon as it has the map that lets it. One whose last report is from before, or that
/// can't report, may need the newcomer's vote already: with the newcomer declared down its group would be lost.
#[test]
fn who_comes_is_needed_as_soon_as_its_group_may_swap() {
    for reports in [false, true] {
        let mut world = World::new(&[""; 9], 1, 3);
        let group = GroupId::of_shard(0);
        let old = world.map.groups[&group].replicas.clone();
        let is_free = |node: &NodeId| old.iter().all(|at| at.node != *node);
        // One that does not vote in the meta group.
        let newcomer = (6..=9).map(NodeId).find(is_free).expect("four nodes for three replicas");
        world.apply(&MetaCommand::StartMigration {
            group,
            incoming: Incoming::New(newcomer),
            outgoing: Some(old[2].replica),
            learner: false,
            reason: Reason::Asked,
        });
        let needs = |world: &World, silent: &[NodeId]| {
            let mut health = world.health();
            if !reports {
                health.groups.remove(&group);
            }
            for node in silent {
                health.nodes.get_mut(node).expect("a member").silent_ms = 60_000;
            }
            needing(&world.map, &health, newcomer)
        };
        while let Some(migration) = world.map.migration_of(group).copied() {
            let phase = migration.phase;
            assert_eq!(needs(&world, &[newcomer]), None, "{phase:?}: the old voters are there");
            // Of the two that stay, one does not answer.
            let needed = (phase >= Phase::JointSwap).then_some(group);
            assert_eq!(needs(&world, &[newcomer, old[0].node]), needed, "{phase:?}");
            let (from, to) = (phase, following(&world.map, &migration));
            world.apply(&MetaCommand::AdvanceMigration { migration: migration.id, from, to, conf_version: 0 });
        }
    }
}

/// Nodes on one host never hold two replicas of a shard while other hosts have room.
#[test]
fn hosts_are_kept_apart() {
    let mut world = World::new(&["", "", ""], 12, 3);
    for (node, host) in [(4, "host-1"), (5, "host-2"), (6, "host-3")] {
        world.join(NodeId(node), "");
        world.map.members.get_mut(&NodeId(node)).expect("a member").host = host.to_owned();
    }
    converge(&mut world).expect("it settles");
    assert_level(&loads(&world), 0);
    for (group, set) in world.map.groups.iter().filter(|(group, _)| **group != crate::types::GroupId::META) {
        let hosts: BTreeSet<&str> = set.voters().map(|at| world.map.members[&at.node].host.as_str()).collect();
        assert_eq!(hosts.len(), 3, "{group}: {set:?}");
    }
}

#[test]
fn a_leader_that_was_asked_for_is_left_alone() {
    let mut world = World::new(&["", "", "", ""], 24, 3);
    converge(&mut world).expect("it settles");
    let group = GroupId::of_shard(0);
    let replica = world.map.groups[&group].replicas[1].replica;
    world.apply(&MetaCommand::Prefer { group, replica });
    let mut health = world.health();
    let moved = |health: &Health| {
        let actions = plan(&world.map, health).actions;
        let moved = |action: &MetaCommand| match action {
            MetaCommand::Prefer { group, .. } => Some(*group),
            _ => None,
        };
        actions.iter().filter_map(moved).collect::<Vec<_>>()
    };
    assert!(moved(&health).contains(&group), "nothing to level: the test shows nothing");
    health.asked.insert(group);
    let others = moved(&health);
    assert!(!others.is_empty() && !others.contains(&group), "{others:?}");
    // The node that it was taken from gets no other for it.
    let from = world.map.groups[&group].replicas[1].node;
    health.relieved.insert(from);
    assert_eq!(moved(&health), []);
}
