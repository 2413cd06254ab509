//! What all replicas agree on: it goes into the cluster map, and needs no restart.

use std::collections::BTreeMap;

use super::{Action, Draft, Scene, SettingsChange, scene::takes_part};
use crate::model::{Group, MapView, MemberState, NodeId, Settings, SettingsView, StatefulSetView};

/// Last in a pass, and only if the map is not changed otherwise.
pub(super) fn stage(scene: &Scene<'_>, _: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let change = differences(scene, map, draft);
    if change != SettingsChange::default() {
        draft.act(Action::UpdateSettings { change, expected: map.version });
    } else if scene.intent.migrations_paused && !map.migrations_paused {
        draft.act(Action::PauseMigrations);
    } else if !scene.intent.migrations_paused && map.migrations_paused {
        draft.act(Action::ResumeMigrations);
    }
}

fn differences(scene: &Scene<'_>, map: &MapView, draft: &mut Draft) -> SettingsChange {
    let staying = staying(scene, map);
    let wanted = &scene.intent.settings;
    let SettingsView {
        max_entries_per_shard,
        max_bytes_per_shard,
        default_ttl_ms,
        eviction,
        migration_concurrency,
        migration_bytes_per_s,
        repair_after_ms,
    } = &map.settings;
    SettingsChange {
        max_entries_per_shard: differs(wanted.max_entries_per_shard, *max_entries_per_shard),
        max_bytes_per_shard: differs(bytes(wanted, map, staying, *max_bytes_per_shard), *max_bytes_per_shard),
        default_ttl_ms: differs(wanted.default_ttl_ms, *default_ttl_ms),
        eviction: differs(wanted.eviction, *eviction),
        migration_concurrency: differs(wanted.migration_concurrency, *migration_concurrency),
        migration_bytes_per_s: differs(wanted.migration_bytes_per_s, *migration_bytes_per_s),
        repair_after_ms: differs(scene.intent.repair.after_ms.unwrap_or(0), *repair_after_ms),
        replication_factor: replication(scene, map, draft),
    }
}

/// The change of the capacity of each shard that comes before members leave: those that stay would hold more than they may.
pub(super) fn shrinks(scene: &Scene<'_>, map: &MapView) -> Option<SettingsChange> {
    let is = map.settings.max_bytes_per_shard;
    let to = bytes(&scene.intent.settings, map, staying(scene, map), is);
    let less = to > 0 && (is == 0 || to < is);
    less.then(|| SettingsChange { max_bytes_per_shard: Some(to), ..SettingsChange::default() })
}

/// More replicas only when there are nodes for them.
fn replication(scene: &Scene<'_>, map: &MapView, draft: &mut Draft) -> Option<u32> {
    let wanted = scene.intent.replication_factor;
    let stays = |node: NodeId| !node.is_beyond(scene.intent.replicas);
    let up = map.present().filter(|(node, member)| member.state == MemberState::Up && stays(*node)).count();
    if wanted > map.replication_factor && up < wanted as usize {
        draft.wait(format!("{wanted} nodes for replication factor {wanted}; {up} are up"));
        return None;
    }
    differs(wanted, map.replication_factor)
}

/// Members that share the shards when all is done. One that restarts is among them, or each restart would cost entries.
fn staying(scene: &Scene<'_>, map: &MapView) -> u32 {
    let wanted = scene.intent.replicas;
    let sharing = map.present().filter(|(node, member)| takes_part(member.state) && !node.is_beyond(wanted));
    u32::try_from(sharing.count()).unwrap_or(u32::MAX)
}

/// The capacity of a shard. It shrinks before shards move together, and grows only once they have moved apart: in between
/// the nodes would hold more than they may.
fn bytes(wanted: &Settings, map: &MapView, staying: u32, is: u64) -> u64 {
    let aim = wanted.bytes_for(staying);
    if aim == 0 || is == 0 || aim <= is {
        return aim;
    }
    let load = carried(map);
    let spread = (1..=staying).rev().find(|nodes| load <= share(map, *nodes)).unwrap_or(1);
    wanted.bytes_for(spread).max(is)
}

/// The most replicas of shards that one member has.
fn carried(map: &MapView) -> usize {
    let mut loads: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (_, group) in map.groups.iter().filter(|(name, _)| **name != Group::Meta) {
        for node in group.voters.iter().map(|voter| voter.node).chain(group.learners.iter().copied()) {
            *loads.entry(node).or_default() += 1;
        }
    }
    loads.into_values().max().unwrap_or(0)
}

/// The replicas of shards that each has when so many members share them fairly.
fn share(map: &MapView, nodes: u32) -> usize {
    let shards = map.groups.keys().filter(|name| **name != Group::Meta).count();
    let replicas = map.replication_factor.min(nodes) as usize;
    (shards * replicas).div_ceil(nodes.max(1) as usize)
}

fn differs<T: PartialEq>(wanted: T, is: T) -> Option<T> {
    (wanted != is).then_some(wanted)
}
