//! What changes do to a map, and that their bytes are read as they were written or not at all.

mod golden;
mod property;
mod wire;

use std::collections::BTreeMap;

use crate::{
    cluster::{
        initial::{ClusterSpec, initial_map},
        map::{ClusterMap, FeatureLevels, Member, MemberState, SharedSettings},
    },
    partitioning::SlotHash,
    types::{ClusterUid, Incarnation, NodeId},
};

/// Lives are small numbers in tests; a node's first one is 1.
fn life(node: u64, number: u64) -> Incarnation {
    Incarnation(u128::from(node) << 64 | u128::from(number))
}

fn member(node: u64, number: u64) -> Member {
    Member {
        incarnation: life(node, number),
        address: format!("n{node}:7000"),
        host: String::new(),
        zone: String::new(),
        state: MemberState::Up,
        levels: FeatureLevels { min: 1, max: 2 },
        client_address: String::new(),
    }
}

fn cluster(nodes: u64, num_shards: u32, replication_factor: u32) -> ClusterMap {
    let settings = SharedSettings::default();
    let spec = ClusterSpec { num_shards, slot_hash: SlotHash::Crc16, replication_factor, settings };
    let members: BTreeMap<_, _> = (1..=nodes).map(|node| (NodeId(node), member(node, 1))).collect();
    let map = initial_map(ClusterUid(1), &spec, members).expect("a map");
    ClusterMap { feature_level: 1, ..map }
}
