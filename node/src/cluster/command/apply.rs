//! What each change does to the map. A pure function of (map, log time, change): every node has the same map after it.

use super::{
    MetaCommand, Refused,
    done::{Done, refuse},
    members, migrate, reset,
};
use crate::{
    cluster::map::{
        ClusterMap, SharedSettings,
        wire::{settings_from, settings_to},
    },
    types::{GroupId, ReplicaId},
};

/// The most voters that a shard may be given: more only makes writes slower.
pub const MAX_REPLICATION_FACTOR: u32 = 7;

/// Makes one change and raises the version by one, unless all is as the change wants it already.
///
/// `now_ms` is the meta group's log time.
///
/// # Errors
/// When the map is not the one that was expected, or the change does not fit it; nothing is changed then.
pub fn apply(
    map: &mut ClusterMap,
    now_ms: u64,
    expected_version: Option<u64>,
    command: &MetaCommand,
) -> Result<(), Refused> {
    match expected_version {
        Some(expected) if expected != map.version => {
            return Err(Refused::Version { expected, actual: map.version });
        }
        Some(_) | None => {}
    }
    let done = match command {
        MetaCommand::Join { node, member } => members::join(map, *node, member)?,
        MetaCommand::SetState { node, incarnation, state } => members::set_state(map, *node, *incarnation, *state)?,
        MetaCommand::StartMigration { group, incoming, outgoing, learner, reason } => {
            let asked = migrate::Asked { group: *group, outgoing: *outgoing, learner: *learner, reason: *reason };
            migrate::start(map, now_ms, *incoming, asked)?
        }
        MetaCommand::AdvanceMigration { migration, from, to, conf_version } => {
            migrate::advance(map, *migration, *from, *to, *conf_version)?
        }
        MetaCommand::CancelMigration(migration) => migrate::cancel(map, *migration)?,
        MetaCommand::Prefer { group, replica } => prefer(map, *group, *replica)?,
        MetaCommand::SetSettings(settings) => set_settings(map, settings)?,
        MetaCommand::SetReplicationFactor(factor) => set_replication_factor(map, *factor)?,
        MetaCommand::RaiseFeatureLevel(level) => raise_feature_level(map, *level)?,
        MetaCommand::ResetShards { shards, dead } => reset::reset(map, shards, dead)?,
    };
    map.version += u64::from(done == Done::Changed);
    Ok(())
}

/// The voter goes to the front; the others keep their order.
fn prefer(map: &mut ClusterMap, group: GroupId, replica: ReplicaId) -> Result<Done, Refused> {
    let leaving = map.migration_of(group).is_some_and(|migration| migration.outgoing == Some(replica));
    let Some(set) = map.groups.get(&group) else { return refuse(format!("there is no {group}")) };
    let Some(place) = set.replicas.iter().position(|at| at.replica == replica) else {
        return refuse(format!("{group} has no replica {replica}"));
    };
    let at = set.replicas[place];
    if at.learner {
        return refuse(format!("replica {replica} of {group} is a learner: it can't lead"));
    }
    if !map.is_alive(&at) {
        return refuse(format!("replica {replica} of {group} is dead: node {} has another life or is down", at.node));
    }
    if leaving {
        return refuse(format!("replica {replica} of {group} is about to leave"));
    }
    if let Some(set) = map.groups.get_mut(&group) {
        set.replicas[..=place].rotate_right(1);
    }
    Ok(Done::changed_if(place != 0))
}

fn set_settings(map: &mut ClusterMap, settings: &SharedSettings) -> Result<Done, Refused> {
    // On the wire 0 means that there is none, so a limit of 0 would not come back.
    match settings_from(&settings_to(settings)) {
        Ok(back) if back == *settings => {}
        Ok(_) => return refuse("settings: 0 for a life or a limit means none; leave it out"),
        Err(error) => return refuse(error.to_string()),
    }
    let changed = map.settings != *settings;
    map.settings = *settings;
    Ok(Done::changed_if(changed))
}

fn set_replication_factor(map: &mut ClusterMap, factor: u32) -> Result<Done, Refused> {
    if !(1..=MAX_REPLICATION_FACTOR).contains(&factor) {
        return refuse(format!("replication_factor: {factor} is not between 1 and {MAX_REPLICATION_FACTOR}"));
    }
    let changed = map.replication_factor != factor;
    map.replication_factor = factor;
    Ok(Done::changed_if(changed))
}

fn raise_feature_level(map: &mut ClusterMap, level: u32) -> Result<Done, Refused> {
    if level < map.feature_level {
        return refuse(format!("feature level {level} is below {}; it only rises", map.feature_level));
    }
    let unable = map
        .members
        .iter()
        .find(|(node, member)| map.incarnation_of(**node).is_some() && !member.levels.supports(level));
    if let Some((node, member)) = unable {
        let (min, max) = (member.levels.min, member.levels.max);
        return refuse(format!("feature level {level}: node {node} supports {min} to {max}"));
    }
    let changed = map.feature_level != level;
    map.feature_level = level;
    Ok(Done::changed_if(changed))
}
