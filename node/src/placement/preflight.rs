//! What a drain would do, before anybody asks for it: the moves, or why it can't be done.

use crate::{
    cluster::map::{ClusterMap, MemberState},
    placement::{
        Health,
        layout::{Layout, Unfit},
        nodes,
    },
    types::{GroupId, NodeId, ReplicaId},
};

/// What a drain would move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainForecast {
    /// The moves, by group. Where things go is a forecast: it changes with what happens meanwhile.
    pub moves: Vec<DrainMove>,
    /// Bytes that would be copied.
    pub bytes: u64,
}

/// One move of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainMove {
    /// The shard's group.
    pub group: GroupId,
    /// The replica that would go.
    pub from: ReplicaId,
    /// Where the new one would be.
    pub to: NodeId,
}

/// Why nodes can't be drained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainRefusal {
    /// It is no member, or it has left, or it is down: then its replicas are replaced, not moved.
    #[error("node {node} is no living member")]
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// Shards could not have all their replicas.
    #[error("{left} nodes would be left for replication factor {replication_factor}")]
    TooFewNodes {
        /// Nodes that stay and are connected.
        left: usize,
        /// What each shard needs.
        replication_factor: u32,
    },
    /// The others have no room.
    #[error("{need} bytes would have to move, and the nodes that stay can take {free}")]
    NotEnoughMemory {
        /// What is on the nodes.
        need: u64,
        /// What the others may still take.
        free: u64,
    },
    /// A shard's replica has nowhere to go.
    #[error("{group} has nowhere to go: {reason}")]
    NoTarget {
        /// The shard's group.
        group: GroupId,
        /// Why, node by node.
        reason: String,
    },
}

/// What draining all these nodes would move, together with those that are being drained already.
pub fn preflight_drain(map: &ClusterMap, health: &Health, drained: &[NodeId]) -> Result<DrainForecast, DrainRefusal> {
    if let Some(node) = drained.iter().copied().find(|node| map.incarnation_of(*node).is_none()) {
        return Err(DrainRefusal::NotAMember { node });
    }
    let mut after = nodes::without_held_back(map, health).into_owned();
    let members = after.members.iter_mut().filter(|(node, _)| drained.contains(node));
    members.for_each(|(_, member)| member.state = MemberState::Draining);
    let left = nodes::staying(&after).filter(|node| nodes::connected(&after, health, *node)).count();
    let replication_factor = after.replication_factor;
    if left == 0 || left < usize::try_from(replication_factor).unwrap_or(usize::MAX) {
        return Err(DrainRefusal::TooFewNodes { left, replication_factor });
    }
    forecast(&after, health)
}

/// Where the planner would send each shard's replica, were all moved at once.
fn forecast(after: &ClusterMap, health: &Health) -> Result<DrainForecast, DrainRefusal> {
    let mut layout = Layout::new(after, health);
    let drained: Vec<NodeId> = nodes::draining(after).collect();
    let leaving: Vec<(GroupId, ReplicaId, NodeId)> = drained
        .iter()
        .flat_map(|node| after.replicas_on(*node))
        .filter(|(group, _, at)| layout.is_home(*group, at.node))
        .map(|(group, _, at)| (group, at.replica, at.node))
        .collect();
    let mut forecast = DrainForecast::default();
    for (group, from, node) in &leaving {
        let open = nodes::staying(after).filter(|to| !layout.is_home(*group, *to)).count();
        let to = match layout.target(*group, Some(*node)) {
            Ok(to) => to,
            // It has more replicas than it should: this one is taken out and not replaced.
            Err(_) if open == 0 => continue,
            Err(reason) => {
                let full = nodes::staying(after).any(|to| layout.fits(*group, to) == Err(Unfit::Full));
                let group = *group;
                let no_memory = || no_memory(after, &Layout::new(after, health), &leaving);
                return Err(if full { no_memory() } else { DrainRefusal::NoTarget { group, reason } });
            }
        };
        layout.shift(*group, Some(*node), Some(to));
        forecast.bytes += layout.bytes_of(*group);
        forecast.moves.push(DrainMove { group: *group, from: *from, to });
    }
    forecast.moves.sort_by_key(|moved| (moved.group, moved.from));
    Ok(forecast)
}

fn no_memory(after: &ClusterMap, layout: &Layout<'_>, leaving: &[(GroupId, ReplicaId, NodeId)]) -> DrainRefusal {
    let need = leaving.iter().map(|(group, ..)| layout.bytes_of(*group)).sum();
    let free = nodes::staying(after).filter_map(|node| layout.free_bytes(node)).sum();
    DrainRefusal::NotEnoughMemory { need, free }
}
