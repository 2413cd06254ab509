//! Machines that are lost, and volumes with them.
//!
//! First the life that was there is committed as Down, so that it never votes again, whatever comes back. Then its pod is
//! deleted without grace, and starts elsewhere. A volume that can be used on a lost machine only is given up last, and only
//! if nothing is lost with it.

use super::{
    Action, Draft, Reason, Scene,
    action::named,
    scene::{Machine, takes_part},
};
use crate::model::{
    Answer, ClaimView, Live, MapView, MemberState, NodeId, Ordinal, PodState, PodView, StatefulSetView, Storage,
};

/// The first pod in order that something can be done for.
pub(super) fn stage(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    if scene.seen.k8s_nodes.is_none() && !scene.troubles(sts, None).is_empty() {
        draft.wait("leave to read nodes: without it, lost machines go unnoticed");
    }
    // Those that were scaled away too: on a lost machine they would be going for ever.
    for pod in scene.pods() {
        let kept = pod.ordinal.0 < sts.replicas;
        if let Some(claim) = given_up(scene, pod).filter(|_| kept) {
            replace_volume(scene, map, pod, claim, draft);
        } else if kept && is_without_claim(scene, pod) {
            let message = format!("pod {} has lost its claim: it is made anew, with one", pod.live.name);
            draft.disrupt(delete(&pod.live, false), Reason::Repairing, message);
        } else {
            replace_pod(scene, map, pod, draft);
        }
        if draft.is_taken() {
            return;
        }
    }
}

fn replace_pod(scene: &Scene<'_>, map: &MapView, pod: &PodView, draft: &mut Draft) {
    let Some(loss) = loss(scene, pod) else { return };
    let Loss { machine, how, left_ms } = loss;
    let lost = format!("machine {machine} of pod {} {how}", pod.live.name);
    draft.ail(Reason::MachineLost, lost.clone());
    if is_alive(scene, map, pod.ordinal.node()) {
        return draft.wait(format!("machine {machine}, which {how}, though the node in pod {} answers", pod.ordinal));
    }
    match left_ms {
        None if scene.intent.repair.after_ms.is_none() => {
            draft.wait(format!("a person: {lost}, and spec.repair.after is 0s"));
        }
        None => draft.wait(format!("Kubernetes to notice that pod {} is lost: {lost}", pod.ordinal)),
        Some(0) => {
            if condemn(scene, map, pod.ordinal.node(), draft) {
                draft.progress(Reason::Repairing, lost.clone());
                let message = format!("{lost}: the pod starts elsewhere");
                draft.disrupt(delete(&pod.live, true), Reason::Repairing, message);
            }
        }
        Some(left_ms) => {
            draft.wait(format!("machine {machine}, which {how}, for at most {} s more", left_ms.div_ceil(1000)));
        }
    }
}

/// What is known of the loss of a pod's machine.
struct Loss<'a> {
    machine: &'a str,
    how: &'static str,
    /// How long it may last; `None` is without end, or since when is not known.
    left_ms: Option<u64>,
}

/// The loss of the machine that a pod is bound to, if it is lost.
fn loss<'a>(scene: &Scene<'a>, pod: &'a PodView) -> Option<Loss<'a>> {
    let machine = pod.machine.as_deref()?;
    let (since_ms, how) = match scene.machine(machine) {
        Machine::Fine => return None,
        Machine::NotReady { since_ms } => (Some(since_ms), "is not ready"),
        // Nobody has said so of its pod yet: since when it is gone is not known.
        Machine::Gone if pod.state == PodState::Ready => (None, "is gone"),
        Machine::Gone => (Some(pod.since_ms), "is gone"),
    };
    Some(Loss { machine, how, left_ms: since_ms.and_then(|since_ms| left_ms(scene, since_ms)) })
}

/// How long a loss since then may still last; `None` is without end.
fn left_ms(scene: &Scene<'_>, since_ms: u64) -> Option<u64> {
    let after_ms = scene.intent.repair.after_ms?;
    Some(since_ms.saturating_add(after_ms).saturating_sub(scene.seen.now_ms))
}

/// Whether the pod of an ordinal is on a machine that was lost for long enough.
pub(super) fn is_overdue(scene: &Scene<'_>, ordinal: Ordinal) -> bool {
    scene.pod(ordinal).and_then(|pod| loss(scene, pod)).is_some_and(|loss| loss.left_ms == Some(0))
}

/// Has a member's life committed as Down. True if it is, or if there is none to condemn.
fn condemn(scene: &Scene<'_>, map: &MapView, node: NodeId, draft: &mut Draft) -> bool {
    let Some(member) = map.members.get(&node) else { return true };
    match member.state {
        MemberState::Down | MemberState::Removed => return true,
        MemberState::Joining | MemberState::Up | MemberState::Draining => {}
    }
    let needing = scene.lost_with(map, node);
    if !needing.is_empty() {
        let groups = named(&needing);
        draft.wait(format!("node {node} to return: {groups} would lose the majority if it were given up"));
        return false;
    }
    let incarnation = member.incarnation.clone();
    let message = format!("node {node} ({incarnation}) is lost: it never votes again");
    draft.progress(Reason::Repairing, message.clone());
    draft.disrupt(Action::MarkDown { node, incarnation, expected: map.version }, Reason::Repairing, message);
    false
}

/// The claim of a pod that waits for a machine which is gone.
fn given_up<'a>(scene: &Scene<'a>, pod: &PodView) -> Option<&'a ClaimView> {
    let claim = scene.seen.claims.iter().find(|claim| claim.ordinal == pod.ordinal)?;
    let gone = scene.machine(claim.pinned_to.as_deref()?) == Machine::Gone;
    let waits = matches!(pod.state, PodState::Pending(_)) && pod.machine.is_none();
    (gone && waits).then_some(claim)
}

fn replace_volume(scene: &Scene<'_>, map: &MapView, pod: &PodView, claim: &ClaimView, draft: &mut Draft) {
    let what = format!("the volume of pod {} is on a machine that is gone", pod.live.name);
    draft.ail(Reason::MachineLost, what.clone());
    if !scene.intent.repair.replace_volumes {
        return draft.wait(format!("a person: {what}, and spec.repair.replaceVolumes is not set"));
    }
    let condemned = map.members.get(&pod.ordinal.node()).is_none_or(|member| !takes_part(member.state));
    let left_ms = if condemned { Some(0) } else { left_ms(scene, pod.since_ms) };
    match left_ms {
        Some(0) => {}
        None => return draft.wait(format!("a person: {what}, and spec.repair.after is 0s")),
        Some(left_ms) => {
            let left_s = left_ms.div_ceil(1000);
            return draft
                .wait(format!("the machine of pod {}, which is gone, for at most {left_s} s more", pod.ordinal));
        }
    }
    if !condemn(scene, map, pod.ordinal.node(), draft) {
        return;
    }
    let lacking = scene.lacking_without(map, pod.ordinal.node());
    if !lacking.is_empty() {
        let groups = named(&lacking);
        return draft.wait(format!("{groups} to have every replica elsewhere, before a volume is given up"));
    }
    draft.progress(Reason::Repairing, what.clone());
    if claim.terminating {
        return draft.wait(format!("claim {} to be gone, before its successor comes", claim.live.name));
    }
    let step = Action::DeleteClaim { claim: claim.live.clone() };
    draft.disrupt(step, Reason::Repairing, format!("{what}: it is given up, every shard is whole without it"));
}

/// A pod that waits for a claim that nobody will make: claims are made with their pods.
fn is_without_claim(scene: &Scene<'_>, pod: &PodView) -> bool {
    let wants = matches!(scene.intent.storage, Storage::Disk { .. });
    let waits = matches!(pod.state, PodState::Pending(_)) && pod.machine.is_none();
    wants && waits && !scene.seen.claims.iter().any(|claim| claim.ordinal == pod.ordinal)
}

/// Whether the member's node answers in the life that the map knows.
fn is_alive(scene: &Scene<'_>, map: &MapView, node: NodeId) -> bool {
    match scene.answer(node) {
        Some(Answer::Member { incarnation, .. }) => {
            map.members.get(&node).is_some_and(|member| member.incarnation == *incarnation)
        }
        Some(Answer::Silent { .. } | Answer::Empty { .. }) | None => false,
    }
}

fn delete(pod: &Live, at_once: bool) -> Action {
    Action::DeletePod { pod: pod.clone(), at_once }
}
