//! Random changes: whatever is asked in whatever order, the map stays one that can be.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::{cluster, life, member};
use crate::{
    cluster::{
        command::{
            Incoming, MetaCommand, MetaRecord, ShardReset, apply, decode, decode_command, encode, encode_command,
            following,
        },
        map::{ClusterMap, MemberState, Phase, Reason, ReplicaAt, SharedSettings, wire::validate},
    },
    types::{Draw, GroupId, MigrationId, NodeId, ReplicaId, Timestamp},
};

/// A change that might be asked for now: often a sensible one.
fn any_command(draw: &mut Draw, map: &ClusterMap) -> MetaCommand {
    match draw.below(17) {
        0 => {
            let node = draw.below(7);
            MetaCommand::Join { node: NodeId(node), member: member(node, 1 + draw.below(4)) }
        }
        1 | 2 => any_state(draw, map),
        3..7 => any_start(draw, map),
        7..13 => any_advance(draw, map),
        13 => MetaCommand::CancelMigration(any_migration(draw, map)),
        14 => MetaCommand::Prefer { group: any_group(draw), replica: any_replica(draw, map) },
        15 => any_reset(draw, map),
        _ => match draw.below(3) {
            0 => MetaCommand::SetReplicationFactor(draw.below(9) as u32),
            1 => MetaCommand::RaiseFeatureLevel(draw.below(4) as u32),
            _ => MetaCommand::SetSettings(SharedSettings {
                migration_concurrency: 1 + draw.below(2) as u32,
                repair_after_ms: (draw.below(2) == 0).then_some(1 + draw.below(9)),
                ..SharedSettings::default()
            }),
        },
    }
}

fn any_group(draw: &mut Draw) -> GroupId {
    GroupId(draw.below(4) as u32)
}

fn any_replica(draw: &mut Draw, map: &ClusterMap) -> ReplicaId {
    ReplicaId(draw.below(map.next_replica.0 + 1))
}

fn any_migration(draw: &mut Draw, map: &ClusterMap) -> MigrationId {
    let at = draw.below(map.migrations.len() as u64 + 1) as usize;
    map.migrations.keys().nth(at).copied().unwrap_or(MigrationId(draw.below(20)))
}

fn any_state(draw: &mut Draw, map: &ClusterMap) -> MetaCommand {
    use MemberState::{Down, Draining, Joining, Removed, Up};
    let node = NodeId(draw.below(7));
    let known = map.members.get(&node).map(|member| member.incarnation);
    MetaCommand::SetState {
        node,
        incarnation: known.filter(|_| draw.below(8) > 0).unwrap_or(life(node.0, 1)),
        state: [Up, Up, Draining, Joining, Down, Removed][draw.below(6) as usize],
    }
}

fn any_start(draw: &mut Draw, map: &ClusterMap) -> MetaCommand {
    let group = any_group(draw);
    let of_set = |draw: &mut Draw| match map.groups.get(&group).map(|set| &set.replicas[..]) {
        Some(replicas @ [_, ..]) if draw.below(8) > 0 => replicas[draw.below(replicas.len() as u64) as usize].replica,
        Some(_) | None => any_replica(draw, map),
    };
    MetaCommand::StartMigration {
        group,
        incoming: match draw.below(4) {
            0 => Incoming::None,
            1 => Incoming::Promote(of_set(draw)),
            _ => Incoming::New(NodeId(draw.below(7))),
        },
        outgoing: (draw.below(3) > 0).then(|| of_set(draw)),
        learner: draw.below(4) == 0,
        reason: Reason::Balance,
    }
}

fn any_reset(draw: &mut Draw, map: &ClusterMap) -> MetaCommand {
    let group = any_group(draw);
    let generation = map.groups.get(&group).map_or(1, |set| set.generation);
    let dead = (0..draw.below(4)).map(|_| {
        let node = NodeId(draw.below(7));
        (node, map.members.get(&node).map_or(life(node.0, 1), |member| member.incarnation))
    });
    let dead = dead.collect();
    let nodes = (0..draw.below(4)).map(|_| NodeId(draw.below(7))).collect();
    let generation = if draw.below(8) > 0 { generation } else { draw.below(3) };
    MetaCommand::ResetShards { shards: vec![ShardReset { group, generation, nodes }], dead }
}

fn any_advance(draw: &mut Draw, map: &ClusterMap) -> MetaCommand {
    let migration = any_migration(draw, map);
    let any_phase = |draw: &mut Draw| Phase::ALL[draw.below(5) as usize];
    let known = map.migrations.get(&migration).filter(|_| draw.below(6) > 0);
    let (from, to) = match known {
        Some(known) => (known.phase, following(map, known)),
        None => (any_phase(draw), (draw.below(3) > 0).then(|| any_phase(draw))),
    };
    MetaCommand::AdvanceMigration { migration, from, to, conf_version: draw.below(30) }
}

fn voters(map: &ClusterMap, group: GroupId) -> BTreeSet<ReplicaId> {
    map.groups[&group].voters().map(|at| at.replica).collect()
}

fn replicas(map: &ClusterMap) -> impl Iterator<Item = &ReplicaAt> {
    map.groups.values().flat_map(|set| &set.replicas)
}

/// What holds between a map and the one after a change.
fn check_step(before: &ClusterMap, after: &ClusterMap, command: &MetaCommand) {
    validate(after).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(after.version, before.version + u64::from(after != before), "{command:?}");
    let old: BTreeSet<_> = replicas(before).map(|at| at.replica).collect();
    for at in replicas(after).filter(|at| !old.contains(&at.replica)) {
        assert!(at.replica >= before.next_replica, "replica {} is used again by {command:?}", at.replica);
    }
    for group in after.groups.keys() {
        let (was, is) = (voters(before, *group), voters(after, *group));
        if after.groups[group].generation > before.groups[group].generation {
            check_reset(before, after, *group);
            continue;
        }
        let lost: Vec<_> = was.difference(&is).copied().collect();
        assert!(lost.len() <= 1, "{group} loses {lost:?} by {command:?}");
        assert!(lost.is_empty() || before.migration_of(*group).is_some_and(|m| m.outgoing == lost.first().copied()));
        assert!(!after.groups[group].replicas[0].learner, "{group} is to be led by a learner after {command:?}");
    }
    assert!(after.groups[&GroupId::META].voters().count() <= 5);
    for (node, member) in &after.members {
        let held = replicas(after).filter(|at| at.node == *node).count();
        assert!(member.state != MemberState::Removed || held == 0, "node {node} has left with {held} replicas");
    }
}

/// A shard that begins anew has new replicas that live, and of its old voters no majority does.
fn check_reset(before: &ClusterMap, after: &ClusterMap, group: GroupId) {
    let (old, new) = (&before.groups[&group], &after.groups[&group]);
    assert_ne!(group, GroupId::META);
    assert_eq!((new.generation, &new.replicas), (old.generation + 1, &new.founders));
    assert!(new.replicas.iter().all(|at| after.is_alive(at) && at.replica >= before.next_replica));
    assert!(after.migration_of(group).is_none());
    let swaps = before.migration_of(group).is_some_and(|migration| migration.phase == Phase::LeaveJoint);
    let living = old.voters().filter(|at| after.is_alive(at)).count();
    assert!(swaps || living <= old.voters().count() / 2, "{group} had {living} living voters");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_map_stays_sound(seed: u64) {
        let mut draw = Draw::new(seed);
        let mut map = cluster(1 + draw.below(5), 3, 1);
        let mut done = 0;
        for _ in 0..300 {
            let command = any_command(&mut draw, &map);
            let expected = (draw.below(20) == 0).then_some(map.version + draw.below(2));
            let before = map.clone();
            match apply(&mut map, 7, expected, &command) {
                Err(_) => prop_assert_eq!(&map, &before, "refused, and yet changed by {:?}", command),
                Ok(()) => {
                    check_step(&before, &map, &command);
                    done += u64::from(map != before);
                }
            }
            let record = MetaRecord { stamp: Timestamp(draw.next_u64()), expected_version: expected, command };
            let bytes = Bytes::from(encode(record.stamp, expected, &record.command));
            // Node id 0 has no bytes that are read again: apply refuses it, and so does the decoder.
            if !matches!(record.command, MetaCommand::Join { node: NodeId(0), .. }) {
                prop_assert_eq!(decode_command(&encode_command(&record.command)), Ok(record.command.clone()));
                prop_assert_eq!(decode(&bytes), Ok(record));
            }
        }
        prop_assert!(done > 0);
    }

    /// Flipped and cut bytes are refused, or are some other change; they never panic.
    #[test]
    fn damaged_bytes_never_panic(seed: u64) {
        let mut draw = Draw::new(seed);
        let mut map = cluster(3, 3, 2);
        for _ in 0..30 {
            let command = any_command(&mut draw, &map);
            let mut bytes = encode(Timestamp(draw.next_u64()), Some(1), &command);
            for cut in 0..bytes.len() {
                let _ = decode(&Bytes::copy_from_slice(&bytes[..cut]));
            }
            let at = draw.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << draw.below(8);
            if let Ok(record) = decode(&bytes.into()) {
                let before = map.clone();
                if apply(&mut map, 1, None, &record.command).is_ok() {
                    check_step(&before, &map, &record.command);
                }
            }
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decode(&Bytes::copy_from_slice(&bytes));
        let _ = decode_command(&bytes);
    }
}
