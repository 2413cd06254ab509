//! What all replicas agree on: it goes into the cluster map, and needs no restart.

use super::{Action, Draft, Scene, SettingsChange};
use crate::model::{MapView, MemberState, SettingsView, StatefulSetView};

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
    } = &map.settings;
    SettingsChange {
        max_entries_per_shard: differs(wanted.max_entries_per_shard, *max_entries_per_shard),
        max_bytes_per_shard: differs(wanted.bytes_for(staying), *max_bytes_per_shard),
        default_ttl_ms: differs(wanted.default_ttl_ms, *default_ttl_ms),
        eviction: differs(wanted.eviction, *eviction),
        migration_concurrency: differs(wanted.migration_concurrency, *migration_concurrency),
        migration_bytes_per_s: differs(wanted.migration_bytes_per_s, *migration_bytes_per_s),
        replication_factor: replication(scene, map, staying, draft),
    }
}

/// More replicas only when there are nodes for them.
fn replication(scene: &Scene<'_>, map: &MapView, staying: u32, draft: &mut Draft) -> Option<u32> {
    let wanted = scene.intent.replication_factor;
    if wanted > map.replication_factor && staying < wanted {
        draft.wait(format!("{wanted} nodes for replication factor {wanted}; {staying} are up"));
        return None;
    }
    differs(wanted, map.replication_factor)
}

/// Members that share the shards when all is done.
fn staying(scene: &Scene<'_>, map: &MapView) -> u32 {
    let wanted = scene.intent.replicas;
    let up = map.present().filter(|(node, member)| member.state == MemberState::Up && !node.is_beyond(wanted));
    up.count() as u32
}

fn differs<T: PartialEq>(wanted: T, is: T) -> Option<T> {
    (wanted != is).then_some(wanted)
}
