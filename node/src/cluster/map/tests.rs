//! The map travels and returns unchanged; what contradicts itself is refused by name.

use crema_api::v1;

use super::{
    ClusterMap, FIRST_FEATURE_LEVEL, Member, MemberState, Migration, Phase, Reason, ReplicaAt, ReplicaSet,
    SUPPORTED_LEVELS, SharedSettings,
};
use crate::{
    partitioning::SlotHash,
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

fn life(node: u64) -> Incarnation {
    Incarnation(u128::from(node) << 64 | 7)
}

fn sample() -> ClusterMap {
    let member = |node: u64| Member {
        incarnation: life(node),
        address: format!("node-{node}:7000"),
        host: format!("host-{node}"),
        zone: String::new(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: format!("node-{node}:6379"),
    };
    let at = |first: u64, i: u64| ReplicaAt {
        replica: ReplicaId(first + i),
        node: NodeId(i + 1),
        incarnation: life(i + 1),
        learner: i == 2,
    };
    let set = |first: u64| ReplicaSet {
        generation: first,
        changes: 2,
        conf_version: 3,
        replicas: (0..3).map(|i| at(first, i)).collect(),
        founders: (1..first.min(3)).map(|i| at(first, i - 1)).collect(),
    };
    let migration = Migration {
        id: MigrationId(1),
        group: GroupId(1),
        incoming: Some(ReplicaId(6)),
        outgoing: Some(ReplicaId(5)),
        learner: false,
        phase: Phase::CatchUp,
        reason: Reason::Drain,
        cancelled: true,
        started_ms: 17,
        promoted: false,
        left: None,
    };
    ClusterMap {
        uid: ClusterUid(0xabc),
        version: 3,
        feature_level: FIRST_FEATURE_LEVEL,
        num_shards: 1,
        slot_hash: SlotHash::XxHash64,
        replication_factor: 2,
        members: (1..=3).map(|node| (NodeId(node), member(node))).collect(),
        groups: [(GroupId(0), set(1)), (GroupId(1), set(4))].into(),
        next_replica: ReplicaId(7),
        settings: SharedSettings { default_ttl_ms: Some(60_000), ..SharedSettings::default() },
        migrations: [(MigrationId(1), migration)].into(),
        next_migration: MigrationId(2),
    }
}

#[test]
fn a_map_survives_the_wire() {
    let map = sample();
    assert_eq!(ClusterMap::try_from(v1::ClusterMap::from(&map)), Ok(map));
}

fn refused(change: impl FnOnce(&mut v1::ClusterMap), expect: &str) {
    let mut wire = v1::ClusterMap::from(&sample());
    change(&mut wire);
    let said = ClusterMap::try_from(wire).expect_err(expect).to_string();
    assert!(said.contains(expect), "{said:?} does not say {expect:?}");
}

#[test]
fn contradictions_are_refused_by_name() {
    refused(|m| m.uid = vec![1; 15].into(), "uid: 15 bytes");
    refused(|m| m.uid = vec![0; 16].into(), "uid");
    refused(|m| m.version = 0, "version");
    refused(|m| m.feature_level = 0, "feature_level");
    refused(|m| m.num_shards = 2, "groups: the meta group and 2 shards");
    refused(|m| m.num_shards = 0, "num_shards: 0");
    refused(|m| m.slot_hash = 9, "slot_hash: 9");
    refused(|m| m.replication_factor = 0, "replication_factor");
    refused(|m| m.members[1].node = 1, "NodeId(1) is there twice");
    refused(|m| m.members[1].node = 0, "node id 0");
    refused(|m| m.members[1].state = 5, "member 2 state: 5");
    refused(|m| m.members[1].incarnation = vec![].into(), "member 2 incarnation");
    refused(|m| m.members[1].address.clear(), "member 2 address");
    refused(|m| m.members[1].min_level = 2, "member 2 levels: 2 to 1");
    refused(|m| m.groups[1].group = 0, "GroupId(0) is there twice");
    refused(|m| m.groups[1].generation = 0, "group 1: generation 0");
    refused(|m| m.groups[1].replicas.clear(), "group 1: no voter");
    refused(|m| m.groups[1].replicas[0].node = 9, "replica 4 is on stranger 9");
    refused(|m| m.groups[1].replicas[0].replica = 1, "replica 1 is there twice");
    refused(|m| m.groups[1].replicas[0].replica = 7, "replica 7 was never given out");
    refused(|m| m.groups[1].replicas[0].replica = 0, "replica 0 was never given out");
    refused(|m| m.settings = None, "settings: missing");
    refused(|m| m.settings.as_mut().expect("set").eviction = 2, "settings.eviction: 2");
}

#[test]
fn only_the_living_have_an_incarnation() {
    let mut map = sample();
    assert_eq!(map.incarnation_of(NodeId(2)), Some(Incarnation(2 << 64 | 7)));
    map.members.get_mut(&NodeId(2)).expect("a member").state = MemberState::Down;
    assert_eq!(map.incarnation_of(NodeId(2)), None);
    assert_eq!(map.incarnation_of(NodeId(9)), None);
}

#[test]
fn the_newest_replica_of_a_node_counts() {
    let mut map = sample();
    let set = map.groups.get_mut(&GroupId(1)).expect("a group");
    set.replicas.push(ReplicaAt { replica: ReplicaId(8), node: NodeId(1), incarnation: life(1), learner: true });
    let here: Vec<_> = map.replicas_on(NodeId(1)).map(|(group, _, at)| (group.0, at.replica.0)).collect();
    assert_eq!(here, [(0, 1), (1, 8)]);
    assert_eq!(map.node_of(GroupId(1), ReplicaId(4)), Some(NodeId(1)));
}
