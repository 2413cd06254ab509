//! From what a node tells about itself and its cluster to the messages of Admin.

use crema_api::v1;

use crate::multiraft::introspect::{
    FollowerStatus, MemberStatus, MigrationProgress, NodeStatus, PeerStatus, ShardStatus,
};

pub(super) fn status_response(status: NodeStatus, map_version: u64, meta_leader: u64) -> v1::StatusResponse {
    let NodeStatus {
        node,
        address,
        incarnation,
        cluster_uid,
        version,
        feature_level,
        state,
        reason,
        peers,
        shards,
        uptime_ms,
    } = status;
    let peer = |p: PeerStatus| v1::PeerReport { node: p.node, address: p.address, connected: p.connected };
    v1::StatusResponse {
        node,
        address,
        incarnation,
        cluster_uid: cluster_uid.unwrap_or_default(),
        version,
        feature_level,
        state: state.name().into(),
        reason,
        peers: peers.into_iter().map(peer).collect(),
        shards: Some(v1::ShardTotals {
            total: shards.total,
            local: shards.local,
            led: shards.led,
            leaderless: shards.leaderless,
        }),
        uptime_ms,
        map_version,
        meta_leader,
    }
}

pub(super) fn shard_report(status: ShardStatus) -> v1::ShardReport {
    let ShardStatus {
        shard,
        leader,
        term,
        commit,
        applied,
        last,
        voters,
        learners,
        replica,
        role,
        asleep,
        entries,
        bytes,
        state_hash,
        followers,
        health,
        ops_per_second,
    } = status;
    let follower =
        |f: FollowerStatus| v1::FollowerReport { node: f.node, match_index: f.matched, lag_entries: f.lag_entries };
    v1::ShardReport {
        shard,
        leader: leader.unwrap_or_default(),
        term,
        commit_index: commit,
        applied_index: applied,
        last_index: last,
        voters,
        learners,
        replica,
        role: role.name().into(),
        asleep,
        entries,
        bytes,
        state_hash,
        followers: followers.into_iter().map(follower).collect(),
        health: health.into(),
        ops_per_second,
    }
}

pub(super) fn member_report(status: MemberStatus) -> v1::MemberReport {
    let MemberStatus {
        node,
        state,
        address,
        client_address,
        host,
        zone,
        incarnation,
        voters,
        learners,
        preferred,
        leads,
        replicas,
        silent_ms,
        used_bytes,
        limit_bytes,
        map_version,
    } = status;
    v1::MemberReport {
        node,
        state: state.into(),
        address,
        client_address,
        host,
        zone,
        incarnation,
        voters,
        learners,
        preferred,
        silent_ms,
        used_bytes,
        limit_bytes,
        map_version,
        leads,
        replicas,
    }
}

pub(super) fn migration_report(progress: MigrationProgress) -> v1::MigrationReport {
    let MigrationProgress {
        migration,
        shard,
        phase,
        reason,
        cancelled,
        from,
        to,
        started_ms,
        entries,
        total_entries,
        bytes,
        total_bytes,
        eta_ms,
    } = progress;
    v1::MigrationReport {
        migration,
        shard,
        phase: phase.into(),
        reason: reason.into(),
        cancelled,
        from_node: from.unwrap_or_default(),
        to_node: to.unwrap_or_default(),
        started_ms,
        entries,
        total_entries,
        bytes,
        total_bytes,
        eta_ms,
    }
}
