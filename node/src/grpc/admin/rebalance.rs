//! `Rebalance`: what the planner would do now, shown or begun.

use crema_api::v1;

use super::{AdminService, Administer, check_version, expected};
use crate::{
    cluster::{
        ClusterMap,
        command::{Incoming, MetaCommand},
    },
    grpc::failure::Failure,
    placement::{self, Health, Plan},
    types::{GroupId, NodeId, ReplicaId},
};

impl<N: Administer> AdminService<N> {
    pub(super) async fn rebalance_by(
        &self,
        health: &Health,
        ask: v1::RebalanceRequest,
    ) -> Result<v1::RebalanceResponse, Failure> {
        let v1::RebalanceRequest { dry_run, expected_version } = ask;
        let mut map = self.map()?;
        check_version(&map, expected(expected_version))?;
        let Plan { actions, mut waiting_on } = placement::plan(&map, health);
        let planned: Vec<v1::PlannedAction> = actions.iter().map(|action| describe(&map, action)).collect();
        let mut begun = 0;
        if !dry_run {
            for action in actions {
                // Each builds on the one before: on a map that moves on by other hands the plan is no longer sound.
                match self.commit(action, Some(map.version)).await {
                    Ok(newer) => map = newer,
                    Err(Failure::Declined(reason)) => {
                        waiting_on.push(format!("the rest is planned anew: {reason}"));
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
                begun += 1;
            }
        }
        let shown = if dry_run { planned.len() } else { begun };
        let actions = planned.into_iter().take(shown).collect();
        Ok(v1::RebalanceResponse { map_version: map.version, actions, waiting_on })
    }
}

/// An action of the planner in words.
fn describe(map: &ClusterMap, action: &MetaCommand) -> v1::PlannedAction {
    match action {
        MetaCommand::StartMigration { group, incoming, outgoing, learner, reason } => {
            let to = match incoming {
                Incoming::None => None,
                Incoming::New(node) => Some(*node),
                Incoming::Promote(replica) => map.node_of(*group, *replica),
            };
            let from = outgoing.and_then(|replica| map.node_of(*group, replica));
            let what = migration(*group, from, to, matches!(incoming, Incoming::Promote(_)), *learner);
            placed("start", format!("{what} ({})", reason.name()), Some(*group), from, to)
        }
        MetaCommand::CancelMigration(id) => {
            let group = map.migrations.get(id).map(|migration| migration.group);
            placed("cancel", format!("cancel migration {id}"), group, None, None)
        }
        MetaCommand::Prefer { group, replica } => prefer(map, *group, *replica),
        MetaCommand::SetState { node, state, .. } => {
            placed("set-state", format!("node {node} becomes {}", state.name()), None, None, Some(*node))
        }
        // The planner gives none of these (its contract); shown as they are rather than hidden.
        MetaCommand::Join { .. }
        | MetaCommand::AdvanceMigration { .. }
        | MetaCommand::SetSettings(_)
        | MetaCommand::SetReplicationFactor(_)
        | MetaCommand::ResetShards { .. }
        | MetaCommand::RaiseFeatureLevel(_) => placed("other", format!("{action:?}"), None, None, None),
    }
}

fn prefer(map: &ClusterMap, group: GroupId, replica: ReplicaId) -> v1::PlannedAction {
    let to = map.node_of(group, replica);
    let from = map.groups.get(&group).and_then(|set| set.replicas.first()).map(|at| at.node);
    let node = to.map_or_else(|| "an unknown node".to_owned(), |node| format!("node {node}"));
    placed("prefer", format!("{group} should be led by {node}"), Some(group), from, to)
}

fn migration(group: GroupId, from: Option<NodeId>, to: Option<NodeId>, promoted: bool, learner: bool) -> String {
    let kind = if learner { "learner" } else { "voter" };
    match (from, to, promoted) {
        (Some(from), Some(to), false) => format!("{group}: move a {kind} from node {from} to node {to}"),
        (Some(from), Some(to), true) => format!("{group}: node {to} votes instead of node {from}"),
        (None, Some(to), true) => format!("{group}: the learner on node {to} votes"),
        (None, Some(to), false) => format!("{group}: a new {kind} on node {to}"),
        (Some(from), None, _) => format!("{group}: the replica on node {from} goes"),
        (None, None, _) => format!("{group}: nothing"),
    }
}

fn placed(
    kind: &str,
    what: String,
    group: Option<GroupId>,
    from: Option<NodeId>,
    to: Option<NodeId>,
) -> v1::PlannedAction {
    v1::PlannedAction {
        kind: kind.to_owned(),
        what,
        shard: group.and_then(GroupId::shard),
        from_node: from.map_or(0, |node| node.0),
        to_node: to.map_or(0, |node| node.0),
    }
}
