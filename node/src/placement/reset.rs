//! Where shards that lost their majority for good would begin anew, or why they can't.

use crate::{
    cluster::{
        command::{Life, ShardReset, check_lost},
        map::{ClusterMap, MemberState, ReplicaAt},
    },
    placement::{Health, layout::Layout, nodes},
    types::{GroupId, Incarnation, NodeId},
};

/// Why shards can't be reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetRefusal {
    /// It is no member.
    #[error("node {node} is no member")]
    Stranger {
        /// The node.
        node: NodeId,
    },
    /// It is said to be dead, and is not.
    #[error("node {node} is connected in its life {life}: it is not dead")]
    Lives {
        /// The node.
        node: NodeId,
        /// The life.
        life: Incarnation,
    },
    /// Somebody leads it, with a majority.
    #[error("{group} is not lost: node {leader} leads it")]
    Led {
        /// The shard's group.
        group: GroupId,
        /// Who leads it.
        leader: NodeId,
    },
    /// Too few of its voters are dead.
    #[error("{0}")]
    NotLost(String),
    /// There are too few nodes for it.
    #[error("{group} has nowhere to begin anew: {reason}")]
    NoTarget {
        /// The shard's group.
        group: GroupId,
        /// Why, node by node.
        reason: String,
    },
}

/// Where each of these shards would begin anew, if these lives are dead: on as many nodes as it should have replicas, or
/// at least on a majority of so many.
///
/// # Errors
/// One of them is not lost, as far as is known now; or no node takes it.
pub fn preflight_reset(
    map: &ClusterMap,
    health: &Health,
    groups: &[GroupId],
    dead: &[Life],
) -> Result<Vec<ShardReset>, ResetRefusal> {
    if let Some((node, _)) = dead.iter().find(|(node, _)| !map.members.contains_key(node)) {
        return Err(ResetRefusal::Stranger { node: *node });
    }
    let is_here = |node: &NodeId| health.nodes.get(node).is_some_and(|node| node.silent_ms == 0);
    let living = dead.iter().find(|(node, life)| map.incarnation_of(*node) == Some(*life) && is_here(node));
    if let Some((node, life)) = living {
        return Err(ResetRefusal::Lives { node: *node, life: *life });
    }
    for group in groups.iter().copied() {
        if let Some(leader) = leading(map, health, group, dead) {
            return Err(ResetRefusal::Led { group, leader });
        }
        check_lost(map, group, dead).map_err(|refused| ResetRefusal::NotLost(refused.to_string()))?;
    }
    let after = without(map, health, groups, dead);
    let mut health = health.clone();
    health.groups.retain(|group, _| !groups.contains(group));
    let mut layout = Layout::new(&after, &health);
    groups.iter().map(|group| place(&mut layout, map, *group)).collect()
}

/// The node that leads a group, if it is known to be heard of, and with it a majority of the voters that it reports.
#[must_use]
pub fn leading(map: &ClusterMap, health: &Health, group: GroupId, dead: &[Life]) -> Option<NodeId> {
    let (set, known) = (map.groups.get(&group)?, health.groups.get(&group)?);
    let lives = |at: &ReplicaAt| nodes::answers(map, health, at) && !dead.contains(&(at.node, at.incarnation));
    let leader = set.get(known.leader).filter(|at| lives(at))?;
    let voters = &known.conf.voters;
    // One that the map does not list may be anywhere.
    let living = voters.iter().filter(|replica| set.get(**replica).is_none_or(lives)).count();
    (living >= nodes::majority(voters.len())).then_some(leader.node)
}

/// The map with these shards nowhere and these lives over.
fn without(map: &ClusterMap, health: &Health, groups: &[GroupId], dead: &[Life]) -> ClusterMap {
    let mut after = nodes::without_held_back(map, health).into_owned();
    let is_over = |node: NodeId, life: Incarnation| dead.contains(&(node, life));
    let over = after.members.iter_mut().filter(|(node, member)| is_over(**node, member.incarnation));
    over.for_each(|(_, member)| member.state = MemberState::Down);
    after.migrations.retain(|_, migration| !groups.contains(&migration.group));
    let emptied = after.groups.iter_mut().filter(|(group, _)| groups.contains(*group));
    emptied.for_each(|(_, set)| set.replicas.clear());
    after
}

fn place(layout: &mut Layout<'_>, map: &ClusterMap, group: GroupId) -> Result<ShardReset, ResetRefusal> {
    let wanted = usize::try_from(map.replication_factor).unwrap_or(usize::MAX);
    let mut homes = Vec::new();
    while homes.len() < wanted {
        match layout.target(group, None) {
            Ok(node) => {
                layout.shift(group, None, Some(node));
                homes.push(node);
            }
            // The planner adds the others when there are nodes for them.
            Err(_) if homes.len() >= nodes::majority(wanted) => break,
            Err(reason) => return Err(ResetRefusal::NoTarget { group, reason }),
        }
    }
    let generation = map.groups.get(&group).map_or(0, |set| set.generation);
    Ok(ShardReset { group, generation, nodes: homes })
}
