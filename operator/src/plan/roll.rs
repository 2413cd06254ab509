//! A new template reaches the pods one by one, by falling ordinal, each step behind its gates.
//!
//! The StatefulSet's partition stands at its replicas at rest, so that a pod recreated by accident returns as it was. A step
//! lowers it to the one pod that is to go. A pod that is broken and outdated may go at once if nobody counts on it: so a bad
//! change stops at its first pod, and can always be taken back.

use crema_crds::spec::UpdateKind;

use super::{
    Action, Draft, Reason, Scene, Severity,
    action::named,
    forming::found,
    scene::{Machine, takes_part},
    workload::is_idle,
};
use crate::model::{
    Answer, Formation, Group, MapView, MemberState, MemberView, NodeId, Ordinal, PodState, PodView, RollMemory,
    StatefulSetView, Step, Storage,
};

/// The next step of a roll, or back to rest after the last.
pub(super) fn stage(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let outdated = outdated(scene, sts);
    let Some(next) = outdated.first() else { return rest(scene, sts, map, draft) };
    if sts.update == UpdateKind::Manual {
        return by_hand(sts, next, draft);
    }
    if failed(scene, sts, map, draft) {
        return;
    }
    if sts.partition <= next.ordinal.0 {
        return under_way(scene, sts, next, is_spare(scene, map, next), draft);
    }
    if is_held(scene, sts, next, draft) {
        return;
    }
    draft.progress(Reason::Rolling, progress(scene, sts));
    if let Some(pod) = ending(scene) {
        return draft.wait(format!("pod {} to end", pod.ordinal));
    }
    let spare = is_spare(scene, map, next);
    if !spare && undo(sts, &outdated, |pod| is_spare(scene, map, pod), draft) {
        return;
    }
    if is_due(scene, sts, next, spare, draft) && (spare || may_go(scene, sts, map, next, draft)) {
        step(scene, sts, map, next, spare, draft);
    }
}

/// A pod that an earlier change left broken, below healthy ones that may not go before it is back: it returns as it was
/// before that change.
fn undo(
    sts: &StatefulSetView,
    outdated: &[&PodView],
    is_spare: impl Fn(&PodView) -> bool,
    draft: &mut Draft,
) -> bool {
    // One that would return as it is has yet to start, or is broken by something else.
    let is_left = |pod: &PodView| sts.current.as_ref().is_some_and(|current| pod.revision != *current);
    let Some(pod) = outdated.iter().copied().find(|pod| is_left(pod) && is_spare(pod)) else {
        return false;
    };
    let message = format!("pod {} is broken: it returns with the last good revision", pod.live.name);
    draft.disrupt(Action::DeletePod { pod: pod.live.clone(), at_once: false }, Reason::Rolling, message);
    true
}

/// A pod that is going, whoever took it. While it goes nobody knows who will be missed: even one that holds nothing may have
/// joined, and got votes. One on a lost machine would be going for ever.
fn ending<'a>(scene: &Scene<'a>) -> Option<&'a PodView> {
    let fine = |pod: &PodView| pod.machine.as_deref().is_none_or(|name| scene.machine(name) == Machine::Fine);
    scene.pods().find(|pod| pod.state == PodState::Terminating && fine(pod))
}

fn progress(scene: &Scene<'_>, sts: &StatefulSetView) -> String {
    let updated = (0..sts.replicas).filter(|ordinal| is_updated(scene, sts, Ordinal(*ordinal))).count();
    format!("{updated} of {} pods have revision {}", sts.replicas, sts.revision)
}

/// Without a map that a majority stands behind: pods that nobody can count on are replaced all the same, or a change that
/// broke them all could not be taken back.
pub(super) fn blind(scene: &Scene<'_>, sts: &StatefulSetView, draft: &mut Draft) {
    let outdated = outdated(scene, sts);
    let Some(next) = outdated.first() else { return };
    let roll = scene.seen.memory.roll.as_ref().filter(|roll| roll.revision == sts.revision);
    if sts.update == UpdateKind::Manual || matches!(roll.map(|roll| roll.step), Some(Step::Failed { .. })) {
        return;
    }
    if let Some(trouble) = unproved(scene, sts) {
        return draft.wait(trouble);
    }
    let idle = |pod: &PodView| counts_for_nothing(scene, pod);
    if sts.partition <= next.ordinal.0 {
        return under_way(scene, sts, next, idle(next), draft);
    }
    if !outdated.iter().any(|pod| idle(pod)) || is_held(scene, sts, next, draft) {
        return;
    }
    if idle(next) {
        let say = format!("pod {} is replaced: nothing counts on it", next.ordinal);
        return partition(sts, next.ordinal.0, say, draft);
    }
    undo(sts, &outdated, idle, draft);
}

/// Whether nothing counts on a pod, though nobody has a map that says so.
fn counts_for_nothing(scene: &Scene<'_>, pod: &PodView) -> bool {
    // Where no pod was ever ready nor says that it is a member, none that has yet to speak can be one.
    let formed = match &scene.seen.memory.formation {
        Formation::Unknown | Formation::Forming { .. } => {
            !found(scene).is_empty() || scene.pods().any(|pod| pod.state == PodState::Ready)
        }
        Formation::Formed { .. } => true,
    };
    // One that is going returns as it was.
    let stays = pod.state != PodState::Terminating;
    stays
        && match scene.answer(pod.ordinal.node()) {
            Some(Answer::Empty { .. }) => true,
            Some(Answer::Silent { .. }) | None => is_idle(&pod.state) || (!formed && pod.state == PodState::Starting),
            Some(Answer::Member { .. }) => false,
        }
}

/// A pod that was replaced and has not been heard yet, while no other of its revision was: no second one gets that revision.
fn unproved(scene: &Scene<'_>, sts: &StatefulSetView) -> Option<String> {
    // One on a machine that is lost can prove nothing.
    let fine = |pod: &PodView| pod.machine.as_deref().is_none_or(|name| scene.machine(name) == Machine::Fine);
    let updated = || scene.pods().filter(|pod| pod.revision == sts.revision && fine(pod)).map(|pod| pod.ordinal);
    if updated().any(|ordinal| scene.life(ordinal.node()).is_some()) {
        return None;
    }
    let first = updated().max()?;
    Some(scene.trouble(first).unwrap_or_else(|| format!("pod {first} to answer")))
}

/// A pod that Kubernetes may replace and has not yet.
fn under_way(scene: &Scene<'_>, sts: &StatefulSetView, next: &PodView, spare: bool, draft: &mut Draft) {
    draft.progress(Reason::Rolling, progress(scene, sts));
    if sts.partition < next.ordinal.0 {
        let say = format!("the partition was below pod {}: pods go one at a time", next.ordinal);
        return partition(sts, sts.replicas, say, draft);
    }
    // Kubernetes goes no further down while a pod above is not ready, and that one may be waiting for this one.
    let above = (next.ordinal.0 + 1..sts.replicas).map(Ordinal).find_map(|ordinal| scene.trouble(ordinal));
    match above {
        Some(_) if spare && next.state != PodState::Terminating => {
            let message = format!("pod {} is replaced: nothing counts on it", next.live.name);
            draft.disrupt(Action::DeletePod { pod: next.live.clone(), at_once: false }, Reason::Rolling, message);
        }
        Some(trouble) => draft.wait(trouble),
        None => draft.wait(format!("pod {} to be replaced", next.ordinal)),
    }
}

/// Somebody else deletes the pods, and each returns as it should be.
fn by_hand(sts: &StatefulSetView, next: &PodView, draft: &mut Draft) {
    let ordinal = next.ordinal;
    draft.stuck(Reason::RollHeld, format!("pods up to {ordinal} have yet to get revision {}", sts.revision));
    draft.wait(format!("a person to delete pod {ordinal}: spec.update.type is Manual"));
}

/// After the last step: the partition back up, and nothing to remember.
fn rest(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let troubles = scene.troubles(sts, None);
    let quiet = match sts.update {
        UpdateKind::Rolling => sts.partition >= sts.replicas,
        UpdateKind::Manual => true,
    };
    if quiet && scene.seen.memory.roll.is_none() {
        return;
    }
    if failed(scene, sts, map, draft) {
        return;
    }
    draft.progress(Reason::Rolling, format!("the last pod gets revision {}", sts.revision));
    if !troubles.is_empty() {
        return troubles.into_iter().for_each(|trouble| draft.wait(trouble));
    }
    if !quiet && !sts.settled {
        return draft.wait("the StatefulSet to take its new revision for the current one");
    }
    if !quiet {
        return partition(sts, sts.replicas, "every pod is up to date: the partition is at rest".to_owned(), draft);
    }
    let lacking = scene.under_replicated(map);
    if !lacking.is_empty() {
        return draft.wait(format!("{} to be whole again", named(&lacking)));
    }
    if !draft.remembers() {
        draft.note(Severity::Normal, Reason::Rolling, format!("every pod has revision {}", sts.revision));
        draft.act(remember(scene, None));
    }
}

/// Whether the roll has failed: a step that is over its deadline fails it, and then it waits for another revision.
fn failed(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let Some(roll) = scene.seen.memory.roll.as_ref().filter(|roll| roll.revision == sts.revision) else {
        return false;
    };
    let (ordinal, since_ms, is_new) = match roll.step {
        // Given time, or a person's help, it may have come back after all: then every pod may be up to date.
        Step::Failed { ordinal, .. } if is_back(scene, sts, map, ordinal) && outdated(scene, sts).is_empty() => {
            return false;
        }
        Step::Failed { ordinal, since_ms } => (ordinal, since_ms, false),
        Step::At { ordinal, since_ms } => {
            let late = scene.seen.now_ms.saturating_sub(since_ms) > scene.intent.update.progress_deadline_ms;
            let begun = sts.partition <= ordinal.0 || is_updated(scene, sts, ordinal);
            if !late || !begun || ordinal.0 >= sts.replicas || is_back(scene, sts, map, ordinal) {
                return false;
            }
            (ordinal, since_ms, true)
        }
    };
    let message = format!("pod {ordinal} did not come back in time with revision {}", sts.revision);
    draft.ail(Reason::RollFailed, message.clone());
    draft.stuck(Reason::RollFailed, format!("{message}; the roll waits for a change of the spec"));
    draft.wait("a change of the spec: the roll has failed");
    if is_new && !draft.remembers() {
        draft.note(Severity::Warning, Reason::RollFailed, message);
        let roll = RollMemory { revision: sts.revision.clone(), step: Step::Failed { ordinal, since_ms } };
        draft.act(remember(scene, Some(roll)));
    }
    true
}

/// Whether the pod of a step is what it was, with the new revision: ready, a member, and its voters caught up.
fn is_back(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, ordinal: Ordinal) -> bool {
    let takes_its_place = match map.state_of(ordinal.node()) {
        Some(MemberState::Up | MemberState::Draining) => true,
        Some(MemberState::Joining | MemberState::Down | MemberState::Removed) | None => false,
    };
    let ready = scene.trouble(ordinal).is_none() && is_updated(scene, sts, ordinal);
    ready && takes_its_place && !scene.holds_unsound(map, ordinal.node())
}

/// Whether a person holds the roll.
fn is_held(scene: &Scene<'_>, sts: &StatefulSetView, next: &PodView, draft: &mut Draft) -> bool {
    if !scene.intent.update.paused {
        return false;
    }
    draft.stuck(Reason::RollHeld, format!("pods up to {} have yet to get revision {}", next.ordinal, sts.revision));
    draft.wait("spec.update.paused to be taken back");
    true
}

/// Whether the pod of the last step is back: an unproved revision gets one pod, however broken the next may be. One that a
/// ready pod has is proved, and the last pod may be waiting for the next.
fn is_due(scene: &Scene<'_>, sts: &StatefulSetView, next: &PodView, spare: bool, draft: &mut Draft) -> bool {
    let last = scene.seen.memory.roll.as_ref().filter(|roll| roll.revision == sts.revision);
    let going = last.and_then(|roll| match roll.step {
        Step::At { ordinal, .. } if ordinal != next.ordinal && ordinal.0 < sts.replicas => scene.trouble(ordinal),
        Step::At { .. } | Step::Failed { .. } => None,
    });
    let proved = || scene.pods().any(|pod| pod.state == PodState::Ready && pod.revision == sts.revision);
    let due = going.is_none() || (spare && proved());
    going.into_iter().for_each(|trouble| draft.wait(trouble));
    due
}

/// Broken, and nobody counts on it: no caught-up voter is lost with it.
fn is_spare(scene: &Scene<'_>, map: &MapView, pod: &PodView) -> bool {
    let node = pod.ordinal.node();
    match pod.state {
        // One that is going returns as it was.
        PodState::Ready | PodState::Terminating => false,
        // What it kept in memory is lost already, and what is on its disk stays there.
        PodState::Pending(_) | PodState::Stopped(_) => true,
        PodState::Starting => {
            let another = scene.life(node).is_some_and(|life| {
                let known = map.members.get(&node);
                known.is_none_or(|member| !takes_part(member.state) || member.incarnation != *life)
            });
            // Who is silent, or behind, may still be the one that makes a majority.
            another || (!scene.holds_sound(map, node) && scene.lost_with(map, node).is_empty())
        }
    }
}

/// The gates of a pod that others count on. Says what stands in the way, and has its leaders moved.
fn may_go(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, pod: &PodView, draft: &mut Draft) -> bool {
    let troubles = scene.troubles(sts, Some(pod.ordinal));
    if !troubles.is_empty() {
        troubles.into_iter().for_each(|trouble| draft.wait(trouble));
        return false;
    }
    let lacking = scene.under_replicated(map);
    if !lacking.is_empty() {
        draft.wait(format!("{} to have every replica caught up", named(&lacking)));
        return false;
    }
    let node = pod.ordinal.node();
    if let Some((other, _)) = map.present().find(|(other, member)| {
        let emptied = *other == node && empties(scene, sts, node, member);
        is_on_its_way(member) && !emptied
    }) {
        draft.wait(format!("node {other} to have come or left"));
        return false;
    }
    let touches = |end: Option<NodeId>| end == Some(node);
    if let Some(migration) = map.migrations.iter().find(|move_| touches(move_.from) || touches(move_.to)) {
        draft.wait(format!("a replica of {} to have moved", migration.group));
        return false;
    }
    let moves = handed_over(scene, map, node);
    if !moves.is_empty() {
        let message = format!("pod {} is next: {} leaderships move away from it", pod.ordinal, moves.len());
        draft.disrupt(Action::TransferLeaders { moves }, Reason::Rolling, message);
        return false;
    }
    true
}

fn is_on_its_way(member: &MemberView) -> bool {
    match member.state {
        MemberState::Joining | MemberState::Draining => true,
        MemberState::Up | MemberState::Down | MemberState::Removed => false,
    }
}

/// Where the shards that a member leads should be led from: by turns, so that nobody gets them all.
fn handed_over(scene: &Scene<'_>, map: &MapView, node: NodeId) -> Vec<(u32, NodeId)> {
    let led = map.led_by(node).filter_map(|group| match group {
        Group::Shard(shard) => Some(shard),
        // Nobody waits for its leader; the node hands it over when it ends.
        Group::Meta => None,
    });
    led.filter_map(|shard| {
        let group = map.groups.get(&Group::Shard(shard))?;
        let others = group.voters.iter().filter(|voter| voter.node != node && scene.is_sound(map, voter));
        let others: Vec<NodeId> = others.map(|voter| voter.node).collect();
        let turn = (shard as usize).checked_rem(others.len())?;
        others.get(turn).map(|to| (shard, *to))
    })
    .collect()
}

/// Takes the step of a pod, once it holds nothing that would be lost with its memory.
fn step(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, pod: &PodView, spare: bool, draft: &mut Draft) {
    let ordinal = pod.ordinal;
    if draft.remembers() {
        return draft.wait(format!("what was decided to be written, before pod {ordinal} goes"));
    }
    if !spare && is_sole(scene, map, ordinal.node()) {
        return empty(scene, sts, map, ordinal, draft);
    }
    draft.act(remember(scene, Some(at(scene, sts, ordinal))));
    partition(sts, ordinal.0, format!("pod {ordinal} gets revision {}", sts.revision), draft);
}

/// Whether groups would lose their majority for good if this member began a new life, and others could take its place:
/// with one replica of each shard, in memory.
fn is_sole(scene: &Scene<'_>, map: &MapView, node: NodeId) -> bool {
    let others = map.present().any(|(other, member)| other != node && member.state == MemberState::Up);
    scene.intent.storage == Storage::Memory && others && !scene.lost_with(map, node).is_empty()
}

/// Has a member emptied before its pod goes. The drain ends once its new life is there.
fn empty(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, ordinal: Ordinal, draft: &mut Draft) {
    let node = ordinal.node();
    if map.state_of(node) == Some(MemberState::Draining) {
        draft.wait(format!("node {node} to be empty, before its pod goes"));
        return map.waiting_on.iter().for_each(|why| draft.wait(why.as_str()));
    }
    let message = format!("node {node} is emptied before its pod goes: it holds the only replica of some shards");
    draft.act(remember(scene, Some(at(scene, sts, ordinal))));
    draft.disrupt(Action::Drain { nodes: vec![node], expected: map.version }, Reason::Rolling, message);
}

/// Whether a member is drained for a step of the roll, and stays. Until its new life has joined: what were moved back
/// earlier would be lost with the old one.
pub(super) fn empties(scene: &Scene<'_>, sts: &StatefulSetView, node: NodeId, member: &MemberView) -> bool {
    let Some(pod) = scene.pod_of(node) else { return false };
    if sts.update != UpdateKind::Rolling || scene.intent.storage != Storage::Memory {
        return false;
    }
    let outdated = pod.revision != sts.revision;
    let begun = sts.partition <= pod.ordinal.0 || pod.state == PodState::Terminating;
    let roll = scene.seen.memory.roll.as_ref().filter(|roll| roll.revision == sts.revision);
    let next = roll.is_some_and(|roll| match roll.step {
        Step::At { ordinal, .. } => ordinal == pod.ordinal,
        Step::Failed { .. } => false,
    });
    let joined = scene.life(node) == Some(&member.incarnation);
    (outdated && (begun || next)) || (next && !joined)
}

fn at(scene: &Scene<'_>, sts: &StatefulSetView, ordinal: Ordinal) -> RollMemory {
    RollMemory { revision: sts.revision.clone(), step: Step::At { ordinal, since_ms: scene.seen.now_ms } }
}

fn partition(sts: &StatefulSetView, partition: u32, message: String, draft: &mut Draft) {
    draft.disrupt(Action::PatchPartition { sts: sts.live.clone(), partition }, Reason::Rolling, message);
}

/// Pods of another revision, the highest ordinal first.
fn outdated<'a>(scene: &Scene<'a>, sts: &StatefulSetView) -> Vec<&'a PodView> {
    let pods = scene.pods().filter(|pod| pod.ordinal.0 < sts.replicas);
    let mut pods: Vec<&PodView> = pods.filter(|pod| pod.revision != sts.revision).collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
    pods
}

fn is_updated(scene: &Scene<'_>, sts: &StatefulSetView, ordinal: Ordinal) -> bool {
    scene.pod(ordinal).is_some_and(|pod| pod.revision == sts.revision)
}

fn remember(scene: &Scene<'_>, roll: Option<RollMemory>) -> Action {
    let resource_version = scene.seen.object.resource_version.clone();
    Action::Remember { resource_version, memory: scene.seen.memory.with_roll(roll) }
}
