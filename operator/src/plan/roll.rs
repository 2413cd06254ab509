//! A new template reaches the pods one by one, by falling ordinal, each step behind its gates.
//!
//! The StatefulSet's partition stands at its replicas at rest, so that a pod recreated by accident returns as it was. A step
//! lowers it to the one pod that is to go. A pod that is broken and outdated may go at once if nobody counts on it: so a bad
//! change stops at its first pod, and can always be taken back.

use std::cmp::Ordering;

use crema_crds::spec::UpdateKind;

use super::{Action, Draft, Reason, Scene, Severity, action::named, workload::is_idle};
use crate::model::{
    Answer, Formation, Group, MapView, MemberState, MemberView, NodeId, Ordinal, PodState, PodView, RollMemory,
    StatefulSetView, Step,
};

/// The next step of a roll, or back to rest after the last.
pub(super) fn stage(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let outdated = outdated(scene, sts);
    let Some(next) = outdated.first() else { return rest(scene, sts, map, draft) };
    let updated = (0..sts.replicas).filter(|ordinal| is_updated(scene, sts, Ordinal(*ordinal))).count();
    let message = format!("{} of {} pods have revision {}", updated, sts.replicas, sts.revision);
    if failed(scene, sts, map, draft) {
        return;
    }
    match sts.partition.cmp(&next.ordinal.0) {
        Ordering::Less => {
            draft.progress(Reason::Rolling, message.clone());
            let say = format!("the partition was below pod {}: pods go one at a time", next.ordinal);
            partition(sts, next.ordinal.0, say, draft);
        }
        Ordering::Equal => {
            draft.progress(Reason::Rolling, message);
            draft.wait(format!("pod {} to be replaced", next.ordinal));
        }
        Ordering::Greater if is_held(scene, sts, next, draft) => {}
        Ordering::Greater => {
            draft.progress(Reason::Rolling, message);
            if is_due(scene, sts, next, draft) && (is_spare(scene, map, next) || may_go(scene, sts, map, next, draft))
            {
                step(scene, sts, next, draft);
            }
        }
    }
}

/// Without a map that a majority stands behind: pods that nobody can count on are replaced all the same, or a change that
/// broke them all could not be taken back.
pub(super) fn blind(scene: &Scene<'_>, sts: &StatefulSetView, draft: &mut Draft) {
    let formed = matches!(scene.seen.memory.formation, Formation::Formed { .. });
    let outdated = outdated(scene, sts);
    let Some(next) = outdated.first() else { return };
    let empty = match scene.answer(next.ordinal.node()) {
        Some(Answer::Empty { .. }) => true,
        Some(Answer::Silent { .. }) | None => is_idle(&next.state) || (!formed && next.state == PodState::Starting),
        Some(Answer::Member { .. }) => false,
    };
    match sts.partition.cmp(&next.ordinal.0) {
        Ordering::Greater if empty && !is_held(scene, sts, next, draft) => {
            let say = format!("pod {} is replaced: nothing counts on it", next.ordinal);
            partition(sts, next.ordinal.0, say, draft);
        }
        Ordering::Less => partition(sts, next.ordinal.0, "pods go one at a time".to_owned(), draft),
        Ordering::Greater | Ordering::Equal => {}
    }
}

/// After the last step: the partition back up, and nothing to remember.
fn rest(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let troubles = scene.troubles(sts, None);
    let quiet = sts.partition == sts.replicas;
    if quiet && scene.seen.memory.roll.is_none() {
        return;
    }
    let healthy = troubles.is_empty() && is_whole(scene, map);
    if !healthy && failed(scene, sts, map, draft) {
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
    if !is_whole(scene, map) {
        return draft.wait(format!("{} to be whole again", named(&scene.under_replicated(map))));
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
        Step::Failed { ordinal, since_ms } => (ordinal, since_ms, false),
        Step::At { ordinal, since_ms } => {
            let late = scene.seen.now_ms.saturating_sub(since_ms) > scene.intent.update.progress_deadline_ms;
            let begun = sts.partition <= ordinal.0 || is_updated(scene, sts, ordinal);
            if !late || !begun || (scene.trouble(ordinal).is_none() && is_whole(scene, map)) {
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

/// Whether a person holds the roll.
fn is_held(scene: &Scene<'_>, sts: &StatefulSetView, next: &PodView, draft: &mut Draft) -> bool {
    let ordinal = next.ordinal;
    let why = match (scene.intent.update.paused, scene.intent.update.kind) {
        (true, _) => "spec.update.paused to be taken back".to_owned(),
        (false, UpdateKind::Rolling) => return false,
        (false, UpdateKind::Manual) if next.state == PodState::Terminating => return false,
        (false, UpdateKind::Manual) => format!("a person to delete pod {ordinal}: spec.update.type is Manual"),
    };
    draft.stuck(Reason::RollHeld, format!("pods up to {ordinal} have yet to get revision {}", sts.revision));
    draft.wait(why);
    true
}

/// Whether the pod of the last step is back: an unproved revision gets one pod, however broken the next may be.
fn is_due(scene: &Scene<'_>, sts: &StatefulSetView, next: &PodView, draft: &mut Draft) -> bool {
    let last = scene.seen.memory.roll.as_ref().filter(|roll| roll.revision == sts.revision);
    let going = last.and_then(|roll| match roll.step {
        Step::At { ordinal, .. } if ordinal != next.ordinal => scene.trouble(ordinal),
        Step::At { .. } | Step::Failed { .. } => None,
    });
    let due = going.is_none();
    going.into_iter().for_each(|trouble| draft.wait(trouble));
    due
}

/// Broken, and nobody counts on it: no caught-up voter is lost with it. Or a person who is to say so has deleted it.
fn is_spare(scene: &Scene<'_>, map: &MapView, pod: &PodView) -> bool {
    match pod.state {
        PodState::Ready => false,
        PodState::Terminating => scene.intent.update.kind == UpdateKind::Manual,
        PodState::Pending(_) | PodState::Starting | PodState::Stopped(_) => {
            !scene.holds_sound(map, pod.ordinal.node())
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
    if let Some((other, _)) = map.present().find(|(other, member)| *other != node && is_on_its_way(member)) {
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

fn step(scene: &Scene<'_>, sts: &StatefulSetView, pod: &PodView, draft: &mut Draft) {
    let (ordinal, since_ms) = (pod.ordinal, scene.seen.now_ms);
    if draft.remembers() {
        return draft.wait(format!("what was decided to be written, before pod {ordinal} goes"));
    }
    let roll = RollMemory { revision: sts.revision.clone(), step: Step::At { ordinal, since_ms } };
    draft.act(remember(scene, Some(roll)));
    partition(sts, ordinal.0, format!("pod {ordinal} gets revision {}", sts.revision), draft);
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

fn is_whole(scene: &Scene<'_>, map: &MapView) -> bool {
    scene.under_replicated(map).is_empty()
}

fn remember(scene: &Scene<'_>, roll: Option<RollMemory>) -> Action {
    let resource_version = scene.seen.object.resource_version.clone();
    Action::Remember { resource_version, memory: scene.seen.memory.with_roll(roll) }
}
