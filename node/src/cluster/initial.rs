//! The first map of a cluster: which replica begins where (pure).
//!
//! Called by `formation` when every listed peer has promised, by `--bootstrap` and by `dev`. Later placement is
//! the planner's.

use std::collections::BTreeMap;

use crate::{
    cluster::map::{ClusterMap, FIRST_FEATURE_LEVEL, MAX_META_VOTERS, Member, ReplicaAt, ReplicaSet, SharedSettings},
    partitioning::{SLOTS, SlotHash},
    types::{ClusterUid, GroupId, MigrationId, NodeId, ReplicaId},
};

/// What the user decides about a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// How many shards: 1 to 16,384.
    pub num_shards: u32,
    /// How keys become slots.
    pub slot_hash: SlotHash,
    /// Voters of each shard: 1 to the number of members; odd, or the last one only costs.
    pub replication_factor: u32,
    /// What all replicas must agree on.
    pub settings: SharedSettings,
}

/// Why there can be no such cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Shards are too few or too many.
    #[error("num_shards is {value}; it must be between 1 and {SLOTS}")]
    NumShards {
        /// What was asked for.
        value: u32,
    },
    /// More replicas than nodes, or none.
    #[error("replication_factor is {value}; with {members} members it must be between 1 and {members}")]
    ReplicationFactor {
        /// What was asked for.
        value: u32,
        /// How many members there are.
        members: usize,
    },
    /// The members' binaries have no common feature level.
    #[error("no feature level suits every member: node {node} supports {min} to {max}, the others allow {level}")]
    FeatureLevels {
        /// Who can't take part.
        node: NodeId,
        /// Its lowest level.
        min: u32,
        /// Its highest level.
        max: u32,
        /// The highest level that all others support.
        level: u32,
    },
}

impl ClusterSpec {
    /// Whether a cluster of so many members can be like this.
    pub fn validate(&self, members: usize) -> Result<(), SpecError> {
        let value = self.num_shards;
        if !(1..=u32::from(SLOTS)).contains(&value) {
            return Err(SpecError::NumShards { value });
        }
        let value = self.replication_factor;
        if value == 0 || value as usize > members {
            return Err(SpecError::ReplicationFactor { value, members });
        }
        Ok(())
    }

    /// What is allowed but hardly meant.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let factor = self.replication_factor;
        factor.is_multiple_of(2).then(|| {
            format!("replication_factor is {factor}: no more failures are survived than with {}", factor - 1)
        })
    }
}

/// The map that a cluster of these members begins with.
///
/// Replicas go round robin over the nodes, neighbours in different zones and on different hosts as far as
/// possible. The first replica of each set is where its leader should be; it moves on by one node with each group.
pub fn initial_map(
    uid: ClusterUid,
    spec: &ClusterSpec,
    members: BTreeMap<NodeId, Member>,
) -> Result<ClusterMap, SpecError> {
    spec.validate(members.len())?;
    let feature_level = common_level(&members)?;
    let ring = spread(&members);
    let mut next_replica = ReplicaId(1);
    let groups = (0..=spec.num_shards)
        .map(|group| (GroupId(group), first_set(GroupId(group), spec, &ring, &members, &mut next_replica)))
        .collect();
    Ok(ClusterMap {
        uid,
        version: 1,
        feature_level,
        num_shards: spec.num_shards,
        slot_hash: spec.slot_hash,
        replication_factor: spec.replication_factor,
        members,
        groups,
        next_replica,
        settings: spec.settings,
        migrations: BTreeMap::new(),
        next_migration: MigrationId(1),
    })
}

/// The highest level that every member supports.
fn common_level(members: &BTreeMap<NodeId, Member>) -> Result<u32, SpecError> {
    let level = members.values().map(|member| member.levels.max).min().unwrap_or(FIRST_FEATURE_LEVEL);
    match members.iter().find(|(_, member)| !member.levels.supports(level)) {
        None => Ok(level),
        Some((node, Member { levels, .. })) => {
            Err(SpecError::FeatureLevels { node: *node, min: levels.min, max: levels.max, level })
        }
    }
}

fn first_set(
    group: GroupId,
    spec: &ClusterSpec,
    ring: &[NodeId],
    members: &BTreeMap<NodeId, Member>,
    next: &mut ReplicaId,
) -> ReplicaSet {
    let (size, voters) = match group.shard() {
        Some(_) => (spec.replication_factor as usize, spec.replication_factor as usize),
        None => (ring.len(), MAX_META_VOTERS),
    };
    let replicas = (0..size)
        .map(|place| {
            let replica = *next;
            next.0 += 1;
            let node = ring[(group.0 as usize + place) % ring.len()];
            ReplicaAt { replica, node, incarnation: members[&node].incarnation, learner: place >= voters }
        })
        .collect();
    ReplicaSet { generation: 1, replicas, ..ReplicaSet::default() }
}

/// The nodes in an order where neighbours differ in zone, and within a zone in host, as far as the counts allow.
fn spread(members: &BTreeMap<NodeId, Member>) -> Vec<NodeId> {
    let by_host = interleave(members.keys().copied().collect(), |node| members[node].host.as_str());
    interleave(by_host, |node| members[node].zone.as_str())
}

/// Takes one of each kind in turn; within a kind the order stays.
fn interleave<'a>(nodes: Vec<NodeId>, kind: impl Fn(&NodeId) -> &'a str) -> Vec<NodeId> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, NodeId)> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let turn = taken.entry(kind(&node)).or_default();
        turns.push((*turn, node));
        *turn += 1;
    }
    turns.sort_by_key(|(turn, node)| (*turn, kind(node)));
    turns.into_iter().map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests;
