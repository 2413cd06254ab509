//! What the replicas of this node lack before clients should be sent here (DESIGN 8). Local facts only: the loss of a
//! leader or of another node is never one.

use crate::{
    cluster::map::{ClusterMap, MemberState, Reason, ReplicaAt, ReplicaSet},
    consensus::FIRST_INDEX,
    multiraft::{
        node::{GroupStatus, Health},
        runtime::Board,
    },
    types::{GroupId, Incarnation, NodeId, ReplicaId},
};

/// A replica that is this close to the end of what is committed has caught up.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// A replica that this node must have before it is ready.
#[derive(Debug, PartialEq, Eq)]
enum Owed {
    /// It is here, or should be.
    Here(ReplicaId),
    /// It comes in the place of one that is dead, and does not vote yet.
    Rebuilding,
    /// An earlier life of this node held it; nothing has taken its place yet.
    Lost,
}

/// What is missing, in plain words.
pub(super) fn lacking(map: &ClusterMap, node: NodeId, incarnation: Incarnation, board: &Board) -> Vec<String> {
    // In order of groups; asked for several times a second, so no set is built.
    let owed: Vec<(GroupId, Owed)> = map
        .groups
        .iter()
        .filter_map(|(group, set)| Some((*group, owed_in(map, *group, set, node, incarnation)?)))
        .collect();
    let place = |group: GroupId| owed.binary_search_by_key(&group, |(group, _)| *group).ok();
    let mut is_here = vec![false; owed.len()];
    let mut lacking = Vec::new();
    if place(GroupId::META).is_none() {
        let drained = map.members.get(&node).is_some_and(|member| member.state == MemberState::Draining);
        lacking.push(match drained {
            true => "it is drained: it holds nothing any more, and can be removed".to_owned(),
            false => "no replica of the meta group yet: the map may be old".to_owned(),
        });
    }
    board.for_each(|status| {
        if let Some(at) = place(status.group) {
            is_here[at] |= owed[at].1 == Owed::Here(status.replica);
        }
        lacking.extend(lack(status));
    });
    let missing = owed.iter().zip(is_here).filter(|(_, here)| !here);
    lacking.extend(missing.map(|((group, owed), _)| match owed {
        Owed::Here(_) => format!("{group} has not started"),
        Owed::Rebuilding => format!("{group} is being rebuilt"),
        Owed::Lost => format!("{group} was lost with an earlier life of this node and is not replaced yet"),
    }));
    lacking
}

/// What a group owes this node. Replicas that are only moving here (balance, a drain elsewhere) are not owed: a node that
/// serves stays ready while it gets more to do.
fn owed_in(
    map: &ClusterMap,
    group: GroupId,
    set: &ReplicaSet,
    node: NodeId,
    incarnation: Incarnation,
) -> Option<Owed> {
    let at = set.on(node)?;
    if at.incarnation != incarnation {
        return Some(Owed::Lost);
    }
    let coming = map.migration_of(group).filter(|migration| migration.incoming == Some(at.replica));
    match coming {
        Some(migration) if at.learner && !migration.learner => match migration.reason {
            Reason::Repair => Some(Owed::Rebuilding),
            Reason::Drain | Reason::Balance | Reason::Asked | Reason::Meta => here_if_meta(group, at),
        },
        Some(_) | None => Some(Owed::Here(at.replica)),
    }
}

/// The meta group's replica is owed in any case: the map comes by it.
fn here_if_meta(group: GroupId, at: &ReplicaAt) -> Option<Owed> {
    (group == GroupId::META).then_some(Owed::Here(at.replica))
}

/// Why a replica that is here can't be counted on; `None` when it can.
fn lack(status: &GroupStatus) -> Option<String> {
    let group = status.group;
    match &status.health {
        Health::Serving => {}
        Health::Corrupt { index } => return Some(format!("{group} differs from its peers since entry {index}")),
        Health::Stopped { reason } => return Some(format!("{group} has stopped: {reason}")),
    }
    let behind = status.commit.0.saturating_sub(status.applied.0);
    match status.applied {
        applied if applied <= FIRST_INDEX => Some(format!("{group} has heard of no leader yet")),
        _ if behind > CAUGHT_UP_ENTRIES => Some(format!("{group} is {behind} entries behind")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{
            ClusterSpec,
            initial::initial_map,
            map::{Member, MemberState, Migration, Phase, SUPPORTED_LEVELS, SharedSettings},
        },
        partitioning::SlotHash,
        types::{ClusterUid, MigrationId},
    };

    const NODE: NodeId = NodeId(2);
    const LIFE: Incarnation = Incarnation(2);
    const GROUP: GroupId = GroupId(1);

    fn map() -> ClusterMap {
        let member = |node: u64| Member {
            incarnation: Incarnation(node.into()),
            address: format!("node-{node}:7000"),
            host: String::new(),
            zone: String::new(),
            state: MemberState::Up,
            levels: SUPPORTED_LEVELS,
            client_address: String::new(),
        };
        let settings = SharedSettings::default();
        let spec = ClusterSpec { num_shards: 1, slot_hash: SlotHash::Crc16, replication_factor: 3, settings };
        let members = (1..=3).map(|node| (NodeId(node), member(node))).collect();
        initial_map(ClusterUid(1), &spec, members).expect("a sound spec")
    }

    /// The map with the replica on the node as a learner that a migration brings.
    fn incoming(reason: Reason) -> ClusterMap {
        let mut map = map();
        let set = map.groups.get_mut(&GROUP).expect("the shard");
        let at = set.replicas.iter_mut().find(|at| at.node == NODE).expect("a replica");
        at.learner = true;
        let migration = Migration {
            id: MigrationId(1),
            group: GROUP,
            incoming: Some(at.replica),
            outgoing: None,
            learner: false,
            phase: Phase::CatchUp,
            reason,
            cancelled: false,
            started_ms: 0,
            promoted: false,
            left: None,
        };
        map.migrations.insert(migration.id, migration);
        map
    }

    fn owed(map: &ClusterMap, incarnation: Incarnation) -> Option<Owed> {
        owed_in(map, GROUP, &map.groups[&GROUP], NODE, incarnation)
    }

    #[test]
    fn what_is_rebuilt_is_owed_and_what_only_moves_here_is_not() {
        let replica = map().groups[&GROUP].on(NODE).expect("a replica").replica;
        assert_eq!(owed(&map(), LIFE), Some(Owed::Here(replica)));
        assert_eq!(owed(&map(), Incarnation(9)), Some(Owed::Lost));
        assert_eq!(owed(&incoming(Reason::Repair), LIFE), Some(Owed::Rebuilding));
        for reason in [Reason::Balance, Reason::Drain, Reason::Asked] {
            assert_eq!(owed(&incoming(reason), LIFE), None, "{reason:?}");
        }
    }
}
