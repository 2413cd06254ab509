//! Everything but the StatefulSet: server-side apply of what is rendered, the token, and what nobody asks for any more.
//!
//! An object is written only if it is ours, bears our labels and has no other owner, or does not exist. One that can't be
//! written does not stop the others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

use super::{ApplyError, Ground, Hands, merge, unless_gone};
use crate::{
    FIELD_MANAGER,
    model::{Control, Live, OwnedHash, PodState, PodView, StatefulSetView},
    objects::{self, Kind, Rendered, TOKEN_KEY, ZONE},
};

/// Writes them all.
pub(super) async fn apply(hands: &Hands, ground: Ground<'_>, max_unavailable: u32) -> Result<(), ApplyError> {
    let mut failed = Vec::new();
    failed.extend(token(hands, ground).await.err());
    let rendered = objects::desired(ground.spec, ground.identity);
    let (seen, revision) = (&ground.sight.seen, ground.identity.revision.as_str());
    let settings = objects::settings_name(ground.spec, ground.identity);
    let idle = is_for_nobody(&settings, revision, seen.sts.as_ref(), &seen.pods);
    let wanted = |object: &&Rendered| object.kind != Kind::StatefulSet && !(idle && object.name == settings);
    for object in rendered.iter().filter(wanted) {
        failed.extend(write(hands, ground, object, max_unavailable).await.err());
    }
    for spent in spent(&rendered, &ground.sight.seen.owned) {
        failed.extend(delete_spent(hands, ground, spent).await.err());
    }
    for (pod, zone) in &ground.sight.zones {
        failed.extend(tell_zone(hands, ground, pod, zone).await.err());
    }
    if failed.is_empty() { Ok(()) } else { Err(ApplyError::Some(failed)) }
}

/// Whether process settings would be written for nobody: the pods have this very revision and other settings, those of an
/// operator of another version. Written all the same, they would be deleted in the next pass, and so for ever.
fn is_for_nobody(settings: &str, revision: &str, sts: Option<&StatefulSetView>, pods: &[PodView]) -> bool {
    let is_current = sts.is_some_and(|sts| sts.revision == revision && !sts.deleting);
    let of_pods = pods.iter().filter(|pod| pod.revision == revision).filter_map(|pod| pod.config.as_deref());
    let configs: Vec<&str> = of_pods.collect();
    is_current && !configs.is_empty() && !configs.contains(&settings)
}

async fn write(hands: &Hands, ground: Ground<'_>, object: &Rendered, max_unavailable: u32) -> Result<(), ApplyError> {
    let failed = |source| ApplyError::kube(format!("apply {} {}", object.kind.name(), object.name), source);
    // The controller says which kinds are missing here.
    let Some(resource) = hands.kinds.resolve(object.kind).await.map_err(failed)? else { return Ok(()) };
    let object = match object.kind {
        Kind::PodDisruptionBudget => object.clone().with_budget(max_unavailable),
        Kind::ServiceAccount | Kind::ConfigMap | Kind::Service | Kind::StatefulSet | Kind::ServiceMonitor => {
            object.clone()
        }
    };
    let owned = &ground.sight.seen.owned;
    let known = owned.iter().find(|owned| owned.kind == object.kind.name() && owned.live.name == object.name);
    let uid = match known {
        Some(known) => Some(ours(known, &object)?),
        None => unlabelled(hands, ground, &resource, &object).await?,
    };
    put(hands, ground, &resource, object.manifest(&resource.version), uid.as_deref()).await
}

/// The uid of one with our labels. If it has no owner it was orphaned, and is ours again.
fn ours(known: &OwnedHash, object: &Rendered) -> Result<String, ApplyError> {
    match known.control {
        Control::Ours | Control::Nobody => Ok(known.live.uid.clone()),
        Control::Other(_) => Err(ApplyError::Foreign { kind: object.kind.name(), name: object.name.clone() }),
    }
}

/// The uid of an object that lacks our labels, if it is ours all the same; an error if it isn't, `None` if there is none.
async fn unlabelled(
    hands: &Hands,
    ground: Ground<'_>,
    resource: &ApiResource,
    object: &Rendered,
) -> Result<Option<String>, ApplyError> {
    let api: Api<DynamicObject> = Api::namespaced_with(hands.client.clone(), &ground.identity.namespace, resource);
    let found = api.get_metadata_opt(&object.name).await;
    let found = found.map_err(|source| ApplyError::kube(format!("read {}", object.name), source))?;
    match found {
        None => Ok(None),
        Some(found) if is_controlled_by(&found.metadata, &ground.identity.uid) => Ok(found.metadata.uid),
        Some(_) => Err(ApplyError::Foreign { kind: object.kind.name(), name: object.name.clone() }),
    }
}

fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Server-side apply: of this very object, whose fields are then ours; or of a new one, which nobody may have made meanwhile.
pub(super) async fn put(
    hands: &Hands,
    ground: Ground<'_>,
    resource: &ApiResource,
    mut manifest: Value,
    uid: Option<&str>,
) -> Result<(), ApplyError> {
    // Whoever was frozen in the middle of a pass must not put an old spec over a new one.
    hands.may_act()?;
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut by = PatchParams::apply(FIELD_MANAGER);
    if let Some(uid) = uid {
        manifest["metadata"]["uid"] = uid.into();
        by = by.force();
    }
    let api: Api<DynamicObject> = Api::namespaced_with(hands.client.clone(), &ground.identity.namespace, resource);
    let done = api.patch(&name, &by, &Patch::Apply(&manifest)).await;
    done.map(drop).map_err(|source| ApplyError::kube(format!("apply {} {name}", resource.kind), source))
}

/// Objects of ours that the spec no longer asks for.
fn spent<'a>(rendered: &[Rendered], owned: &'a [OwnedHash]) -> Vec<(Kind, &'a Live)> {
    let optional = Kind::ALL.into_iter().filter(|kind| kind.is_optional());
    let unwanted = optional.filter(|kind| !rendered.iter().any(|object| object.kind == *kind));
    let of =
        |kind: Kind| owned.iter().filter(move |owned| owned.kind == kind.name() && owned.control == Control::Ours);
    unwanted.flat_map(|kind| of(kind).map(move |owned| (kind, &owned.live))).collect()
}

async fn delete_spent(hands: &Hands, ground: Ground<'_>, (kind, live): (Kind, &Live)) -> Result<(), ApplyError> {
    let what = || format!("delete {} {}", kind.name(), live.name);
    let resource = hands.kinds.resolve(kind).await;
    let resource = resource.map_err(|source| ApplyError::kube(what(), source))?;
    let Some(resource) = resource else { return Ok(()) };
    let api: Api<DynamicObject> = Api::namespaced_with(hands.client.clone(), &ground.identity.namespace, &resource);
    unless_gone(api.delete(&live.name, &exactly(live)).await, what)
}

/// Deletes process settings; they were seen to be referred to by nobody.
pub(super) async fn delete_config(hands: &Hands, ground: Ground<'_>, config: &Live) -> Result<(), ApplyError> {
    let api: Api<ConfigMap> = Api::namespaced(hands.client.clone(), &ground.identity.namespace);
    unless_gone(api.delete(&config.name, &exactly(config)).await, || format!("delete ConfigMap {}", config.name))
}

/// This very object, as it was read.
pub(super) fn exactly(live: &Live) -> DeleteParams {
    let preconditions =
        Preconditions { uid: Some(live.uid.clone()), resource_version: Some(live.resource_version.clone()) };
    DeleteParams::background().preconditions(preconditions)
}

/// The secret with the token of `Admin`: made once, and never while pods run that have another one.
async fn token(hands: &Hands, ground: Ground<'_>) -> Result<(), ApplyError> {
    if ground.sight.has_token {
        return Ok(());
    }
    let name = ground.identity.token_secret();
    let lives = ground.sight.seen.pods.iter().any(|pod| match pod.state {
        PodState::Starting | PodState::Ready | PodState::Stopped(_) => true,
        PodState::Pending(_) | PodState::Terminating => false,
    });
    if lives {
        return Err(ApplyError::TokenLost(name));
    }
    let text = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    let failed = |source| ApplyError::kube(format!("create Secret {name}"), source);
    let metadata = json!({
        "name": name,
        "labels": ground.identity.labels(),
        "ownerReferences": [ground.identity.owner()],
    });
    let metadata: ObjectMeta = serde_json::from_value(metadata).map_err(kube::Error::SerdeError).map_err(failed)?;
    let secret =
        Secret { metadata, string_data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), text)])), ..Secret::default() };
    let api: Api<Secret> = Api::namespaced(hands.client.clone(), &ground.identity.namespace);
    let by = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    // One that is there without a token, or that was just made, is told by its conflict.
    api.create(&by, &secret).await.map(drop).map_err(failed)
}

/// Tells a pod which zone its machine is in.
async fn tell_zone(hands: &Hands, ground: Ground<'_>, pod: &Live, zone: &str) -> Result<(), ApplyError> {
    let api: Api<Pod> = Api::namespaced(hands.client.clone(), &ground.identity.namespace);
    // Its version changes while it starts; that it is this very pod is enough.
    let patch = json!({ "metadata": { "uid": pod.uid, "annotations": { (ZONE): zone } } });
    unless_gone(merge(&api, &pod.name, &patch).await, || format!("tell pod {} its zone", pod.name))
}

#[cfg(test)]
mod tests {
    use crema_crds::spec::UpdateKind;

    use super::*;
    use crate::model::Ordinal;

    fn owned(kind: Kind, control: Control) -> OwnedHash {
        let live = Live { name: "cart".to_owned(), uid: kind.name().to_owned(), resource_version: "1".to_owned() };
        OwnedHash {
            kind: kind.name().to_owned(),
            live,
            control,
            hash: String::new(),
            is_process_config: false,
            referred: false,
        }
    }

    #[test]
    fn only_what_is_optional_and_ours_is_spent() {
        let all: Vec<OwnedHash> = Kind::ALL.into_iter().map(|kind| owned(kind, Control::Ours)).collect();
        let kinds: Vec<Kind> = spent(&[], &all).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [Kind::PodDisruptionBudget, Kind::ServiceMonitor]);
        let foreign = [owned(Kind::ServiceMonitor, Control::Other("x".to_owned()))];
        assert!(spent(&[], &foreign).is_empty());
    }

    #[test]
    fn an_operator_of_another_version_writes_no_settings_that_nobody_has() {
        let live = |name: &str| Live { name: name.to_owned(), uid: String::new(), resource_version: String::new() };
        let sts = StatefulSetView {
            live: live("cart"),
            control: Control::Ours,
            deleting: false,
            replicas: 1,
            update: UpdateKind::Rolling,
            partition: 1,
            revision: "r1".to_owned(),
            current: None,
            settled: true,
            claim_bytes: None,
        };
        let pod = |revision: &str, config: &str| PodView {
            live: live("cart-0"),
            control: Control::Ours,
            ordinal: Ordinal(0),
            state: PodState::Ready,
            since_ms: 0,
            machine: None,
            revision: revision.to_owned(),
            config: Some(config.to_owned()),
        };
        let idle = |pods: &[PodView]| is_for_nobody("new", "r1", Some(&sts), pods);
        assert!(idle(&[pod("r1", "old")]));
        assert!(!idle(&[pod("r1", "old"), pod("r1", "new")]));
        assert!(!idle(&[pod("r0", "old")]), "the first pod of the revision is still to come");
        assert!(!is_for_nobody("new", "r2", Some(&sts), &[pod("r1", "old")]), "a new template is to come");
        assert!(!is_for_nobody("new", "r1", None, &[pod("r1", "old")]), "the StatefulSet is made anew");
    }

    #[test]
    fn a_deletion_is_bound_to_what_was_read() {
        let params = exactly(&owned(Kind::ConfigMap, Control::Ours).live);
        let preconditions = params.preconditions.expect("some");
        assert_eq!(preconditions.uid.as_deref(), Some("ConfigMap"));
        assert_eq!(preconditions.resource_version.as_deref(), Some("1"));
    }
}
