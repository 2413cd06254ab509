//! The map as it travels and rests (`crema.v1.ClusterMap`), and what makes foreign bytes a valid map.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1;

use crate::{
    cluster::map::{ClusterMap, FeatureLevels, Member, MemberState, ReplicaAt, ReplicaSet, SharedSettings},
    machine::store::{Capacity, EvictionPolicy},
    partitioning::{SLOTS, SlotHash},
    types::{ClusterUid, GroupId, Incarnation, NodeId, ReplicaId},
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
    let state = match state {
        0 => MemberState::Joining,
        1 => MemberState::Up,
        2 => MemberState::Draining,
        3 => MemberState::Down,
        4 => MemberState::Removed,
        other => return Err(wrong(at("state"), format!("{other} is unknown"))),
    };
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
    let v1::ReplicaSet { group, generation, replicas } = wire;
    let replicas = replicas
        .into_iter()
        .map(|v1::ReplicaAt { replica, node, learner }| ReplicaAt {
            replica: ReplicaId(replica),
            node: NodeId(node),
            learner,
        })
        .collect();
    Ok((GroupId(group), ReplicaSet { generation, replicas }))
}

fn slot_hash_from(wire: u32) -> Result<SlotHash, MapError> {
    match wire {
        0 => Ok(SlotHash::Crc16),
        1 => Ok(SlotHash::XxHash64),
        other => Err(wrong("slot_hash", format!("{other} is unknown"))),
    }
}

fn settings_from(wire: &v1::SharedSettings) -> Result<SharedSettings, MapError> {
    let v1::SharedSettings {
        max_entries_per_shard,
        max_bytes_per_shard,
        default_ttl_ms,
        eviction,
        max_clock_skew_ms,
    } = *wire;
    Ok(SharedSettings {
        capacity: Capacity { max_entries: max_entries_per_shard, max_bytes: max_bytes_per_shard },
        eviction: match eviction {
            0 => EvictionPolicy::TinyLfu,
            1 => EvictionPolicy::Lru,
            other => return Err(wrong("settings.eviction", format!("{other} is unknown"))),
        },
        default_ttl_ms: (default_ttl_ms != 0).then_some(default_ttl_ms),
        max_clock_skew_ms,
    })
}

/// What must hold between the fields. Placement is not judged here: a map in the middle of a repair is valid.
fn validate(map: &ClusterMap) -> Result<(), MapError> {
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
    validate_replicas(map)
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
        }
    }
}

fn member_to(node: NodeId, member: &Member) -> v1::Member {
    let Member { incarnation, address, host, zone, state, levels, client_address } = member;
    v1::Member {
        node: node.0,
        incarnation: incarnation.to_bytes(),
        address: address.clone(),
        host: host.clone(),
        zone: zone.clone(),
        state: match state {
            MemberState::Joining => 0,
            MemberState::Up => 1,
            MemberState::Draining => 2,
            MemberState::Down => 3,
            MemberState::Removed => 4,
        },
        min_level: levels.min,
        max_level: levels.max,
        client_address: client_address.clone(),
    }
}

fn group_to(group: GroupId, set: &ReplicaSet) -> v1::ReplicaSet {
    let ReplicaSet { generation, replicas } = set;
    v1::ReplicaSet {
        group: group.0,
        generation: *generation,
        replicas: replicas
            .iter()
            .map(|ReplicaAt { replica, node, learner }| v1::ReplicaAt {
                replica: replica.0,
                node: node.0,
                learner: *learner,
            })
            .collect(),
    }
}

fn settings_to(settings: &SharedSettings) -> v1::SharedSettings {
    let SharedSettings { capacity, eviction, default_ttl_ms, max_clock_skew_ms } = *settings;
    v1::SharedSettings {
        max_entries_per_shard: capacity.max_entries,
        max_bytes_per_shard: capacity.max_bytes,
        default_ttl_ms: default_ttl_ms.unwrap_or(0),
        eviction: match eviction {
            EvictionPolicy::TinyLfu => 0,
            EvictionPolicy::Lru => 1,
        },
        max_clock_skew_ms,
    }
}
