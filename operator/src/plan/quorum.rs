//! Groups that lost their majority for good, and what `quorumLoss` says of them.
//!
//! Nothing is given up without proof: the member reports another life, its process has ended in memory mode, or its machine
//! is gone with what was on it. Silence is no proof.

use std::collections::BTreeSet;

use crema_crds::spec::QuorumLoss;

use super::{Action, Draft, Reason, Scene, Severity, action::named, forming::remember, scene::majority, workload};
use crate::model::{
    Answer, ClusterUid, Formation, Group, GroupView, Incarnation, MapView, NodeId, Ordinal, StatefulSetView, Storage,
};

/// Shards whose majority is proved dead return empty, if that is what the spec says.
pub(super) fn shards(scene: &Scene<'_>, _: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let mut lost = Vec::new();
    let mut dead = Vec::new();
    for (name, group) in &map.groups {
        let Group::Shard(shard) = name else { continue };
        if is_lost(scene, map, group) {
            lost.push(*shard);
            dead.extend(proved(scene, map, group));
        } else if scene.sound_without(map, group, None) < majority(group) && group.leader.is_none() {
            draft.wait(format!("a majority of {name}, whose voters are not proved dead"));
        }
    }
    if lost.is_empty() {
        return;
    }
    dead.sort();
    dead.dedup();
    let groups: Vec<Group> = lost.iter().map(|shard| Group::Shard(*shard)).collect();
    let message = format!("lost the majority of the replicas for good: {}", named(&groups));
    draft.ail(Reason::QuorumLost, message.clone());
    match scene.intent.quorum_loss {
        QuorumLoss::Wait => draft.wait(format!("a person: {message}, and spec.quorumLoss is wait")),
        QuorumLoss::Reset => {
            let reset = Action::ResetShards { shards: lost, dead, expected: map.version };
            draft.progress(Reason::Repairing, message.clone());
            draft.note(Severity::Warning, Reason::QuorumLost, format!("{message}; what was in there is lost"));
            draft.disrupt(reset, Reason::QuorumLost, format!("reset, to return empty: {}", named(&groups)));
        }
    }
}

/// Without its meta group the whole cluster forms anew, under another id. True if that is what this pass does.
pub(super) fn meta(scene: &Scene<'_>, sts: &StatefulSetView, id: &ClusterUid, draft: &mut Draft) -> bool {
    if !is_meta_lost(scene, sts, id) {
        return false;
    }
    let message = format!("cluster {id} lost the majority of its meta group for good");
    draft.ail(Reason::QuorumLost, message.clone());
    // A map that is newer than any that was seen may name other voters: whoever could have it is heard, or proved dead.
    let unheard = unheard(scene, sts, id);
    if !unheard.is_empty() {
        let names: Vec<String> = unheard.iter().map(NodeId::to_string).collect();
        draft
            .wait(format!("word from node {}, or proof of its end: {message}, as far as is known", names.join(", ")));
        return false;
    }
    match (scene.intent.quorum_loss, scene.intent.storage, holds_nothing(scene, sts)) {
        (QuorumLoss::Wait, ..) => {
            draft.wait(format!("a person: {message}, and spec.quorumLoss is wait"));
            false
        }
        (QuorumLoss::Reset, Storage::Disk { .. }, false) => {
            draft.wait(format!(
                "a person: {message}, and some pods still have their volumes: see cremactl recover-meta"
            ));
            false
        }
        (QuorumLoss::Reset, Storage::Memory, _) | (QuorumLoss::Reset, Storage::Disk { .. }, true) => {
            let fresh = scene.seen.draw.clone();
            draft.progress(Reason::Repairing, message.clone());
            let note = format!("{message}: cluster {fresh} takes its place, empty");
            draft.note(Severity::Warning, Reason::QuorumLost, note);
            remember(scene, Formation::Forming { id: fresh, replaces: Some(id.clone()) }, draft);
            true
        }
    }
}

/// Pods and members that were not heard and may live.
fn unheard(scene: &Scene<'_>, sts: &StatefulSetView, id: &ClusterUid) -> Vec<NodeId> {
    let map = scene.seen.cluster.map.as_ref().filter(|map| map.uid == *id);
    let expected = (0..sts.replicas).map(|ordinal| Ordinal(ordinal).node());
    let pods = scene.pods().map(|pod| pod.ordinal.node());
    let members = map.into_iter().flat_map(|map| map.present()).map(|(node, _)| node);
    let all: BTreeSet<NodeId> = expected.chain(pods).chain(members).collect();
    let may_live = |node: &NodeId| {
        let member = map.and_then(|map| Some((map, map.members.get(node)?)));
        scene.life(*node).is_none()
            && match member {
                Some((map, member)) => !scene.is_dead(map, *node, &member.incarnation),
                None => scene.pod_of(*node).is_some_and(|pod| !workload::is_idle(&pod.state)),
            }
    };
    all.into_iter().filter(may_live).collect()
}

fn is_meta_lost(scene: &Scene<'_>, sts: &StatefulSetView, id: &ClusterUid) -> bool {
    // Members of a cluster that is still being formed may be empty because they were not told yet.
    let forming = matches!(scene.seen.memory.formation, Formation::Forming { .. });
    match scene.seen.cluster.map.as_ref().filter(|map| map.uid == *id) {
        Some(map) => map.groups.get(&Group::Meta).is_some_and(|meta| is_lost(scene, map, meta)),
        None => !forming && holds_nothing(scene, sts),
    }
}

/// Every pod that there should be has said that it belongs to no cluster.
fn holds_nothing(scene: &Scene<'_>, sts: &StatefulSetView) -> bool {
    let mut expected = (0..sts.replicas).map(|ordinal| scene.answer(Ordinal(ordinal).node()));
    sts.replicas > 0 && expected.all(|answer| matches!(answer, Some(Answer::Empty { .. })))
}

fn is_lost(scene: &Scene<'_>, map: &MapView, group: &GroupView) -> bool {
    let alive = group.voters.len() - proved(scene, map, group).count();
    // Who leads has a majority that answers, whatever the map says of its voters.
    let led = group.leader.is_some_and(|leader| {
        let voter = group.voters.iter().find(|voter| voter.node == leader);
        voter.is_none_or(|voter| !scene.is_dead(map, leader, &voter.incarnation))
    });
    !group.voters.is_empty() && alive < majority(group) && !led
}

/// Voters whose life is proved dead.
fn proved(scene: &Scene<'_>, map: &MapView, group: &GroupView) -> impl Iterator<Item = (NodeId, Incarnation)> {
    let voters = group.voters.iter().filter(move |voter| scene.is_dead(map, voter.node, &voter.incarnation));
    voters.map(|voter| (voter.node, voter.incarnation.clone()))
}
