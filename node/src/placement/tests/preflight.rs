//! What `preflight_drain` and `preflight_reset` foretell and refuse.

use super::world::World;
use crate::{
    cluster::{command::Life, map::MemberState},
    placement::{DrainRefusal, ResetRefusal, preflight_drain, preflight_reset},
    types::{GroupId, NodeId},
};

fn world() -> World {
    World::new(&["", "", "", ""], 8, 3)
}

#[test]
fn a_drain_is_foretold() {
    let world = world();
    let forecast = preflight_drain(&world.map, &world.health(), &[NodeId(4)]).expect("a forecast");
    assert_eq!(forecast.moves.len(), 6, "{forecast:?}");
    assert_eq!(forecast.bytes, 600);
    for moved in &forecast.moves {
        let set = &world.map.groups[&moved.group];
        assert_eq!(set.get(moved.from).map(|at| at.node), Some(NodeId(4)));
        assert!(set.on(moved.to).is_none(), "node {} has one already", moved.to);
    }
}

#[test]
fn too_few_nodes_are_refused() {
    let mut world = world();
    let refused = |world: &World, nodes: &[u64]| {
        let nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        preflight_drain(&world.map, &world.health(), &nodes).err()
    };
    assert_eq!(refused(&world, &[3, 4]), Some(DrainRefusal::TooFewNodes { left: 2, replication_factor: 3 }));
    assert_eq!(refused(&world, &[9]), Some(DrainRefusal::NotAMember { node: NodeId(9) }));
    assert_eq!(refused(&world, &[4]), None);
    world.set_state(NodeId(3), MemberState::Draining);
    assert_eq!(
        refused(&world, &[4]),
        Some(DrainRefusal::TooFewNodes { left: 2, replication_factor: 3 }),
        "a drain under way counts"
    );
    world.set_state(NodeId(3), MemberState::Up);
    world.silent_ms.insert(NodeId(1), 6_000);
    assert_eq!(
        refused(&world, &[4]),
        Some(DrainRefusal::TooFewNodes { left: 2, replication_factor: 3 }),
        "a silent node takes nothing"
    );
}

#[test]
fn too_little_memory_is_refused() {
    let mut world = world();
    (1..=3).for_each(|node| _ = world.limits.insert(NodeId(node), 1_000));
    let refusal = preflight_drain(&world.map, &world.health(), &[NodeId(4)]);
    assert_eq!(
        refusal,
        Ok(preflight_drain(&world.map, &world.health(), &[NodeId(4)]).expect("it fits: 600 and 200"))
    );
    (1..=3).for_each(|node| _ = world.limits.insert(NodeId(node), 800));
    let refusal = preflight_drain(&world.map, &world.health(), &[NodeId(4)]);
    assert_eq!(refusal, Err(DrainRefusal::NotEnoughMemory { need: 600, free: 360 }));
}

#[test]
fn a_lost_shard_begins_anew_in_different_zones() {
    let mut world = World::new(&["a", "a", "b", "b", "c", "c"], 1, 3);
    let group = GroupId::of_shard(0);
    let dead: Vec<Life> = world.map.groups[&group].voters().take(2).map(|at| (at.node, at.incarnation)).collect();
    let (node, life) = dead[0];
    let resets = preflight_reset(&world.map, &world.health(), &[group], &dead);
    assert_eq!(resets, Err(ResetRefusal::Lives { node, life }));
    dead.iter().for_each(|(node, _)| _ = world.silent_ms.insert(*node, 60_000));
    let resets = preflight_reset(&world.map, &world.health(), &[group], &dead).expect("it is lost");
    let nodes: Vec<u64> = resets[0].nodes.iter().map(|node| node.0).collect();
    assert_eq!((resets.len(), resets[0].generation, nodes), (1, 1, vec![1, 4, 6]));
}
