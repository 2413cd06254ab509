//! The cluster as a whole, in the words of `/status`, Admin and `cremactl`: members, migrations, what ails it (pure).
//!
//! Made from the map, which every node has, and from what the meta leader alone knows. Elsewhere the latter is
//! missing, and so are the numbers that come from it. Nothing here decides anything.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    cluster::{
        ClusterMap,
        map::{Member, Migration},
    },
    multiraft::node::Governing,
    placement::{GroupHealth, Health},
    types::{GroupId, NodeId, ReplicaId, ShardId},
};

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// The version of this node's copy of the map.
    pub map_version: u64,
    /// How many voters each shard should have.
    pub replication_factor: u32,
    /// The node that leads the meta group, as far as this one knows.
    pub meta_leader: Option<u64>,
    /// The members, those that left included.
    pub members: Vec<MemberStatus>,
    /// Changes of replica sets that are under way.
    pub migrations: Vec<MigrationProgress>,
    /// Whether migrations are paused.
    pub migrations_paused: bool,
    /// Shards with fewer living voters than they should have.
    pub under_replicated: Vec<ShardId>,
    /// Why the planner does nothing more now; `None` on nodes that don't lead the meta group.
    pub waiting_on: Option<Vec<String>>,
}

/// A member as the map has it, with what was heard of it where that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its number.
    pub node: u64,
    /// `joining`, `up`, `draining`, `down` or `removed`.
    pub state: &'static str,
    /// Its gRPC door.
    pub address: String,
    /// Its RESP door; empty when it has none.
    pub client_address: String,
    /// Where it runs; empty when unknown.
    pub host: String,
    /// Its zone; empty when unknown.
    pub zone: String,
    /// The life of its data, 32 hex digits.
    pub incarnation: String,
    /// Shards with a voter on it.
    pub voters: u32,
    /// Shards with a learner on it.
    pub learners: u32,
    /// Shards whose leadership should be on it.
    pub preferred: u32,
    /// Shards that it leads, by their last report.
    pub leads: u32,
    /// Replicas of all groups on it, the meta group included: what a drain has to move.
    pub replicas: u32,
    /// Milliseconds since the meta leader heard of it.
    pub silent_ms: Option<u64>,
    /// Bytes that its replicas hold.
    pub used_bytes: Option<u64>,
    /// Bytes that they may hold.
    pub limit_bytes: Option<u64>,
    /// The version of its copy of the map.
    pub map_version: Option<u64>,
}

/// How far a change of one group's replicas is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationProgress {
    /// Its number.
    pub migration: u64,
    /// The shard; `None` for the meta group.
    pub shard: Option<ShardId>,
    /// `add-learner`, `catch-up`, `joint-swap`, `leave-joint` or `cleanup`.
    pub phase: &'static str,
    /// `repair`, `drain`, `balance`, `asked` or `meta`.
    pub reason: &'static str,
    /// It is being rolled back.
    pub cancelled: bool,
    /// The node whose replica goes.
    pub from: Option<u64>,
    /// The node whose replica comes.
    pub to: Option<u64>,
    /// When it began, in ms since the Unix epoch.
    pub started_ms: u64,
    /// Entries of the log that the incoming replica has.
    pub entries: u64,
    /// Entries that the leader's log ends with; 0 while no leader has reported.
    pub total_entries: u64,
    /// Bytes of the state that the incoming replica has: all once its snapshot is there.
    pub bytes: u64,
    /// Bytes of the state.
    pub total_bytes: u64,
    /// Milliseconds until the copy is complete, at the present pace; `None` when that can't be told.
    pub eta_ms: Option<u64>,
}

impl ClusterStatus {
    /// The cluster by a map, and by what the meta leader knows if this node is it. `now_ms` is the wall clock.
    #[must_use]
    pub fn new(map: &ClusterMap, meta_leader: Option<NodeId>, governing: Option<&Governing>, now_ms: u64) -> Self {
        Self {
            map_version: map.version,
            replication_factor: map.replication_factor,
            meta_leader: meta_leader.map(|node| node.0),
            members: members(map, governing.map(|governing| &governing.health)),
            migrations: migrations(map, governing.map(|governing| &governing.health), now_ms),
            migrations_paused: map.settings.migrations_paused,
            under_replicated: under_replicated(map),
            waiting_on: governing.map(|governing| governing.waiting_on.clone()),
        }
    }
}

/// The members of a map, ascending; removed ones included.
#[must_use]
pub fn members(map: &ClusterMap, health: Option<&Health>) -> Vec<MemberStatus> {
    let mut counts: BTreeMap<NodeId, [u32; 4]> = BTreeMap::new();
    for (group, set) in map.groups.iter().filter(|(group, _)| group.shard().is_some()) {
        for (place, at) in set.replicas.iter().enumerate() {
            let [voters, learners, preferred, leads] = counts.entry(at.node).or_default();
            *voters += u32::from(!at.learner);
            *learners += u32::from(at.learner);
            *preferred += u32::from(place == 0);
            let leader = health.and_then(|health| health.groups.get(group)).map(|group| group.leader);
            *leads += u32::from(leader == Some(at.replica));
        }
    }
    let status = |(node, member): (&NodeId, &Member)| {
        let heard = health.and_then(|health| health.nodes.get(node));
        let [voters, learners, preferred, leads] = counts.get(node).copied().unwrap_or_default();
        MemberStatus {
            node: node.0,
            state: member.state.name(),
            address: member.address.clone(),
            client_address: member.client_address.clone(),
            host: member.host.clone(),
            zone: member.zone.clone(),
            incarnation: member.incarnation.to_string(),
            voters,
            learners,
            preferred,
            leads,
            replicas: map.groups.values().flat_map(|set| &set.replicas).filter(|at| at.node == *node).count() as u32,
            silent_ms: heard.map(|heard| heard.silent_ms),
            used_bytes: heard.map(|heard| heard.used_bytes),
            limit_bytes: heard.and_then(|heard| heard.limit_bytes),
            map_version: heard.map(|heard| heard.map_version),
        }
    };
    map.members.iter().map(status).collect()
}

/// The migrations of a map, oldest first.
#[must_use]
pub fn migrations(map: &ClusterMap, health: Option<&Health>, now_ms: u64) -> Vec<MigrationProgress> {
    let of = |group: &GroupId| health.and_then(|health| health.groups.get(group));
    map.migrations.values().map(|migration| progress(map, migration, of(&migration.group), now_ms)).collect()
}

fn progress(map: &ClusterMap, migration: &Migration, group: Option<&GroupHealth>, now_ms: u64) -> MigrationProgress {
    let node = |replica: Option<ReplicaId>| Some(map.node_of(migration.group, replica?)?.0);
    let incoming = migration.incoming.and_then(|incoming| group?.peers.get(&incoming).copied());
    let (last, total_bytes) = group.map_or((0, 0), |group| (group.last, group.bytes));
    // Without a replica that comes there is nothing to copy.
    let (matched, whole) = match (migration.incoming, incoming) {
        (None, _) => (last, true),
        (Some(_), None) => (0, false),
        (Some(_), Some(peer)) => (peer.matched.min(last), peer.matched > 0 && !peer.snapshot),
    };
    // Its replica has left the set by then.
    let left = migration.left.filter(|_| !migration.cancelled).map(|left| left.node.0);
    let elapsed_ms = now_ms.saturating_sub(migration.started_ms);
    MigrationProgress {
        migration: migration.id.0,
        shard: migration.group.shard(),
        phase: migration.phase.name(),
        reason: migration.reason.name(),
        cancelled: migration.cancelled,
        from: node(migration.outgoing).or(left),
        to: node(migration.incoming),
        started_ms: migration.started_ms,
        entries: matched,
        total_entries: last,
        bytes: if whole { total_bytes } else { 0 },
        total_bytes,
        eta_ms: group.and_then(|_| match whole {
            true => remaining_ms(matched, last, elapsed_ms),
            // What a limit on snapshots leaves is the least that it takes.
            false => Some(total_bytes.saturating_mul(1_000) / map.settings.migration_bytes_per_s?),
        }),
    }
}

/// The rest of a copy that took `elapsed_ms` for its first `done` of `total` entries.
fn remaining_ms(done: u64, total: u64, elapsed_ms: u64) -> Option<u64> {
    let left = u128::from(total - done.min(total)) * u128::from(elapsed_ms);
    u64::try_from(left.checked_div(u128::from(done))?).ok()
}

/// The shards that have fewer living voters than they should, ascending.
#[must_use]
pub fn under_replicated(map: &ClusterMap) -> Vec<ShardId> {
    let lacking = |(group, _): &(&GroupId, _)| living_voters(map, **group) < map.replication_factor as usize;
    map.groups.iter().filter(lacking).filter_map(|(group, _)| group.shard()).collect()
}

fn living_voters(map: &ClusterMap, group: GroupId) -> usize {
    map.groups.get(&group).map_or(0, |set| set.voters().filter(|at| map.is_alive(at)).count())
}

#[cfg(test)]
mod tests;
