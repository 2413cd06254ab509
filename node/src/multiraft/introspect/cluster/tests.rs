//! Members, migrations and ailments of small clusters.

use super::*;
use crate::{
    cluster::{
        command::{self, Incoming, MetaCommand},
        map::{MemberState, Reason},
    },
    door_fixture::govern::{healthy, map},
    multiraft::introspect::ailments,
    placement::{Defect, PeerHealth},
    types::MigrationId,
};

/// Four nodes, of which the last is to get a replica of shard 0 for the one on node 1; begun at 1,000 ms.
fn moving() -> (ClusterMap, Governing) {
    let mut map = map(4, 4, 3);
    let outgoing = map.groups[&GroupId(1)].replicas[0].replica;
    let start = MetaCommand::StartMigration {
        group: GroupId(1),
        incoming: Incoming::New(NodeId(4)),
        outgoing: Some(outgoing),
        learner: false,
        reason: Reason::Asked,
    };
    let before = healthy(&map);
    command::apply(&mut map, 1_000, None, &start).expect("a sound move");
    (map, before)
}

#[test]
fn members_are_counted_by_the_map_and_described_by_health() {
    let map = map(4, 4, 3);
    let blind = members(&map, None);
    assert_eq!((blind[0].voters, blind[0].learners, blind[0].replicas), (3, 0, 4), "and one of the meta group");
    assert_eq!((blind[0].preferred, blind[0].leads, blind[0].silent_ms), (1, 0, None));
    let seen = members(&map, Some(&healthy(&map).health));
    assert_eq!((seen[0].leads, seen[0].silent_ms, seen[0].used_bytes), (1, Some(0), Some(1_000)));
    assert_eq!((seen[0].state, seen[0].limit_bytes), ("up", None));
}

#[test]
fn a_migration_shows_what_is_copied_and_how_long_it_takes() {
    let (mut map, mut governing) = moving();
    let incoming = map.migrations[&MigrationId(1)].incoming.expect("one comes");
    let look = |map: &ClusterMap, governing: &Governing| migrations(map, Some(&governing.health), 3_000)[0];
    let begun = look(&map, &governing);
    assert_eq!((begun.shard, begun.from, begun.to), (Some(0), Some(1), Some(4)));
    assert_eq!((begun.phase, begun.reason, begun.started_ms), ("add-learner", "asked", 1_000));
    assert_eq!((begun.entries, begun.total_entries, begun.bytes, begun.total_bytes), (0, 100, 0, 1_000));
    assert_eq!(begun.eta_ms, None, "nothing is known of the pace");
    map.settings.migration_bytes_per_s = Some(500);
    assert_eq!(look(&map, &governing).eta_ms, Some(2_000), "the limit is known");

    let group = governing.health.groups.get_mut(&GroupId(1)).expect("it reports");
    group.peers.insert(incoming, PeerHealth { matched: 80, snapshot: false });
    let copying = look(&map, &governing);
    assert_eq!((copying.entries, copying.bytes, copying.eta_ms), (80, 1_000, Some(500)), "80 took 2 s, 20 are left");
    let blind = migrations(&map, None, 3_000)[0];
    assert_eq!((blind.entries, blind.total_entries, blind.eta_ms), (0, 0, None));
}

#[test]
fn too_few_living_voters_are_under_replication() {
    let mut map = map(3, 4, 3);
    assert_eq!(under_replicated(&map), [0; 0]);
    map.members.get_mut(&NodeId(2)).expect("a member").state = MemberState::Down;
    assert_eq!(under_replicated(&map), [0, 1, 2, 3]);
    let status = ClusterStatus::new(&map, Some(NodeId(1)), None, 0);
    assert_eq!((status.under_replicated.len(), status.waiting_on, status.meta_leader), (4, None, Some(1)));
}

/// Everything that ails after an edit.
fn ill(edit: impl FnOnce(&mut ClusterMap, &mut Governing)) -> Vec<String> {
    let mut map = map(3, 2, 3);
    let mut governing = healthy(&map);
    assert_eq!(ailments(&map, &governing), [""; 0], "healthy before");
    edit(&mut map, &mut governing);
    ailments(&map, &governing)
}

#[test]
fn each_ailment_is_named() {
    let shard = GroupId(1);
    let has = |found: Vec<String>, wanted: &str| {
        assert!(found.iter().any(|ailment| ailment == wanted), "{wanted} is not in {found:?}");
    };
    has(ill(|map, _| map.members.get_mut(&NodeId(2)).unwrap().state = MemberState::Joining), "node 2 is joining");
    has(
        ill(|_, it| {
            it.health.nodes.remove(&NodeId(2));
        }),
        "node 2 has not reported yet",
    );
    has(
        ill(|_, it| {
            it.health.groups.remove(&shard);
        }),
        "shard 0: no leader has reported",
    );
    has(ill(|map, _| map.replication_factor = 4), "shard 0 has 3 of 4 voters");
    let joint = |it: &mut Governing| {
        let group = it.health.groups.get_mut(&shard).unwrap();
        group.conf.voters_outgoing = group.conf.voters.clone();
    };
    has(ill(|_, it| joint(it)), "shard 0 is in a joint configuration");
    has(
        ill(|_, it| {
            it.health.groups.get_mut(&shard).unwrap().conf.voters.pop();
        }),
        "shard 0 has other voters than the map says",
    );
    let late = |it: &mut Governing, peer: PeerHealth| {
        let group = it.health.groups.get_mut(&shard).unwrap();
        group.last = 5_000;
        group.peers.values_mut().for_each(|known| known.matched = 5_000);
        *group.peers.values_mut().last().unwrap() = peer;
    };
    let behind = PeerHealth { matched: 10, snapshot: false };
    has(ill(|_, it| late(it, behind)), "shard 0: node 3 is 4990 entries behind");
    let waits = PeerHealth { matched: 0, snapshot: true };
    has(ill(|_, it| late(it, waits)), "shard 0: node 3 waits for a snapshot");
    has(
        ill(|_, it| {
            it.health.groups.get_mut(&shard).unwrap().peers.pop_last();
        }),
        "shard 0: its leader says nothing of the replica on node 3",
    );
    let corrupt = |map: &mut ClusterMap, it: &mut Governing| {
        let at = map.groups[&shard].replicas[0];
        it.health.unfit.insert(at.replica, Defect::Corrupt);
        assert_eq!(at.node, NodeId(1));
    };
    has(ill(corrupt), "shard 0: the replica on node 1 is corrupt");
    let (map, governing) = moving();
    has(ailments(&map, &governing), "migration 1 of shard 0 is in its phase add-learner");
}
