//! What the nodes' answers say together: one map, with who leads each group and how far the others are behind.
//!
//! Pure. The structure is that of one map alone, so that a change bound to its version is bound to all that was seen.

use std::collections::BTreeMap;

use crema_api::v1;
use crema_crds::spec::Eviction;

use crate::model::{
    ClusterUid, Group, GroupView, Incarnation, MapVersion, MapView, MemberState, MemberView, MigrationView, NodeId,
    SettingsView, VoterView,
};

/// What all nodes said, beside the map.
pub(super) struct Reports<'a> {
    /// Who leads the meta group, by the word of the one that gave the map; 0 is nobody.
    pub(super) meta_leader: NodeId,
    /// The shards as each node sees them.
    pub(super) shards: Vec<(NodeId, &'a [v1::ShardReport])>,
    /// Of each node's copy of the map.
    pub(super) map_versions: BTreeMap<NodeId, u64>,
}

/// A leader, and how far each other voter is behind it.
#[derive(Default)]
struct Leading {
    leader: Option<NodeId>,
    /// Not set when only a hint names the leader.
    lags: Option<BTreeMap<NodeId, u64>>,
}

/// The map of one node with what all of them report.
///
/// # Errors
/// What of the map is not understood: it is then of no use.
pub(super) fn map_view(
    map: v1::ClusterMap,
    nodes: &v1::NodesResponse,
    migrations: v1::MigrationsResponse,
    reports: &Reports<'_>,
) -> Result<MapView, String> {
    // Only the meta leader knows who is silent, and it steps down when no majority answers it.
    let by_leader = nodes.nodes.iter().any(|node| node.silent_ms.is_some());
    let settings = map.settings.ok_or("the map has no settings")?;
    let migrations_paused = settings.migrations_paused;
    Ok(MapView {
        uid: ClusterUid(hex(&map.uid)),
        version: MapVersion(map.version),
        confirmed: by_leader && nodes.map_version == map.version,
        replication_factor: map.replication_factor,
        settings: settings_view(&settings)?,
        members: members(&map.members, &map.groups)?,
        groups: map.groups.iter().map(|set| group_view(set, map.version, reports)).collect(),
        migrations: migrations.migrations.into_iter().map(migration_view).collect(),
        migrations_paused,
        waiting_on: migrations.waiting_on,
    })
}

fn settings_view(settings: &v1::SharedSettings) -> Result<SettingsView, String> {
    let eviction = match settings.eviction {
        0 => Eviction::TinyLfu,
        1 => Eviction::Lru,
        other => return Err(format!("the map has the eviction {other}, which this operator doesn't know")),
    };
    Ok(SettingsView {
        max_entries_per_shard: settings.max_entries_per_shard,
        max_bytes_per_shard: settings.max_bytes_per_shard,
        default_ttl_ms: settings.default_ttl_ms,
        eviction,
        migration_concurrency: settings.migration_concurrency,
        migration_bytes_per_s: settings.migration_bytes_per_s,
        repair_after_ms: settings.repair_after_ms,
    })
}

fn members(members: &[v1::Member], groups: &[v1::ReplicaSet]) -> Result<BTreeMap<NodeId, MemberView>, String> {
    let mut views = BTreeMap::new();
    for member in members {
        let state = member_state(member.state).ok_or_else(|| {
            format!("node {} has the state {}, which this operator doesn't know", member.node, member.state)
        })?;
        let here = groups.iter().flat_map(|set| &set.replicas).filter(|replica| replica.node == member.node);
        let view = MemberView {
            state,
            incarnation: Incarnation(hex(&member.incarnation)),
            zone: member.zone.clone(),
            replicas: u32::try_from(here.count()).unwrap_or(u32::MAX),
        };
        views.insert(NodeId(member.node), view);
    }
    Ok(views)
}

fn member_state(state: u32) -> Option<MemberState> {
    match state {
        0 => Some(MemberState::Joining),
        1 => Some(MemberState::Up),
        2 => Some(MemberState::Draining),
        3 => Some(MemberState::Down),
        4 => Some(MemberState::Removed),
        _ => None,
    }
}

fn group_view(set: &v1::ReplicaSet, newest: u64, reports: &Reports<'_>) -> (Group, GroupView) {
    // Group 0 is the meta group; a shard's group is one more than its number.
    let group = set.group.checked_sub(1).map_or(Group::Meta, Group::Shard);
    let Leading { leader, lags } = match group {
        Group::Meta => leads_meta(newest, reports),
        Group::Shard(shard) => leads_shard(shard, &reports.shards),
    };
    let voter = |replica: &v1::ReplicaAt| {
        let node = NodeId(replica.node);
        VoterView {
            node,
            incarnation: Incarnation(hex(&replica.incarnation)),
            lag_entries: lags.as_ref().and_then(|lags| lags.get(&node).copied()),
        }
    };
    let voters = set.replicas.iter().filter(|replica| !replica.learner).map(voter).collect();
    let learners =
        set.replicas.iter().filter(|replica| replica.learner).map(|replica| NodeId(replica.node)).collect();
    (group, GroupView { leader, voters, learners })
}

/// The meta group reports no lag. Each of its entries that matters is a new version of the map, so the versions tell it.
fn leads_meta(newest: u64, reports: &Reports<'_>) -> Leading {
    let leader = Some(reports.meta_leader).filter(|node| node.0 != 0);
    let behind = |(node, version): (&NodeId, &u64)| (*node, newest.saturating_sub(*version));
    Leading { leader, lags: Some(reports.map_versions.iter().map(behind).collect()) }
}

/// The leader of the highest term has the last word; without one, the newest hint.
fn leads_shard(shard: u32, reports: &[(NodeId, &[v1::ShardReport])]) -> Leading {
    let about = reports.iter().flat_map(|(node, reports)| reports.iter().map(move |report| (*node, report)));
    let mut about: Vec<(NodeId, &v1::ShardReport)> = about.filter(|(_, report)| report.shard == shard).collect();
    about.sort_by_key(|(_, report)| (report.role == "leader", report.term, report.replica != 0));
    match about.last() {
        Some((node, report)) if report.role == "leader" => {
            let mut lags: BTreeMap<NodeId, u64> =
                report.followers.iter().map(|follower| (NodeId(follower.node), follower.lag_entries)).collect();
            lags.insert(*node, 0);
            Leading { leader: Some(*node), lags: Some(lags) }
        }
        Some((_, report)) => Leading { leader: Some(NodeId(report.leader)).filter(|node| node.0 != 0), lags: None },
        None => Leading::default(),
    }
}

fn migration_view(report: v1::MigrationReport) -> MigrationView {
    let node = |node: u64| Some(NodeId(node)).filter(|node| node.0 != 0);
    MigrationView {
        group: report.shard.map_or(Group::Meta, Group::Shard),
        phase: report.phase,
        from: node(report.from_node),
        to: node(report.to_node),
        bytes: report.bytes,
        total_bytes: report.total_bytes,
        eta_ms: report.eta_ms,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node: u64, learner: bool) -> v1::ReplicaAt {
        v1::ReplicaAt { replica: node + 10, node, learner, incarnation: vec![node as u8; 16].into() }
    }

    fn map() -> v1::ClusterMap {
        let member = |node: u64, state| v1::Member {
            node,
            state,
            incarnation: vec![node as u8; 16].into(),
            zone: format!("z{node}"),
            ..v1::Member::default()
        };
        let set =
            |group, replicas: Vec<v1::ReplicaAt>| v1::ReplicaSet { group, replicas, ..v1::ReplicaSet::default() };
        v1::ClusterMap {
            uid: vec![0xab; 16].into(),
            version: 7,
            replication_factor: 3,
            members: vec![member(1, 1), member(2, 1), member(3, 2), member(4, 4)],
            groups: vec![
                set(0, vec![replica(1, false), replica(2, false), replica(3, true)]),
                set(1, vec![replica(1, false), replica(2, false), replica(3, false)]),
                set(2, vec![replica(2, false)]),
            ],
            settings: Some(v1::SharedSettings { eviction: 1, ..v1::SharedSettings::default() }),
            ..v1::ClusterMap::default()
        }
    }

    fn report(shard: u32, role: &str, term: u64, leader: u64, lags: &[(u64, u64)]) -> v1::ShardReport {
        let follower =
            |(node, lag): &(u64, u64)| v1::FollowerReport { node: *node, match_index: 0, lag_entries: *lag };
        v1::ShardReport {
            shard,
            role: role.to_owned(),
            term,
            leader,
            replica: 1,
            followers: lags.iter().map(follower).collect(),
            ..v1::ShardReport::default()
        }
    }

    fn view(
        map: v1::ClusterMap,
        nodes: &v1::NodesResponse,
        shards: &[(NodeId, Vec<v1::ShardReport>)],
    ) -> Result<MapView, String> {
        let reports = Reports {
            meta_leader: NodeId(1),
            shards: shards.iter().map(|(node, reports)| (*node, reports.as_slice())).collect(),
            map_versions: BTreeMap::from([(NodeId(1), 7), (NodeId(2), 5)]),
        };
        map_view(map, nodes, v1::MigrationsResponse::default(), &reports)
    }

    fn nodes(map_version: u64, silent_ms: Option<u64>) -> v1::NodesResponse {
        let node = v1::MemberReport { node: 1, silent_ms, ..v1::MemberReport::default() };
        v1::NodesResponse { nodes: vec![node], map_version }
    }

    #[test]
    fn a_map_is_confirmed_by_its_leader_at_its_version() {
        let confirmed = |nodes: &v1::NodesResponse| view(map(), nodes, &[]).expect("a map").confirmed;
        assert!(confirmed(&nodes(7, Some(0))));
        assert!(!confirmed(&nodes(7, None)), "nobody leads");
        assert!(!confirmed(&nodes(8, Some(0))), "a newer one is there");
    }

    #[test]
    fn members_and_replicas_are_counted() {
        let view = view(map(), &nodes(7, Some(0)), &[]).expect("a map");
        assert_eq!((view.uid.0.as_str(), view.version), ("abababababababababababababababab", MapVersion(7)));
        let states: Vec<_> = view.members.values().map(|member| (member.state, member.replicas)).collect();
        let expected =
            [(MemberState::Up, 2), (MemberState::Up, 3), (MemberState::Draining, 2), (MemberState::Removed, 0)];
        assert_eq!(states, expected);
        let meta = &view.groups[&Group::Meta];
        assert_eq!((meta.leader, &meta.learners), (Some(NodeId(1)), &vec![NodeId(3)]));
        assert_eq!(meta.voters.iter().map(|voter| voter.lag_entries).collect::<Vec<_>>(), [Some(0), Some(2)]);
    }

    #[test]
    fn the_leader_of_the_highest_term_is_believed() {
        let shards = [
            (NodeId(1), vec![report(0, "leader", 3, 1, &[(2, 9), (3, 9)])]),
            (NodeId(2), vec![report(0, "leader", 4, 2, &[(1, 0), (3, 5)]), report(1, "follower", 2, 0, &[])]),
            (NodeId(3), vec![report(0, "follower", 4, 1, &[])]),
        ];
        let view = view(map(), &nodes(7, Some(0)), &shards).expect("a map");
        let group = &view.groups[&Group::Shard(0)];
        assert_eq!(group.leader, Some(NodeId(2)));
        let lags: Vec<_> = group.voters.iter().map(|voter| voter.lag_entries).collect();
        assert_eq!(lags, [Some(0), Some(0), Some(5)]);
        let other = &view.groups[&Group::Shard(1)];
        assert_eq!((other.leader, other.voters[0].lag_entries), (None, None));
    }

    #[test]
    fn what_is_not_known_makes_no_map() {
        let mut strange = map();
        strange.members[0].state = 9;
        let error = view(strange, &nodes(7, Some(0)), &[]).expect_err("a strange state");
        assert_eq!(error, "node 1 has the state 9, which this operator doesn't know");
    }
}
