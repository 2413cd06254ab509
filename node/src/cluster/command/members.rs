//! Members come, change and go.

use super::{
    Refused,
    done::{Done, refuse},
};
use crate::{
    cluster::map::{
        ClusterMap, Member, MemberState,
        wire::{member_from, member_to},
    },
    types::{Incarnation, NodeId},
};

/// A node becomes a member or comes back. The replicas of its earlier life stay listed with that life, and so are dead,
/// until migrations replace them.
pub(super) fn join(map: &mut ClusterMap, node: NodeId, member: &Member) -> Result<Done, Refused> {
    if let Err(error) = member_from(member_to(node, member)) {
        return refuse(error.to_string());
    }
    let before = map.members.get(&node);
    let state = state_after_join(map, node, before, member.incarnation)?;
    let twin = map.members.iter().find(|(other, known)| {
        **other != node && map.incarnation_of(**other).is_some() && known.address == member.address
    });
    if let Some((other, _)) = twin {
        return refuse(format!("node {node}: its address {:?} is that of node {other}", member.address));
    }
    if !member.levels.supports(map.feature_level) {
        let (min, max) = (member.levels.min, member.levels.max);
        return refuse(format!(
            "node {node} supports feature levels {min} to {max}, the cluster has {}",
            map.feature_level
        ));
    }
    let member = Member { state, ..member.clone() };
    let changed = before != Some(&member);
    map.members.insert(node, member);
    Ok(Done::changed_if(changed))
}

fn state_after_join(
    map: &ClusterMap,
    node: NodeId,
    before: Option<&Member>,
    incarnation: Incarnation,
) -> Result<MemberState, Refused> {
    let Some(before) = before else { return Ok(MemberState::Joining) };
    if before.incarnation == incarnation {
        return match before.state {
            MemberState::Joining | MemberState::Up | MemberState::Draining => Ok(before.state),
            MemberState::Down | MemberState::Removed => {
                refuse(format!("node {node}: {incarnation} was declared dead or has left; join in a new life"))
            }
        };
    }
    let lists = |at: &crate::cluster::map::ReplicaAt| at.node == node && at.incarnation == incarnation;
    if map.groups.values().any(|set| set.replicas.iter().any(lists)) {
        // A late request of a process that was superseded must not retire the one that took its place.
        return refuse(format!("node {node}: {incarnation} is an earlier life of it, retired for good"));
    }
    Ok(match before.state {
        // Whoever wanted it empty wants it still.
        MemberState::Draining => MemberState::Draining,
        MemberState::Joining | MemberState::Up | MemberState::Down | MemberState::Removed => MemberState::Joining,
    })
}

pub(super) fn set_state(
    map: &mut ClusterMap,
    node: NodeId,
    incarnation: Incarnation,
    state: MemberState,
) -> Result<Done, Refused> {
    use MemberState::{Down, Draining, Joining, Removed, Up};
    let Some(member) = map.members.get(&node) else { return refuse(format!("node {node} is no member")) };
    if member.incarnation != incarnation {
        return refuse(format!("node {node} is {} now, not {incarnation}", member.incarnation));
    }
    match (member.state, state) {
        (before, after) if before == after => return Ok(Done::Already),
        (Joining | Draining, Up) | (Up, Draining) | (Joining | Up | Draining, Down) => {}
        (Joining | Up | Draining | Down, Removed) => {
            let held: usize =
                map.groups.values().map(|set| set.replicas.iter().filter(|at| at.node == node).count()).sum();
            if held > 0 {
                return refuse(format!("node {node} still has {held} replicas; drain it first"));
            }
        }
        (before, after) => {
            return refuse(format!("node {node} is {}; it can't become {}", before.name(), after.name()));
        }
    }
    if let Some(member) = map.members.get_mut(&node) {
        member.state = state;
    }
    Ok(Done::Changed)
}
