//! The map as it travels and rests (`crema.v1.ClusterMap`), and what makes foreign bytes a valid map.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1;

use crate::{
    cluster::map::{
        ClusterMap, FeatureLevels, Left, Member, MemberState, Migration, Phase, Reason, ReplicaAt, ReplicaSet,
        SharedSettings,
    },
    machine::store::{Capacity, EvictionPolicy},
    partitioning::{SLOTS, SlotHash},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

/// Why bytes are not a cluster map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster map: {field}: {reason}")]
pub struct MapError {
    /// Which field is wrong.
    pub field: String,
    /// Its value, and what would be right.
    pub reason: String,
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> MapError {
    MapError { field: field.into(), reason: reason.into() }
}

fn ensure(holds: bool, field: impl FnOnce() -> String, reason: impl FnOnce() -> String) -> Result<(), MapError> {
    if holds { Ok(()) } else { Err(wrong(field(), reason())) }
}

impl TryFrom<v1::ClusterMap> for ClusterMap {
    type Error = MapError;

    fn try_from(wire: v1::ClusterMap) -> Result<Self, MapError> {
        let v1::ClusterMap {
            uid,
            version,
            feature_level,
            num_shards,
            replication_factor,
            slot_hash,
            members,
            groups,
            next_replica,
            settings,
            migrations,
            next_migration,
        } = wire;
        let map = Self {
            uid: ClusterUid::from_bytes(&uid)
                .filter(|uid| uid.0 != 0)
                .ok_or_else(|| wrong("uid", format!("{} bytes; 16 that are not all 0 are needed", uid.len())))?,
            version,
            feature_level,
            num_shards,
            slot_hash: slot_hash_from(slot_hash)?,
            replication_factor,
            members: unique("members", members.into_iter().map(member_from))?,
            groups: unique("groups", groups.into_iter().map(group_from))?,
            next_replica: ReplicaId(next_replica),
            settings: settings_from(&settings.ok_or_else(|| wrong("settings", "missing"))?)?,
            migrations: unique("migrations", migrations.iter().map(migration_from))?,
            next_migration: MigrationId(next_migration),
        };
        validate(&map)?;
        Ok(map)
    }
}

/// Collects into a map and refuses a key that comes twice.
fn unique<K: Ord + std::fmt::Debug, V>(
    field: &str,
    items: impl Iterator<Item = Result<(K, V), MapError>>,
) -> Result<BTreeMap<K, V>, MapError> {
    let mut out = BTreeMap::new();
    for item in items {
        let (key, value) = item?;
        let name = format!("{key:?}");
        ensure(out.insert(key, value).is_none(), || field.into(), || format!("{name} is there twice"))?;
    }
    Ok(out)
}

/// One member, and what makes it valid.
pub(in crate::cluster) fn member_from(wire: v1::Member) -> Result<(NodeId, Member), MapError> {
    let v1::Member { node, incarnation, address, host, zone, state, min_level, max_level, client_address } = wire;
    let at = |name: &str| format!("member {node} {name}");
    let state = state_from(state).ok_or_else(|| wrong(at("state"), format!("{state} is unknown")))?;
    let incarnation = Incarnation::from_bytes(&incarnation)
        .filter(|incarnation| incarnation.0 != 0)
        .ok_or_else(|| wrong(at("incarnation"), "16 bytes that are not all 0 are needed"))?;
    ensure(node != 0, || "member".into(), || "node id 0".into())?;
    ensure(!address.is_empty(), || at("address"), || "empty".into())?;
    ensure(1 <= min_level && min_level <= max_level, || at("levels"), || format!("{min_level} to {max_level}"))?;
    let levels = FeatureLevels { min: min_level, max: max_level };
    Ok((NodeId(node), Member { incarnation, address, host, zone, state, levels, client_address }))
}

fn group_from(wire: v1::ReplicaSet) -> Result<(GroupId, ReplicaSet), MapError> {
    let v1::ReplicaSet { group, generation, replicas, changes, conf_version, founders } = wire;
    let replicas = replicas.into_iter().map(replica_from).collect::<Result<_, MapError>>()?;
    let founders = founders.into_iter().map(replica_from).collect::<Result<_, MapError>>()?;
    Ok((GroupId(group), ReplicaSet { generation, replicas, changes, conf_version, founders }))
}

fn replica_from(wire: v1::ReplicaAt) -> Result<ReplicaAt, MapError> {
    let v1::ReplicaAt { replica, node, learner, incarnation } = wire;
    let incarnation = Incarnation::from_bytes(&incarnation)
        .filter(|incarnation| incarnation.0 != 0)
        .ok_or_else(|| wrong(format!("replica {replica} incarnation"), "16 bytes that are not all 0 are needed"))?;
    Ok(ReplicaAt { replica: ReplicaId(replica), node: NodeId(node), incarnation, learner })
}

fn migration_from(wire: &v1::Migration) -> Result<(MigrationId, Migration), MapError> {
    let v1::Migration {
        id, group, incoming, outgoing, learner, phase, reason, cancelled, started_ms, promoted, ..
    } = *wire;
    let at = |name: &str| format!("migration {id} {name}");
    let replica = |id: u64| (id != 0).then_some(ReplicaId(id));
    let phase = phase_from(phase).ok_or_else(|| wrong(at("phase"), format!("{phase} is unknown")))?;
    let reason = reason_from(reason).ok_or_else(|| wrong(at("reason"), format!("{reason} is unknown")))?;
    let migration = Migration {
        id: MigrationId(id),
        group: GroupId(group),
        incoming: replica(incoming),
        outgoing: replica(outgoing),
        learner,
        phase,
        reason,
        cancelled,
        started_ms,
        promoted,
        left: left_from(wire).ok_or_else(|| wrong(at("left"), "a node needs an incarnation, no node has none"))?,
    };
    Ok((MigrationId(id), migration))
}

/// `None` when it contradicts itself.
fn left_from(wire: &v1::Migration) -> Option<Option<Left>> {
    let v1::Migration { left_node, left_incarnation, left_version, .. } = wire;
    match Incarnation::from_bytes(left_incarnation).filter(|incarnation| incarnation.0 != 0) {
        Some(incarnation) if *left_node != 0 => {
            Some(Some(Left { node: NodeId(*left_node), incarnation, version: *left_version }))
        }
        None if *left_node == 0 && left_incarnation.is_empty() && *left_version == 0 => Some(None),
        Some(_) | None => None,
    }
}

/// A member's state by its number on the wire.
#[must_use]
pub fn state_from(wire: u32) -> Option<MemberState> {
    let all = [MemberState::Joining, MemberState::Up, MemberState::Draining, MemberState::Down, MemberState::Removed];
    all.into_iter().find(|state| state_to(*state) == wire)
}

/// A member's state's number on the wire.
#[must_use]
pub fn state_to(state: MemberState) -> u32 {
    match state {
        MemberState::Joining => 0,
        MemberState::Up => 1,
        MemberState::Draining => 2,
        MemberState::Down => 3,
        MemberState::Removed => 4,
    }
}

/// A phase by its number on the wire.
#[must_use]
pub fn phase_from(wire: u32) -> Option<Phase> {
    Phase::ALL.into_iter().find(|phase| phase_to(*phase) == wire)
}

/// A phase's number on the wire.
#[must_use]
pub fn phase_to(phase: Phase) -> u32 {
    match phase {
        Phase::AddLearner => 0,
        Phase::CatchUp => 1,
        Phase::JointSwap => 2,
        Phase::LeaveJoint => 3,
        Phase::Cleanup => 4,
    }
}

/// A reason by its number on the wire.
#[must_use]
pub fn reason_from(wire: u32) -> Option<Reason> {
    let all = [Reason::Repair, Reason::Drain, Reason::Balance, Reason::Asked, Reason::Meta];
    all.into_iter().find(|reason| reason_to(*reason) == wire)
}

/// A reason's number on the wire.
#[must_use]
pub fn reason_to(reason: Reason) -> u32 {
    match reason {
        Reason::Repair => 0,
        Reason::Drain => 1,
        Reason::Balance => 2,
        Reason::Asked => 3,
        Reason::Meta => 4,
    }
}

fn slot_hash_from(wire: u32) -> Result<SlotHash, MapError> {
    match wire {
        0 => Ok(SlotHash::Crc16),
        1 => Ok(SlotHash::XxHash64),
        other => Err(wrong("slot_hash", format!("{other} is unknown"))),
    }
}

/// Shared settings, and what makes them valid.
pub(in crate::cluster) fn settings_from(wire: &v1::SharedSettings) -> Result<SharedSettings, MapError> {
    let v1::SharedSettings {
        max_entries_per_shard,
        max_bytes_per_shard,
        default_ttl_ms,
        eviction,
        max_clock_skew_ms,
        migration_concurrency,
        migration_bytes_per_s,
        migrations_paused,
        repair_after_ms,
    } = *wire;
    ensure(migration_concurrency >= 1, || "settings.migration_concurrency".into(), || "0; at least 1".into())?;
    Ok(SharedSettings {
        capacity: Capacity { max_entries: max_entries_per_shard, max_bytes: max_bytes_per_shard },
        eviction: match eviction {
            0 => EvictionPolicy::TinyLfu,
            1 => EvictionPolicy::Lru,
            other => return Err(wrong("settings.eviction", format!("{other} is unknown"))),
        },
        default_ttl_ms: (default_ttl_ms != 0).then_some(default_ttl_ms),
        max_clock_skew_ms,
        migration_concurrency,
        migration_bytes_per_s: (migration_bytes_per_s != 0).then_some(migration_bytes_per_s),
        migrations_paused,
        repair_after_ms: (repair_after_ms != 0).then_some(repair_after_ms),
    })
}

/// What must hold between the fields. Placement is not judged here: a map in the middle of a repair is valid.
pub(in crate::cluster) fn validate(map: &ClusterMap) -> Result<(), MapError> {
    let ClusterMap { version, feature_level, num_shards, replication_factor, .. } = *map;
    ensure(version >= 1, || "version".into(), || "0; the first is 1".into())?;
    ensure(feature_level >= 1, || "feature_level".into(), || "0; the first is 1".into())?;
    ensure(
        (1..=u32::from(SLOTS)).contains(&num_shards),
        || "num_shards".into(),
        || format!("{num_shards} is not between 1 and {SLOTS}"),
    )?;
    ensure(replication_factor >= 1, || "replication_factor".into(), || "0".into())?;
    ensure(!map.members.is_empty(), || "members".into(), || "none".into())?;
    ensure(
        map.groups.keys().map(|group| group.0).eq(0..=num_shards),
        || "groups".into(),
        || format!("the meta group and {num_shards} shards are needed, nothing else"),
    )?;
    validate_replicas(map)?;
    validate_migrations(map)
}

fn validate_migrations(map: &ClusterMap) -> Result<(), MapError> {
    let mut groups = BTreeSet::new();
    for (id, migration) in &map.migrations {
        let Migration { group, incoming, outgoing, phase, cancelled, left, .. } = migration;
        let at = || format!("migration {id}");
        ensure(id.0 != 0 && *id < map.next_migration, at, || {
            format!("it was never given out (next is {})", map.next_migration)
        })?;
        ensure(groups.insert(*group), at, || format!("{group} has another"))?;
        ensure(map.groups.contains_key(group), at, || format!("{group} does not exist"))?;
        ensure(incoming.is_some() || outgoing.is_some(), at, || "nothing comes and nothing goes".into())?;
        ensure(incoming.is_none_or(|replica| map.node_of(*group, replica).is_some()), at, || {
            "the incoming replica is not in its group's set".into()
        })?;
        let going = outgoing.filter(|_| *phase != Phase::Cleanup);
        ensure(going.is_none_or(|replica| map.node_of(*group, replica).is_some()), at, || {
            "the outgoing replica is not in its group's set".into()
        })?;
        ensure(!cancelled || *phase <= Phase::JointSwap, at, || format!("cancelled in phase {}", phase.name()))?;
        ensure(left.is_some() == (outgoing.is_some() && *phase == Phase::Cleanup), at, || {
            "where a replica was is known exactly when the set has dropped it".into()
        })?;
    }
    Ok(())
}

fn validate_replicas(map: &ClusterMap) -> Result<(), MapError> {
    let mut seen = BTreeSet::new();
    for (group, set) in &map.groups {
        let at = || format!("group {}", group.0);
        ensure(set.generation >= 1, at, || "generation 0; the first is 1".into())?;
        ensure(set.voters().next().is_some(), at, || "no voter".into())?;
        for ReplicaAt { replica, node, .. } in &set.replicas {
            ensure(map.members.contains_key(node), at, || format!("replica {replica} is on stranger {node}"))?;
            ensure(replica.0 != 0 && *replica < map.next_replica, at, || {
                format!("replica {replica} was never given out (next is {})", map.next_replica)
            })?;
            ensure(seen.insert(*replica), at, || format!("replica {replica} is there twice"))?;
        }
        for ReplicaAt { replica, node, .. } in &set.founders {
            let known = map.members.contains_key(node) && replica.0 != 0 && *replica < map.next_replica;
            ensure(known, at, || format!("its founder {replica} was never given out, or is on a stranger"))?;
        }
    }
    Ok(())
}

impl From<&ClusterMap> for v1::ClusterMap {
    fn from(map: &ClusterMap) -> Self {
        let ClusterMap {
            uid,
            version,
            feature_level,
            num_shards,
            slot_hash,
            replication_factor,
            members,
            groups,
            next_replica,
            settings,
            migrations,
            next_migration,
        } = map;
        Self {
            uid: uid.to_bytes(),
            version: *version,
            feature_level: *feature_level,
            num_shards: *num_shards,
            replication_factor: *replication_factor,
            slot_hash: match slot_hash {
                SlotHash::Crc16 => 0,
                SlotHash::XxHash64 => 1,
            },
            members: members.iter().map(|(node, member)| member_to(*node, member)).collect(),
            groups: groups.iter().map(|(group, set)| group_to(*group, set)).collect(),
            next_replica: next_replica.0,
            settings: Some(settings_to(settings)),
            migrations: migrations.values().map(migration_to).collect(),
            next_migration: next_migration.0,
        }
    }
}

fn migration_to(migration: &Migration) -> v1::Migration {
    let Migration { id, group, incoming, outgoing, learner, promoted, phase, reason, cancelled, started_ms, left } =
        *migration;
    v1::Migration {
        id: id.0,
        group: group.0,
        incoming: incoming.map_or(0, |replica| replica.0),
        outgoing: outgoing.map_or(0, |replica| replica.0),
        learner,
        phase: phase_to(phase),
        reason: reason_to(reason),
        cancelled,
        started_ms,
        promoted,
        left_node: left.map_or(0, |left| left.node.0),
        left_incarnation: left.map(|left| left.incarnation.to_bytes()).unwrap_or_default(),
        left_version: left.map_or(0, |left| left.version),
    }
}

/// A member on the wire.
pub(in crate::cluster) fn member_to(node: NodeId, member: &Member) -> v1::Member {
    let Member { incarnation, address, host, zone, state, levels, client_address } = member;
    v1::Member {
        node: node.0,
        incarnation: incarnation.to_bytes(),
        address: address.clone(),
        host: host.clone(),
        zone: zone.clone(),
        state: state_to(*state),
        min_level: levels.min,
        max_level: levels.max,
        client_address: client_address.clone(),
    }
}

fn group_to(group: GroupId, set: &ReplicaSet) -> v1::ReplicaSet {
    let ReplicaSet { generation, replicas, changes, conf_version, founders } = set;
    v1::ReplicaSet {
        group: group.0,
        generation: *generation,
        changes: *changes,
        conf_version: *conf_version,
        replicas: replicas.iter().map(replica_to).collect(),
        founders: founders.iter().map(replica_to).collect(),
    }
}

fn replica_to(at: &ReplicaAt) -> v1::ReplicaAt {
    let ReplicaAt { replica, node, incarnation, learner } = at;
    v1::ReplicaAt { replica: replica.0, node: node.0, incarnation: incarnation.to_bytes(), learner: *learner }
}

/// Shared settings on the wire.
pub(in crate::cluster) fn settings_to(settings: &SharedSettings) -> v1::SharedSettings {
    let SharedSettings {
        capacity,
        eviction,
        default_ttl_ms,
        max_clock_skew_ms,
        migration_concurrency,
        migration_bytes_per_s,
        migrations_paused,
        repair_after_ms,
    } = *settings;
    v1::SharedSettings {
        max_entries_per_shard: capacity.max_entries,
        max_bytes_per_shard: capacity.max_bytes,
        default_ttl_ms: default_ttl_ms.unwrap_or(0),
        eviction: match eviction {
            EvictionPolicy::TinyLfu => 0,
            EvictionPolicy::Lru => 1,
        },
        max_clock_skew_ms,
        migration_concurrency,
        migration_bytes_per_s: migration_bytes_per_s.unwrap_or(0),
        migrations_paused,
        repair_after_ms: repair_after_ms.unwrap_or(0),
    }
}
