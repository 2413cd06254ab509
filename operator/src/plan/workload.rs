//! The objects of a cluster, above all its StatefulSet: that there is one, of the template that is asked for.

use super::{Action, Draft, Reason, Scene, Severity, forming};
use crate::model::{Answer, Control, Formation, MemberState, NodeId, Ordinal, PodState, PodView, StatefulSetView};

/// Pods that an eviction may take at a time.
const BUDGET: u32 = 1;

/// Everything but the StatefulSet, each pass: what is unchanged is not written.
pub(super) fn objects(scene: &Scene<'_>, draft: &mut Draft) {
    draft.act(Action::ApplyObjects { max_unavailable: budget(scene) });
    for owned in &scene.seen.owned {
        if let Control::Other(uid) = &owned.control {
            let what = format!("{} {} belongs to {uid}: it is not touched", owned.kind, owned.live.name);
            draft.ail(Reason::Foreign, what);
        }
    }
    for pod in &scene.seen.pods {
        if let Control::Other(uid) = &pod.control {
            draft.ail(Reason::Foreign, format!("pod {} belongs to {uid}: it is not touched", pod.live.name));
        }
    }
    // Until the StatefulSet has the template of this spec, nothing refers to the settings that were just written.
    let settled = scene.seen.sts.as_ref().is_some_and(|sts| sts.revision == scene.intent.revision && !sts.deleting);
    let spent = scene
        .seen
        .owned
        .iter()
        .filter(|owned| settled && owned.is_process_config && owned.control == Control::Ours && !owned.referred);
    for owned in spent {
        draft.act(Action::DeleteConfig { config: owned.live.clone() });
    }
}

/// None while a group lacks a replica, or nobody knows: the next eviction might take the last one. Where no cluster is,
/// nothing can be lost.
fn budget(scene: &Scene<'_>) -> u32 {
    let found = forming::found(scene);
    // A pod that is ready is a member, though it can't be asked.
    let serves = |pod: &PodView| {
        pod.state == PodState::Ready && !matches!(scene.answer(pod.ordinal.node()), Some(Answer::Empty { .. }))
    };
    let is_formed = match &scene.seen.memory.formation {
        Formation::Unknown | Formation::Forming { .. } => !found.is_empty() || scene.pods().any(serves),
        Formation::Formed { .. } => true,
    };
    let is_whole = || {
        let map = scene.seen.cluster.map.as_ref().filter(|map| map.confirmed);
        found.len() == 1 && map.is_some_and(|map| scene.under_replicated(map).is_empty())
    };
    if !is_formed || is_whole() { BUDGET } else { 0 }
}

/// The StatefulSet, if it is there and ours, with the step towards the template that is asked for.
pub(super) fn stateful_set<'a>(scene: &Scene<'a>, draft: &mut Draft) -> Option<&'a StatefulSetView> {
    let Some(sts) = &scene.seen.sts else {
        create(scene, draft);
        return None;
    };
    if let Control::Other(uid) = &sts.control {
        let message = format!("the StatefulSet {} belongs to {uid}: it is not touched", sts.live.name);
        draft.ail(Reason::Foreign, message.clone());
        draft.stuck(Reason::Refused, message);
        draft.wait(format!("the StatefulSet {} to be removed or renamed by its owner", sts.live.name));
        return None;
    }
    if sts.deleting {
        draft.progress(Reason::Settling, "the StatefulSet is being replaced");
        draft.wait("the StatefulSet to be gone");
        return None;
    }
    let is_current = sts.revision == scene.intent.revision && sts.update == scene.intent.update.kind;
    if is_current && sts.control == Control::Ours {
        return Some(sts);
    }
    let (revision, replicas) = (scene.intent.revision.clone(), sts.replicas);
    if sts.revision != revision {
        let message = format!("the pods are to have revision {revision}; none changes yet");
        draft.note(Severity::Normal, Reason::Rolling, message.clone());
        draft.progress(Reason::Rolling, message);
    }
    // In the same patch the partition: a pod that is made again meanwhile has the last good revision.
    draft.act(Action::ApplyTemplate { sts: sts.live.clone(), revision, replicas, partition: replicas });
    Some(sts)
}

/// A StatefulSet that covers every pod and claim that is there: a cluster that lived before is found whole, and shrinks in
/// the usual way if it is to be smaller.
fn create(scene: &Scene<'_>, draft: &mut Draft) {
    let seen = scene.seen;
    if let Some(pod) = seen.pods.iter().find(|pod| matches!(pod.control, Control::Other(_))) {
        let message = format!("pod {} has our name and belongs to somebody else", pod.live.name);
        draft.stuck(Reason::Refused, message);
        draft.wait(format!("pod {} to be removed by its owner", pod.live.name));
        return;
    }
    // A pod that comes now would wait for a claim that is not made again.
    if let Some(claim) = seen.claims.iter().find(|claim| claim.terminating) {
        draft.progress(Reason::Settling, "the StatefulSet is created once nothing is in its way");
        return draft.wait(format!("claim {} to be gone, before its successor comes", claim.live.name));
    }
    // What is kept of members that were removed is kept, and brings nobody back.
    let map = seen.cluster.map.as_ref().filter(|map| map.confirmed);
    let removed =
        |ordinal: Ordinal| map.is_some_and(|map| map.state_of(ordinal.node()) == Some(MemberState::Removed));
    let claims = seen.claims.iter().map(|claim| claim.ordinal).filter(|ordinal| !removed(*ordinal));
    let lived = seen.pods.iter().map(|pod| pod.ordinal).chain(claims).chain(members(scene));
    let covered = lived.map(|Ordinal(ordinal)| ordinal.saturating_add(1)).max().unwrap_or(0);
    let replicas = scene.intent.replicas.max(covered);
    draft.note(Severity::Normal, Reason::Scaling, format!("the StatefulSet is created with {replicas} replicas"));
    draft.progress(Reason::Settling, "the StatefulSet is created");
    draft.act(Action::CreateStatefulSet { replicas });
}

/// Members that the cluster still counts on, as far as anybody knows.
fn members(scene: &Scene<'_>) -> impl Iterator<Item = Ordinal> {
    let map = scene.seen.cluster.map.as_ref();
    let present = map.into_iter().flat_map(|map| map.present()).map(|(node, _)| node);
    present.filter_map(NodeId::ordinal)
}

/// Whether a pod has never run the node's process, or has ended it: then it holds no vote that could be lost with it.
pub(super) fn is_idle(state: &PodState) -> bool {
    match state {
        PodState::Pending(_) | PodState::Stopped(_) => true,
        PodState::Starting | PodState::Ready | PodState::Terminating => false,
    }
}
