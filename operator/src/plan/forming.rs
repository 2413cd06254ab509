//! From pods to a cluster, once: `Unknown`, `Forming`, `Formed`.
//!
//! The pods are the authority. With no id remembered, everybody is heard before anything is decided: a cluster that lives is
//! adopted, two stop everything, and only when all are empty is a new one named, remembered, and initialised, in this order.

use std::collections::BTreeSet;

use super::{Action, Draft, Reason, Scene, Severity, quorum, repair, workload};
use crate::model::{
    Answer, ClusterUid, Formation, Incarnation, MapView, Memory, NodeId, Ordinal, PodState, StatefulSetView, Storage,
};

/// How far the forming is, by what the pods say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage<'a> {
    /// There is a cluster, and a majority of its meta group stands behind this map.
    Formed(&'a MapView),
    /// There is none yet, or nobody speaks for it.
    Waiting,
    /// Nothing may be done before a person has decided.
    Stopped,
}

/// The cluster if it is formed; otherwise the step towards that.
pub(super) fn stage<'a>(scene: &Scene<'a>, sts: &StatefulSetView, draft: &mut Draft) -> Stage<'a> {
    let (found, memory) = (found(scene), &scene.seen.memory.formation);
    let mut all = found.clone();
    match memory {
        Formation::Unknown => {}
        Formation::Forming { id, replaces } => {
            all.retain(|uid| Some(*uid) != replaces.as_ref());
            // Until somebody belongs to it there is no cluster of this id.
            if !all.is_empty() {
                all.insert(id);
            }
        }
        Formation::Formed { id } => _ = all.insert(id),
    }
    if all.len() > 1 {
        two_clusters(&all, draft);
        return Stage::Stopped;
    }
    match memory {
        Formation::Unknown => unknown(scene, sts, &found, draft),
        Formation::Forming { id, replaces } => forming(scene, sts, id, replaces.as_ref(), draft),
        Formation::Formed { id } => return formed(scene, sts, id, draft),
    }
    Stage::Waiting
}

fn unknown(scene: &Scene<'_>, sts: &StatefulSetView, found: &BTreeSet<&ClusterUid>, draft: &mut Draft) {
    draft.progress(Reason::Forming, "no cluster is formed yet, or one is looked for");
    let other_size = sts.replicas != scene.intent.replicas && !draft.changes_stateful_set();
    if found.is_empty() && other_size && resize(scene, sts, draft) {
        return;
    }
    let known = found.first().and_then(|id| confirmed(scene, id));
    // A member that the cluster knows, on a machine that is lost: it can't answer before it is repaired.
    let excused = |ordinal: Ordinal| {
        known.is_some_and(|map| map.members.contains_key(&ordinal.node())) && repair::is_overdue(scene, ordinal)
    };
    let silent: Vec<(Ordinal, String)> =
        silent(scene, sts).into_iter().filter(|(ordinal, _)| !excused(*ordinal)).collect();
    if !silent.is_empty() {
        return silent.into_iter().for_each(|(_, who)| draft.wait(who));
    }
    match found.first() {
        Some(id) => adopt(scene, id, draft),
        None => {
            let id = scene.seen.draw.clone();
            let message = format!("all {} pods are empty: cluster {id} is formed of them", sts.replicas);
            draft.note(Severity::Normal, Reason::Forming, message);
            remember(scene, Formation::Forming { id, replaces: None }, draft);
        }
    }
}

/// Before there is a cluster the number of pods simply follows; but none goes that may hold something.
fn resize(scene: &Scene<'_>, sts: &StatefulSetView, draft: &mut Draft) -> bool {
    let replicas = scene.intent.replicas;
    for ordinal in (replicas..sts.replicas).map(Ordinal) {
        let idle = scene.pod(ordinal).is_none_or(|pod| workload::is_idle(&pod.state));
        let claimed = scene.seen.claims.iter().any(|claim| claim.ordinal == ordinal);
        let empty = matches!(scene.answer(ordinal.node()), Some(Answer::Empty { .. }));
        if !empty && (claimed || !idle) {
            draft.wait(format!("pod {ordinal} to answer before it goes"));
            return false;
        }
    }
    let message = format!("{replicas} pods instead of {}, before the cluster is formed", sts.replicas);
    let patch = Action::PatchReplicas { sts: sts.live.clone(), replicas, partition: replicas };
    draft.disrupt(patch, Reason::Scaling, message);
    true
}

fn adopt(scene: &Scene<'_>, id: &ClusterUid, draft: &mut Draft) {
    match confirmed(scene, id) {
        Some(_) => {
            draft.note(Severity::Normal, Reason::Adopted, format!("cluster {id} lives in these pods: it goes on"));
            remember(scene, Formation::Formed { id: id.clone() }, draft);
        }
        None => draft.wait(format!("a majority of the meta group of cluster {id}, which was found")),
    }
}

fn forming(
    scene: &Scene<'_>,
    sts: &StatefulSetView,
    id: &ClusterUid,
    replaces: Option<&ClusterUid>,
    draft: &mut Draft,
) {
    draft.progress(Reason::Forming, format!("cluster {id} is being formed"));
    if confirmed(scene, id).is_some() {
        draft.note(Severity::Normal, Reason::Forming, format!("cluster {id} is formed"));
        return remember(scene, Formation::Formed { id: id.clone() }, draft);
    }
    if let Some(old) = replaces {
        // Whoever speaks for it now proves that it was not lost, whatever it looked like.
        if confirmed(scene, old).is_some() && !found(scene).contains(id) {
            draft.note(Severity::Warning, Reason::Adopted, format!("cluster {old} lives after all: it goes on"));
            return remember(scene, Formation::Formed { id: old.clone() }, draft);
        }
        if empty_one(scene, sts, old, draft) {
            return;
        }
    }
    if quorum::meta(scene, sts, id, draft) {
        return;
    }
    let silent = silent(scene, sts);
    if !silent.is_empty() {
        return silent.into_iter().for_each(|(_, who)| draft.wait(who));
    }
    draft.wait(format!("the members of cluster {id} to confirm it"));
    draft.act(Action::Init { uid: id.clone(), members: lives(scene, sts) });
}

/// Members of a cluster that is lost for good start anew, one in each pass; in memory mode that empties them.
fn empty_one(scene: &Scene<'_>, sts: &StatefulSetView, old: &ClusterUid, draft: &mut Draft) -> bool {
    let of_old = |ordinal: &Ordinal| matches!(scene.answer(ordinal.node()), Some(Answer::Member { cluster_uid, .. }) if cluster_uid == old);
    let Some(pod) = (0..sts.replicas).map(Ordinal).filter(of_old).find_map(|ordinal| scene.pod(ordinal)) else {
        return false;
    };
    if pod.state == PodState::Terminating {
        draft.wait(format!("pod {} to end", pod.ordinal));
        return true;
    }
    // A volume would bring it back as it was, again and again.
    if matches!(scene.intent.storage, Storage::Disk { .. }) {
        let message = format!("the volume of pod {} is of cluster {old}, which is lost", pod.ordinal);
        draft.ail(Reason::TwoClusters, message.clone());
        draft.wait(format!("a person: {message}"));
        return true;
    }
    let message = format!("pod {} is of cluster {old}, which is lost: it starts anew", pod.live.name);
    draft.disrupt(Action::DeletePod { pod: pod.live.clone(), at_once: false }, Reason::QuorumLost, message);
    true
}

fn formed<'a>(scene: &Scene<'a>, sts: &StatefulSetView, id: &ClusterUid, draft: &mut Draft) -> Stage<'a> {
    if let Some(map) = confirmed(scene, id) {
        return Stage::Formed(map);
    }
    if !quorum::meta(scene, sts, id, draft) {
        draft.wait(format!("a majority of the meta group of cluster {id} to answer"));
        scene.troubles(sts, None).into_iter().for_each(|trouble| draft.wait(trouble));
    }
    Stage::Waiting
}

/// Clusters that pods say they belong to.
pub(super) fn found<'a>(scene: &Scene<'a>) -> BTreeSet<&'a ClusterUid> {
    let answers = scene.seen.cluster.pods.values();
    answers
        .filter_map(|answer| match answer {
            Answer::Member { cluster_uid, .. } => Some(cluster_uid),
            Answer::Silent { .. } | Answer::Empty { .. } => None,
        })
        .collect()
}

/// Pods that have not said whether they belong to a cluster.
fn silent(scene: &Scene<'_>, sts: &StatefulSetView) -> Vec<(Ordinal, String)> {
    let expected = (0..sts.replicas).map(Ordinal);
    let why = |ordinal: Ordinal, why: String| (ordinal, scene.trouble(ordinal).unwrap_or(why));
    expected
        .filter_map(|ordinal| match scene.answer(ordinal.node()) {
            Some(Answer::Empty { .. } | Answer::Member { .. }) => None,
            Some(Answer::Silent { reason }) => Some(why(ordinal, format!("pod {ordinal} to answer: {reason}"))),
            None => Some(why(ordinal, format!("pod {ordinal} to answer"))),
        })
        .collect()
}

/// Every expected pod's member, in the life that it said.
fn lives(scene: &Scene<'_>, sts: &StatefulSetView) -> Vec<(NodeId, Incarnation)> {
    let nodes = (0..sts.replicas).map(|ordinal| Ordinal(ordinal).node());
    nodes.filter_map(|node| Some((node, scene.life(node)?.clone()))).collect()
}

fn confirmed<'a>(scene: &Scene<'a>, id: &ClusterUid) -> Option<&'a MapView> {
    scene.seen.cluster.map.as_ref().filter(|map| map.confirmed && map.uid == *id)
}

fn two_clusters(found: &BTreeSet<&ClusterUid>, draft: &mut Draft) {
    let names: Vec<&str> = found.iter().map(|uid| uid.0.as_str()).collect();
    let message = format!("these pods belong to different clusters: {}", names.join(", "));
    draft.ail(Reason::TwoClusters, message.clone());
    draft.stuck(Reason::TwoClusters, message);
    draft.wait("a person to decide which cluster's volumes are to stay");
}

/// Writes how far the forming is; what relies on it comes in the next pass, that has read it.
pub(super) fn remember(scene: &Scene<'_>, formation: Formation, draft: &mut Draft) {
    let memory: Memory = scene.seen.memory.with_formation(formation);
    draft.act(Action::Remember { resource_version: scene.seen.object.resource_version.clone(), memory });
}
