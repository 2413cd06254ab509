//! The number of pods: up at once, down only past members that have left.
//!
//! Down is drain, remove, shrink, one pod after the other from the top. Until its removal is committed a member that is
//! wanted again stays; after that its pod goes first, and a new one comes with a new life.

use super::{Action, Draft, Reason, Scene, action::named, roll, scene::takes_part, settings, workload};
use crate::model::{
    Answer, MapView, MemberState, MemberView, NodeId, Ordinal, PodState, StatefulSetView, Step, Storage,
};

/// The next step towards the number that is wanted.
pub(super) fn stage(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let wanted = scene.intent.replicas;
    if shrink(scene, sts, map, draft) || cover(scene, sts, map, draft) || stay(scene, sts, map, draft) {
        return;
    }
    if forget(scene, sts, map, draft) {
        return;
    }
    if map.present().any(|(node, _)| node.is_beyond(wanted)) {
        leave(scene, sts, map, draft);
        // Unless it is refused.
        draft.progress(Reason::Scaling, format!("from {} nodes to {wanted}", sts.replicas));
    } else if sts.replicas < wanted {
        draft.progress(Reason::Scaling, format!("from {} nodes to {wanted}", sts.replicas));
        grow(scene, sts, draft);
    } else {
        settle(scene, sts, map, draft);
    }
}

/// Takes the topmost pods whose members have left, or never came and are not wanted.
fn shrink(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let gone = |ordinal: &u32| is_gone(scene, map, Ordinal(*ordinal));
    let mut going = (0..sts.replicas).rev().take_while(gone).count() as u32;
    if going == 0 && newcomer_goes(scene, sts, map, draft) {
        going = 1;
    }
    let replicas = sts.replicas - going;
    // Without any member this would be no scale-down but the end of the cluster.
    if going == 0 || replicas == 0 {
        return false;
    }
    let message = format!("from {} pods to {replicas}: their members have left", sts.replicas);
    draft.progress(Reason::Scaling, message.clone());
    resize(sts, replicas, message, draft);
    true
}

fn is_gone(scene: &Scene<'_>, map: &MapView, ordinal: Ordinal) -> bool {
    let (node, wanted) = (ordinal.node(), ordinal.0 < scene.intent.replicas);
    match map.members.get(&node) {
        // A pod that is wanted may be a new one that has not joined yet, unless this is the removal that was remembered.
        Some(MemberView { state: MemberState::Removed, .. }) => !wanted || scene.seen.memory.shrink == Some(ordinal),
        Some(_) => false,
        None => !wanted && scene.pod(ordinal).is_none(),
    }
}

/// Whether the topmost pod, which has yet to join and is not wanted any more, may go. It may start, join and get votes before
/// it ends: one such pod at a time goes, and while nobody else is missed.
fn newcomer_goes(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let Some(top) = sts.replicas.checked_sub(1).map(Ordinal) else { return false };
    let known =
        map.members.contains_key(&top.node()) || matches!(scene.answer(top.node()), Some(Answer::Member { .. }));
    if known || top.0 < scene.intent.replicas {
        return false;
    }
    let lacking = scene.under_replicated(map);
    let alone = scene.pods().all(|pod| pod.ordinal <= top);
    // It may get the only replica of a shard, and take what is written there meanwhile with it.
    let runs = || scene.pod(top).is_some_and(|pod| !workload::is_idle(&pod.state));
    if scene.intent.storage == Storage::Memory && map.replication_factor < 2 && runs() {
        draft.wait(format!("pod {top} to join: what it holds then is moved before it goes"));
        return false;
    }
    if !lacking.is_empty() {
        draft.wait(format!("{} to have every replica caught up, before pod {top} goes", named(&lacking)));
    } else if !alone {
        draft.wait(format!("the pods above to end, before pod {top} goes"));
    }
    lacking.is_empty() && alone
}

/// A member without a pod gets it back, if it is wanted or has something that is to be moved first.
fn cover(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let beyond = map.present().filter(|(node, _)| node.is_beyond(sts.replicas));
    let missed = beyond.filter(|(node, member)| takes_part(member.state) && !is_spent(scene, map, *node));
    let Some(top) = missed.filter_map(|(node, _)| node.ordinal()).max() else { return false };
    if is_clear(scene, sts.replicas, draft) {
        let replicas = top.0 + 1;
        let message = format!("from {} pods to {replicas}: node {} is a member", sts.replicas, top.node());
        draft.progress(Reason::Scaling, message.clone());
        resize(sts, replicas, message, draft);
    }
    true
}

/// Whether a member that is not wanted has nothing left that its pod could bring back: its pod would only be another life,
/// that joins, and has to leave again.
fn is_spent(scene: &Scene<'_>, map: &MapView, node: NodeId) -> bool {
    let claimed = || scene.seen.claims.iter().any(|claim| claim.ordinal.node() == node && !claim.terminating);
    let kept = match scene.intent.storage {
        Storage::Memory => false,
        Storage::Disk { .. } => claimed() && map.groups.values().any(|group| group.has_voter(node)),
    };
    node.is_beyond(scene.intent.replicas) && !kept && scene.lost_with(map, node).is_empty()
}

/// Members that were to leave and are wanted again.
fn stay(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let wanted = |node: NodeId, member: &MemberView| {
        !node.is_beyond(scene.intent.replicas) && !roll::empties(scene, sts, node, member)
    };
    let back = map.present().find(|(node, member)| member.state == MemberState::Draining && wanted(*node, member));
    let Some((node, _)) = back else { return false };
    draft.progress(Reason::Scaling, format!("node {node} stays after all"));
    draft.act(Action::Undrain { node, expected: map.version });
    true
}

/// Once the pod is gone, or its removal was called off, there is nothing to remember.
fn forget(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let Some(to) = scene.seen.memory.shrink else { return false };
    let shrunk = sts.replicas <= to.0;
    let called_off = map.state_of(to.node()) != Some(MemberState::Removed) && to.0 < scene.intent.replicas;
    if !shrunk && !called_off {
        return false;
    }
    if shrunk && scene.pod(to).is_some() {
        draft.progress(Reason::Scaling, format!("pod {to} is going"));
        draft.wait(format!("pod {to} to end"));
        return true;
    }
    draft.act(remember(scene, None));
    true
}

/// Empties the members that are not wanted, then removes the topmost.
fn leave(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    if let Some(reason) = rolling(scene, sts) {
        return draft.wait(reason);
    }
    let wanted = scene.intent.replicas;
    let leaving = || map.present().filter(move |(node, _)| node.is_beyond(wanted));
    let spent =
        |node: NodeId| node.is_beyond(sts.replicas) && scene.pod_of(node).is_none() && is_spent(scene, map, node);
    if let Some((node, member)) = leaving().find(|(node, member)| takes_part(member.state) && spent(*node)) {
        return bury(map, node, member, "has no pod any more", draft);
    }
    let up: Vec<NodeId> =
        leaving().filter(|(_, member)| member.state == MemberState::Up).map(|(node, _)| node).collect();
    if !up.is_empty() {
        return drain(scene, map, up, draft);
    }
    let Some((node, member)) = leaving().last() else { return };
    match member.state {
        MemberState::Joining => joining(scene, map, node, member, draft),
        MemberState::Draining | MemberState::Down => remove(scene, map, node, member, draft),
        // Those are the first to go, and those that are gone.
        MemberState::Up | MemberState::Removed => {}
    }
}

fn drain(scene: &Scene<'_>, map: &MapView, nodes: Vec<NodeId>, draft: &mut Draft) {
    let staying = map
        .present()
        .filter(|(node, member)| member.state == MemberState::Up && !node.is_beyond(scene.intent.replicas));
    let staying = staying.count();
    let needed = map.replication_factor as usize;
    if staying < needed {
        let message = format!("{staying} nodes would be left for replication factor {needed}");
        draft.stuck(Reason::Refused, message.clone());
        return draft.wait(format!("{needed} nodes that stay: {message}"));
    }
    // In between the nodes that stay would hold more than they may.
    if let Some(change) = settings::shrinks(scene, map) {
        return draft.act(Action::UpdateSettings { change, expected: map.version });
    }
    let names: Vec<String> = nodes.iter().map(|node| format!("node {node}")).collect();
    let message = format!("emptied, to leave: {}", names.join(", "));
    draft.disrupt(Action::Drain { nodes, expected: map.version }, Reason::Scaling, message);
}

/// A member that nothing was given yet can only be let in or declared dead.
fn joining(scene: &Scene<'_>, map: &MapView, node: NodeId, member: &MemberView, draft: &mut Draft) {
    let speaks = matches!(scene.answer(node), Some(Answer::Member { .. }));
    if speaks || scene.pod_of(node).is_some_and(|pod| !workload::is_idle(&pod.state)) {
        return draft.wait(format!("node {node} to have joined, before it leaves"));
    }
    bury(map, node, member, "never came", draft);
}

/// Declares a member dead that nobody wants: it can't leave by itself.
fn bury(map: &MapView, node: NodeId, member: &MemberView, why: &str, draft: &mut Draft) {
    let incarnation = member.incarnation.clone();
    let message = format!("node {node} ({incarnation}) is not wanted any more, and {why}: it is declared dead");
    draft.disrupt(Action::MarkDown { node, incarnation, expected: map.version }, Reason::Scaling, message);
}

fn remove(scene: &Scene<'_>, map: &MapView, node: NodeId, member: &MemberView, draft: &mut Draft) {
    if member.replicas > 0 {
        draft.wait(format!("{} replicas to leave node {node}", member.replicas));
        return map.waiting_on.iter().for_each(|why| draft.wait(why.as_str()));
    }
    let Some(ordinal) = node.ordinal() else { return };
    if scene.seen.memory.shrink != Some(ordinal) {
        draft.act(remember(scene, Some(ordinal)));
    }
    let message = format!("node {node} is empty: it leaves for good");
    draft.disrupt(Action::Remove { node, expected: map.version }, Reason::Scaling, message);
}

/// More pods; those that exist keep what they are.
fn grow(scene: &Scene<'_>, sts: &StatefulSetView, draft: &mut Draft) {
    if is_clear(scene, sts.replicas, draft) {
        let wanted = scene.intent.replicas;
        resize(sts, wanted, format!("from {} pods to {wanted}", sts.replicas), draft);
    }
}

/// All is there as far as pods go; members may yet be on their way.
fn settle(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    for ordinal in (0..sts.replicas).map(Ordinal) {
        let node = ordinal.node();
        match map.state_of(node) {
            Some(MemberState::Up) => scene.trouble(ordinal).into_iter().for_each(|trouble| draft.wait(trouble)),
            Some(MemberState::Joining) | None => {
                draft.progress(Reason::Scaling, format!("node {node} joins"));
                draft.wait(scene.trouble(ordinal).unwrap_or_else(|| format!("node {node} to join")));
            }
            Some(MemberState::Removed | MemberState::Down) => {
                if is_stale(scene, map, ordinal) && restart(scene, ordinal, draft) {
                    return;
                }
                draft.progress(Reason::Repairing, format!("node {node} comes back in a new life"));
                draft.wait(scene.trouble(ordinal).unwrap_or_else(|| format!("node {node} to join in a new life")));
            }
            Some(MemberState::Draining) => draft.wait(format!("node {node} to be empty")),
        }
    }
    if !map.migrations.is_empty() {
        draft.progress(Reason::Scaling, format!("{} replicas are on the move", map.migrations.len()));
    }
    let lacking = scene.under_replicated(map);
    if !lacking.is_empty() {
        draft.wait(format!("{} to have every replica caught up", named(&lacking)));
    }
}

/// Whether a process stays on that left the cluster for good: it ends when its pod does, and never joins again before.
fn is_stale(scene: &Scene<'_>, map: &MapView, ordinal: Ordinal) -> bool {
    let node = ordinal.node();
    let other_life =
        scene.life(node).is_some_and(|life| map.members.get(&node).is_none_or(|old| old.incarnation != *life));
    scene.pod(ordinal).is_some_and(|pod| match pod.state {
        PodState::Starting | PodState::Ready => {
            let age_ms = scene.seen.now_ms.saturating_sub(pod.since_ms);
            !other_life && age_ms > scene.intent.update.progress_deadline_ms
        }
        PodState::Pending(_) | PodState::Stopped(_) | PodState::Terminating => false,
    })
}

fn restart(scene: &Scene<'_>, ordinal: Ordinal, draft: &mut Draft) -> bool {
    let Some(pod) = scene.pod(ordinal) else { return false };
    let message = format!("pod {} left the cluster and is wanted again: it starts anew", pod.live.name);
    draft.progress(Reason::Repairing, message.clone());
    draft.disrupt(Action::DeletePod { pod: pod.live.clone(), at_once: false }, Reason::Repairing, message);
    true
}

/// Nothing of the ordinals from here on is on its way out: a pod that comes must not meet its predecessor.
fn is_clear(scene: &Scene<'_>, from: u32, draft: &mut Draft) -> bool {
    let pods = scene.seen.pods.iter().filter(|pod| pod.ordinal.0 >= from).map(|pod| &pod.live.name);
    let claims = scene.seen.claims.iter().filter(|claim| claim.ordinal.0 >= from && claim.terminating);
    let leaving: Vec<&String> = pods.chain(claims.map(|claim| &claim.live.name)).collect();
    leaving.iter().for_each(|name| draft.wait(format!("{name} to be gone, before its successor comes")));
    leaving.is_empty()
}

/// A step of a roll that is under way: one pod is missing already.
fn rolling(scene: &Scene<'_>, sts: &StatefulSetView) -> Option<String> {
    let roll = scene.seen.memory.roll.as_ref().filter(|roll| roll.revision == sts.revision)?;
    match roll.step {
        Step::At { ordinal, .. } if ordinal.0 < sts.replicas => scene.trouble(ordinal),
        Step::At { .. } | Step::Failed { .. } => None,
    }
}

/// The partition goes along: a pod below it that is made again returns as it was.
fn resize(sts: &StatefulSetView, replicas: u32, message: String, draft: &mut Draft) {
    let patch = Action::PatchReplicas { sts: sts.live.clone(), replicas, partition: replicas };
    draft.disrupt(patch, Reason::Scaling, message);
}

fn remember(scene: &Scene<'_>, shrink: Option<Ordinal>) -> Action {
    let resource_version = scene.seen.object.resource_version.clone();
    Action::Remember { resource_version, memory: scene.seen.memory.with_shrink(shrink) }
}
