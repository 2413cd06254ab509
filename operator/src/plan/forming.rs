//! From pods to a cluster, once: `Unknown`, `Forming`, `Formed`.
//!
//! The pods are the authority. With no id remembered, everybody is heard before anything is decided: a cluster that lives is
//! adopted, two stop everything, and only when all are empty is a new one named, remembered, and initialised, in this order.

use std::collections::BTreeSet;

use super::{Action, Draft, Reason, Scene, Severity, quorum, workload};
use crate::model::{Answer, ClusterUid, Formation, Incarnation, MapView, Memory, NodeId, Ordinal, StatefulSetView};

/// The map of the cluster if it is formed and a majority stands behind it; otherwise the step towards that.
pub(super) fn stage<'a>(scene: &Scene<'a>, sts: &StatefulSetView, draft: &mut Draft) -> Option<&'a MapView> {
    match &scene.seen.memory.formation {
        Formation::Unknown => unknown(scene, sts, draft),
        Formation::Forming { id, replaces } => forming(scene, sts, id, replaces.as_ref(), draft),
        Formation::Formed { id } => return formed(scene, sts, id, draft),
    }
    None
}

fn unknown(scene: &Scene<'_>, sts: &StatefulSetView, draft: &mut Draft) {
    draft.progress(Reason::Forming, "no cluster is formed yet, or one is looked for");
    let found = found(scene);
    if found.len() > 1 {
        return two_clusters(&found, draft);
    }
    if found.is_empty() && sts.replicas != scene.intent.replicas && resize(scene, sts, draft) {
        return;
    }
    let silent = silent(scene, sts);
    if !silent.is_empty() {
        return silent.into_iter().for_each(|who| draft.wait(who));
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
    let others: BTreeSet<&ClusterUid> = found(scene).into_iter().filter(|uid| Some(*uid) != replaces).collect();
    if others.iter().any(|uid| *uid != id) {
        let all = others.into_iter().chain([id]).collect();
        return two_clusters(&all, draft);
    }
    if confirmed(scene, id).is_some() {
        draft.note(Severity::Normal, Reason::Forming, format!("cluster {id} is formed"));
        return remember(scene, Formation::Formed { id: id.clone() }, draft);
    }
    if let Some(old) = replaces
        && empty_one(scene, sts, old, draft)
    {
        return;
    }
    if quorum::meta(scene, sts, id, draft) {
        return;
    }
    let silent = silent(scene, sts);
    if !silent.is_empty() {
        return silent.into_iter().for_each(|who| draft.wait(who));
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
    let message = format!("pod {} is of cluster {old}, which is lost: it starts anew", pod.live.name);
    draft.disrupt(Action::DeletePod { pod: pod.live.clone(), at_once: false }, Reason::QuorumLost, message);
    true
}

fn formed<'a>(scene: &Scene<'a>, sts: &StatefulSetView, id: &ClusterUid, draft: &mut Draft) -> Option<&'a MapView> {
    let mut all = found(scene);
    all.insert(id);
    if all.len() > 1 {
        two_clusters(&all, draft);
        return None;
    }
    let map = confirmed(scene, id);
    if map.is_none() && !quorum::meta(scene, sts, id, draft) {
        draft.wait(format!("a majority of the meta group of cluster {id} to answer"));
        scene.troubles(sts, None).into_iter().for_each(|trouble| draft.wait(trouble));
    }
    map
}

/// Clusters that pods say they belong to.
fn found<'a>(scene: &Scene<'a>) -> BTreeSet<&'a ClusterUid> {
    let answers = scene.seen.cluster.pods.values();
    answers
        .filter_map(|answer| match answer {
            Answer::Member { cluster_uid, .. } => Some(cluster_uid),
            Answer::Silent { .. } | Answer::Empty { .. } => None,
        })
        .collect()
}

/// Pods that have not said whether they belong to a cluster.
fn silent(scene: &Scene<'_>, sts: &StatefulSetView) -> Vec<String> {
    let expected = (0..sts.replicas).map(Ordinal);
    expected
        .filter_map(|ordinal| match scene.answer(ordinal.node()) {
            Some(Answer::Empty { .. } | Answer::Member { .. }) => None,
            Some(Answer::Silent { reason }) => {
                Some(scene.trouble(ordinal).unwrap_or_else(|| format!("pod {ordinal} to answer: {reason}")))
            }
            None => Some(scene.trouble(ordinal).unwrap_or_else(|| format!("pod {ordinal} to answer"))),
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
