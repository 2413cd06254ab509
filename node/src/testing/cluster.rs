//! The cluster that a run begins with: its map, as forming would have made it.

use std::collections::BTreeMap;

use crate::{
    cluster::map::{
        ClusterMap, FIRST_FEATURE_LEVEL, Member, MemberState, ReplicaAt, ReplicaSet, SUPPORTED_LEVELS, SharedSettings,
    },
    machine::store::Capacity,
    partitioning::SlotHash,
    testing::{host::node_id, net::Place, plan::Plan},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, ReplicaId},
};

/// The meta group has at most so many voters.
const META_VOTERS: usize = 5;

/// A life of the node at a place, counted from 0.
#[must_use]
pub fn incarnation(place: Place, life: u128) -> Incarnation {
    Incarnation(0x1000 + place as u128 + (life << 16))
}

/// The map of a new cluster.
#[must_use]
pub fn map(plan: &Plan) -> ClusterMap {
    let mut next_replica = 1;
    let mut set = |first: usize, count: usize, voters: usize| {
        let replicas = (0..count).map(|i| {
            next_replica += 1;
            let place = (first + i) % plan.nodes;
            ReplicaAt {
                replica: ReplicaId(next_replica - 1),
                node: node_id(place),
                incarnation: incarnation(place, 0),
                learner: i >= voters,
            }
        });
        ReplicaSet { generation: 1, replicas: replicas.collect(), ..ReplicaSet::default() }
    };
    let mut groups = BTreeMap::from([(GroupId::META, set(0, plan.nodes, META_VOTERS))]);
    for shard in 0..plan.shards {
        groups.insert(GroupId::of_shard(shard), set(shard as usize, plan.replicas, plan.replicas));
    }
    let capacity = Capacity { max_entries: plan.max_entries, max_bytes: 0 };
    ClusterMap {
        uid: ClusterUid(0xc0ffee),
        version: 1,
        feature_level: FIRST_FEATURE_LEVEL,
        num_shards: plan.shards,
        slot_hash: SlotHash::XxHash64,
        replication_factor: plan.replicas as u32,
        members: (0..plan.nodes).map(|place| (node_id(place), member(place, incarnation(place, 0)))).collect(),
        groups,
        next_replica: ReplicaId(next_replica),
        settings: SharedSettings {
            capacity,
            migration_concurrency: plan.shape.concurrency,
            repair_after_ms: plan.shape.repair_after_ms,
            ..SharedSettings::default()
        },
        migrations: BTreeMap::new(),
        next_migration: MigrationId(1),
    }
}

/// What the node at a place says of itself.
#[must_use]
pub fn member(place: Place, incarnation: Incarnation) -> Member {
    Member {
        incarnation,
        address: format!("node-{place}:7000"),
        host: String::new(),
        zone: String::new(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: String::new(),
    }
}
