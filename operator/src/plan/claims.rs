//! Volume claims: what becomes of them, and how they grow.
//!
//! There is one mechanism on all versions of Kubernetes: a claim that is to go with the cluster has the CremaCluster for an
//! owner, a claim that is to stay has none.

use crema_crds::{Amount, spec::UpdateKind};

use super::{Action, Draft, Reason, Scene, Severity};
use crate::model::{ClaimView, MapView, MemberState, StatefulSetView, Storage};

/// Claims go with the object, or stay, as the spec says.
pub(super) fn retention(scene: &Scene<'_>, draft: &mut Draft) {
    let Storage::Disk { delete_with_object, .. } = scene.intent.storage else { return };
    let odd = |claim: &&ClaimView| !claim.terminating && claim.owned != delete_with_object;
    for claim in scene.seen.claims.iter().filter(odd) {
        draft.act(Action::OwnClaim { claim: claim.live.clone(), owned: delete_with_object });
    }
}

/// Claims of pods that were scaled away, one in each pass.
pub(super) fn scaled(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let Storage::Disk { delete_when_scaled: true, .. } = scene.intent.storage else { return };
    let kept = sts.replicas.max(scene.intent.replicas);
    let beyond = scene.seen.claims.iter().filter(|claim| claim.ordinal.0 >= kept && !claim.terminating);
    let spent = beyond.filter(|claim| !scene.seen.pods.iter().any(|pod| pod.ordinal == claim.ordinal));
    let left = |claim: &&ClaimView| match map.state_of(claim.ordinal.node()) {
        None | Some(MemberState::Removed) => true,
        Some(MemberState::Joining | MemberState::Up | MemberState::Draining | MemberState::Down) => false,
    };
    let Some(claim) = spent.into_iter().find(left) else { return };
    let message = format!("claim {} goes: its member has left, and whenScaled is Delete", claim.live.name);
    draft.progress(Reason::Scaling, message.clone());
    draft.disrupt(Action::DeleteClaim { claim: claim.live.clone() }, Reason::Retention, message);
}

/// Larger volumes: the claims first, then a StatefulSet whose template asks for as much.
pub(super) fn growth(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) {
    let Storage::Disk { bytes, .. } = scene.intent.storage else { return };
    let size = Amount::of_bytes(bytes);
    let replicas = sts.replicas;
    let claims = || scene.seen.claims.iter().filter(move |claim| claim.ordinal.0 < replicas && !claim.terminating);
    let (growable, fixed): (Vec<_>, Vec<_>) =
        claims().filter(|claim| claim.requested_bytes < bytes).partition(|claim| claim.growable);
    for claim in &growable {
        draft.note(Severity::Normal, Reason::Growing, format!("claim {} grows to {size}", claim.live.name));
        draft.act(Action::GrowClaim { claim: claim.live.clone(), bytes });
    }
    if !fixed.is_empty() {
        let names: Vec<&str> = fixed.iter().map(|claim| claim.live.name.as_str()).collect();
        let message = format!("claims that can't grow, by their storage class: {}", names.join(", "));
        draft.ail(Reason::NotGrown, message.clone());
        return draft.wait(format!("a person: {message}"));
    }
    let growing = claims().filter(|claim| claim.requested_bytes >= bytes && claim.capacity_bytes < bytes).count();
    if growing + growable.len() > 0 {
        draft.progress(Reason::Growing, format!("{} volumes are growing", growing + growable.len()));
    }
    let small = sts.claim_bytes.is_some_and(|template| template < bytes);
    if small && growable.is_empty() && is_quiet(scene, sts, map, draft) {
        let message = format!("the StatefulSet is made anew, around its pods: new claims have {size}");
        draft.progress(Reason::Growing, message.clone());
        draft.disrupt(Action::OrphanStatefulSet { sts: sts.live.clone() }, Reason::Growing, message);
    }
}

/// Nothing else goes on that needs the StatefulSet to be there.
fn is_quiet(scene: &Scene<'_>, sts: &StatefulSetView, map: &MapView, draft: &mut Draft) -> bool {
    let scaled =
        sts.replicas == scene.intent.replicas && !map.present().any(|(node, _)| node.is_beyond(sts.replicas));
    let at_rest = match sts.update {
        UpdateKind::Rolling => sts.partition == sts.replicas,
        UpdateKind::Manual => true,
    };
    let rolled = at_rest && scene.pods().all(|pod| pod.revision == sts.revision);
    let quiet = scaled && rolled && scene.troubles(sts, None).is_empty();
    if !quiet {
        draft.wait("all pods to be ready and up to date, before the StatefulSet is made anew for larger claims");
    }
    quiet
}
