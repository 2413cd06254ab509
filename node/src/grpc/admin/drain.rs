//! `Drain`, `Undrain`, `Remove` and `MarkDown`: the ways of a node out of the cluster.

use std::sync::Arc;

use crema_api::v1;

use super::{ATTEMPTS, AdminService, Administer, CHANGE_TIMEOUT, PAUSE, changed, check_version, declined, expected};
use crate::{
    cluster::{
        ClusterMap,
        command::{MetaCommand, Refused},
        map::{Member, MemberState},
    },
    grpc::failure::{Failure, invalid},
    multiraft::govern::GovernError,
    placement::{self, DrainForecast, DrainMove, Health},
    types::{GroupId, Incarnation, NodeId},
};

/// So many groups are named in a refusal; the others are counted.
const NAMED_GROUPS: usize = 5;

impl<N: Administer> AdminService<N> {
    pub(super) async fn drain_nodes(
        &self,
        health: &Health,
        ask: v1::DrainRequest,
    ) -> Result<v1::DrainResponse, Failure> {
        let v1::DrainRequest { nodes, dry_run, expected_version } = ask;
        let mut nodes: Vec<NodeId> = nodes.into_iter().map(NodeId).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.is_empty() {
            return Err(invalid("nodes", "it is empty; name the nodes that are to be drained").into());
        }
        let map = self.map()?;
        check_version(&map, expected(expected_version))?;
        let mut answer = check_drain(&map, health, &nodes)?;
        if !dry_run {
            answer.map_version = self.begin_drain(map, health, nodes, expected_version != 0).await?;
        }
        Ok(answer)
    }

    /// Each commit holds for the very map that was judged: another drain meanwhile may have taken the room that this one
    /// needs. Gives the last map's version.
    async fn begin_drain(
        &self,
        mut map: Arc<ClusterMap>,
        health: &Health,
        mut nodes: Vec<NodeId>,
        is_exact: bool,
    ) -> Result<u64, Failure> {
        let mut attempt = 1;
        while let Some(node) = nodes.last().copied() {
            let incarnation = member(&map, "nodes", node)?.incarnation;
            let command = MetaCommand::SetState { node, incarnation, state: MemberState::Draining };
            match self.node.govern(command, Some(map.version), CHANGE_TIMEOUT).await {
                Ok(newer) => {
                    map = newer;
                    nodes.pop();
                }
                Err(GovernError::Refused(Refused::Version { .. })) if !is_exact && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                    map = self.map()?;
                    check_drain(&map, health, &nodes)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(map.version)
    }

    pub(super) async fn undrain_node(&self, ask: v1::UndrainRequest) -> Result<v1::ChangeResponse, Failure> {
        let v1::UndrainRequest { node, expected_version } = ask;
        let (node, map) = (NodeId(node), self.map()?);
        let version = expected(expected_version);
        check_version(&map, version)?;
        match member(&map, "node", node)?.state {
            MemberState::Up => Ok(changed(&map)),
            // A node that is joining is let in by this, should its cluster not do that by itself.
            MemberState::Draining | MemberState::Joining => {
                Ok(changed(&*self.set_state(&map, node, MemberState::Up, version).await?))
            }
            state @ (MemberState::Down | MemberState::Removed) => declined(format!(
                "node {node} is {}; only a node that is draining or joining can be undrained",
                state.name()
            )),
        }
    }

    pub(super) async fn remove_node(&self, ask: v1::RemoveRequest) -> Result<v1::ChangeResponse, Failure> {
        let v1::RemoveRequest { node, expected_version } = ask;
        let (node, map) = (NodeId(node), self.map()?);
        let version = expected(expected_version);
        check_version(&map, version)?;
        match member(&map, "node", node)?.state {
            MemberState::Removed => return Ok(changed(&map)),
            state @ (MemberState::Joining | MemberState::Up) => {
                return declined(format!("node {node} is {}; drain it before it is removed", state.name()));
            }
            MemberState::Draining | MemberState::Down => {}
        }
        let left: Vec<GroupId> = map.replicas_on(node).map(|(group, ..)| group).collect();
        if !left.is_empty() {
            return declined(format!(
                "node {node} still has {} replicas ({}); they are being moved, wait until it has none",
                left.len(),
                named(&left)
            ));
        }
        Ok(changed(&*self.set_state(&map, node, MemberState::Removed, version).await?))
    }

    pub(super) async fn mark_down_node(&self, ask: v1::MarkDownRequest) -> Result<v1::ChangeResponse, Failure> {
        let v1::MarkDownRequest { node, incarnation, expected_version } = ask;
        let not_hex = || invalid("incarnation", format!("{incarnation:?}; it has 32 hex digits"));
        let dead = Incarnation::from_hex(&incarnation).ok_or_else(not_hex)?;
        let (node, map) = (NodeId(node), self.map()?);
        let version = expected(expected_version);
        check_version(&map, version)?;
        let found = member(&map, "node", node)?;
        match found.state {
            _ if found.incarnation != dead => {
                declined(format!("node {node} is in its life {} by now, not in {dead}", found.incarnation))
            }
            // Nothing of it votes any more.
            MemberState::Down | MemberState::Removed => Ok(changed(&map)),
            MemberState::Joining | MemberState::Up | MemberState::Draining => {
                let command = MetaCommand::SetState { node, incarnation: dead, state: MemberState::Down };
                Ok(changed(&*self.commit(command, version).await?))
            }
        }
    }

    async fn set_state(
        &self,
        map: &ClusterMap,
        node: NodeId,
        state: MemberState,
        version: Option<u64>,
    ) -> Result<Arc<ClusterMap>, Failure> {
        let incarnation = member(map, "node", node)?.incarnation;
        self.commit(MetaCommand::SetState { node, incarnation, state }, version).await
    }
}

/// What a drain would move; refuses one that would leave too little.
fn check_drain(map: &ClusterMap, health: &Health, nodes: &[NodeId]) -> Result<v1::DrainResponse, Failure> {
    for node in nodes {
        drainable(*node, member(map, "nodes", *node)?)?;
    }
    let forecast = placement::preflight_drain(map, health, nodes);
    let forecast = forecast.or_else(|refusal| declined(format!("{}: {refusal}", named_nodes(nodes))))?;
    Ok(describe(map, health, nodes, forecast))
}

/// The member of this number, or what would be one.
pub(super) fn member<'a>(map: &'a ClusterMap, field: &'static str, node: NodeId) -> Result<&'a Member, Failure> {
    let gone = |member: &&Member| member.state != MemberState::Removed;
    map.members.get(&node).ok_or_else(|| {
        let known: Vec<String> =
            map.members.iter().filter(|(_, member)| gone(member)).map(|(node, _)| node.to_string()).collect();
        invalid(field, format!("there is no node {node}; the members are {}", known.join(", "))).into()
    })
}

fn drainable(node: NodeId, member: &Member) -> Result<(), Failure> {
    match member.state {
        MemberState::Up | MemberState::Draining => Ok(()),
        MemberState::Joining => declined(format!("node {node} is joining; it can be drained once it is up")),
        MemberState::Down => declined(format!("node {node} is down; its replicas are replaced without a drain")),
        MemberState::Removed => declined(format!("node {node} was removed")),
    }
}

/// What a drain has to move, and where to.
fn describe(map: &ClusterMap, health: &Health, nodes: &[NodeId], forecast: DrainForecast) -> v1::DrainResponse {
    let DrainForecast { moves, bytes } = forecast;
    let on_them: Vec<_> = nodes.iter().flat_map(|node| map.replicas_on(*node)).map(|(group, ..)| group).collect();
    let mut notes = Vec::new();
    let unknown = on_them.iter().filter(|group| !health.groups.contains_key(group)).count();
    if unknown > 0 {
        notes.push(format!("{unknown} groups have not reported their size"));
    }
    if map.settings.migrations_paused {
        notes.push("migrations are paused: nothing moves until they are resumed".to_owned());
    }
    let moved = |DrainMove { group, from, to }| {
        let from = map.node_of(group, from);
        let from_name = from.map_or_else(|| "a node".to_owned(), |node| format!("node {node}"));
        let what = format!("{group}: from {from_name} to node {to}");
        v1::PlannedAction {
            kind: "start".to_owned(),
            what,
            shard: group.shard(),
            from_node: from.map_or(0, |node| node.0),
            to_node: to.0,
        }
    };
    v1::DrainResponse {
        map_version: map.version,
        replicas: on_them.len() as u32,
        bytes,
        notes,
        moves: moves.into_iter().map(moved).collect(),
    }
}

fn named_nodes(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    format!("{} {} can't be drained", if names.len() == 1 { "node" } else { "nodes" }, names.join(", "))
}

fn named(groups: &[GroupId]) -> String {
    let names: Vec<String> = groups.iter().take(NAMED_GROUPS).map(GroupId::to_string).collect();
    match groups.len().saturating_sub(NAMED_GROUPS) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
