//! Even replicas, spread leaders, distinct nodes and zones, ids given out once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{ClusterSpec, SpecError, initial_map};
use crate::{
    cluster::map::{
        ClusterMap, FeatureLevels, MAX_META_VOTERS, Member, MemberState, SUPPORTED_LEVELS, SharedSettings,
    },
    partitioning::SlotHash,
    types::{ClusterUid, GroupId, Incarnation, NodeId},
};

fn member(node: u64, zone: &str) -> Member {
    Member {
        incarnation: Incarnation(u128::from(node)),
        address: format!("n{node}:1"),
        host: String::new(),
        zone: zone.into(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: String::new(),
    }
}

fn spec(num_shards: u32, replication_factor: u32) -> ClusterSpec {
    let settings = SharedSettings::default();
    ClusterSpec { num_shards, slot_hash: SlotHash::Crc16, replication_factor, settings }
}

fn plain(nodes: u64) -> BTreeMap<NodeId, Member> {
    (1..=nodes).map(|node| (NodeId(node), member(node, ""))).collect()
}

fn draw(map: &ClusterMap) -> String {
    let line = |(group, set): (&GroupId, &crate::cluster::map::ReplicaSet)| {
        let at = set
            .replicas
            .iter()
            .map(|at| format!(" {}@{}{}", at.replica, at.node, if at.learner { "(learner)" } else { "" }));
        format!("{group}:{}\n", at.collect::<String>())
    };
    map.groups.iter().map(line).collect()
}

#[test]
fn three_nodes_four_shards() {
    let map = initial_map(ClusterUid(1), &spec(4, 2), plain(3)).expect("a map");
    let expect = "meta group: 1@1 2@2 3@3\n\
                  shard 0: 4@2 5@3\n\
                  shard 1: 6@3 7@1\n\
                  shard 2: 8@1 9@2\n\
                  shard 3: 10@2 11@3\n";
    assert_eq!(draw(&map), expect);
    assert_eq!(map.next_replica.0, 12);
}

#[test]
fn the_meta_group_has_five_voters_and_a_copy_everywhere() {
    let map = initial_map(ClusterUid(1), &spec(1, 3), plain(7)).expect("a map");
    let meta = &map.groups[&GroupId::META];
    assert_eq!(meta.voters().count(), MAX_META_VOTERS);
    assert_eq!(meta.replicas.iter().map(|at| at.node).collect::<BTreeSet<_>>().len(), 7);
}

#[test]
fn a_set_has_its_replicas_in_different_zones() {
    let zones = ["a", "a", "b", "b", "c", "c"];
    let members: BTreeMap<_, _> =
        zones.iter().zip(1..).map(|(zone, node)| (NodeId(node), member(node, zone))).collect();
    let map = initial_map(ClusterUid(1), &spec(12, 3), members.clone()).expect("a map");
    for (group, set) in map.groups.iter().filter(|(group, _)| group.shard().is_some()) {
        let zones: BTreeSet<_> = set.replicas.iter().map(|at| &members[&at.node].zone).collect();
        assert_eq!(zones.len(), 3, "{group}");
    }
}

#[test]
fn impossible_specs_are_refused_with_field_and_value() {
    let refused = |spec: &ClusterSpec, nodes| {
        initial_map(ClusterUid(1), spec, plain(nodes)).expect_err("impossible").to_string()
    };
    assert_eq!(refused(&spec(0, 1), 1), "num_shards is 0; it must be between 1 and 16384");
    assert_eq!(refused(&spec(16_385, 1), 1), "num_shards is 16385; it must be between 1 and 16384");
    assert_eq!(refused(&spec(1, 3), 2), "replication_factor is 3; with 2 members it must be between 1 and 2");
    assert_eq!(refused(&spec(1, 0), 2), "replication_factor is 0; with 2 members it must be between 1 and 2");
    assert!(spec(1, 2).advice().is_some() && spec(1, 3).advice().is_none());
}

#[test]
fn members_need_a_common_feature_level() {
    let mut members = plain(2);
    members.get_mut(&NodeId(2)).expect("a member").levels = FeatureLevels { min: 2, max: 3 };
    let refused = initial_map(ClusterUid(1), &spec(1, 1), members);
    assert_eq!(refused, Err(SpecError::FeatureLevels { node: NodeId(2), min: 2, max: 3, level: 1 }));
}

fn spans_at_most_one(counts: impl Iterator<Item = usize>) -> bool {
    let counts: Vec<_> = counts.collect();
    counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1
}

proptest! {
    /// Any cluster: the map is valid, sets have distinct nodes, replicas and leaders differ by at most one.
    #[test]
    fn replicas_and_leaders_are_even(nodes in 1_u64..9, shards in 1_u32..70, factor in 1_u32..6) {
        let factor = factor.min(u32::try_from(nodes).expect("small"));
        let map = initial_map(ClusterUid(1), &spec(shards, factor), plain(nodes)).expect("a map");
        prop_assert_eq!(ClusterMap::try_from(crema_api::v1::ClusterMap::from(&map)), Ok(map.clone()));
        let sets: Vec<_> = map.groups.iter().filter(|(group, _)| group.shard().is_some()).map(|g| g.1).collect();
        for set in &sets {
            let places: BTreeSet<_> = set.replicas.iter().map(|at| at.node).collect();
            prop_assert_eq!(places.len(), factor as usize);
        }
        let on = |node| sets.iter().filter(|set| set.on(node).is_some()).count();
        prop_assert!(spans_at_most_one(map.members.keys().map(|node| on(*node))) || factor > 1);
        let led = |node| sets.iter().filter(|set| set.replicas[0].node == node).count();
        prop_assert!(spans_at_most_one(map.members.keys().map(|node| led(*node))));
    }
}
