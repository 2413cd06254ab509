//! The StatefulSet and its pods. Each change is bound to the StatefulSet as it was read: whoever changed it meanwhile is
//! looked at first.

use crema_crds::spec::UpdateKind;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Pod, Secret},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PropagationPolicy},
};
use serde_json::{Value, json};

use super::{
    ApplyError, Ground, Hands, bound_to, merge,
    objects::{exactly, put},
    unless_gone,
};
use crate::{
    FIELD_MANAGER,
    model::Live,
    objects::{self, Identity, Kind, REVISION},
};

/// The strategy by which a pod is only replaced once somebody deletes it.
const ON_DELETE: &str = "OnDelete";

/// Makes it, with the partition at rest.
pub(super) async fn create(hands: &Hands, ground: Ground<'_>, replicas: u32) -> Result<(), ApplyError> {
    let rendered = objects::stateful_set(ground.spec, ground.identity).with_scale(replicas, replicas);
    let kind = ground.spec.update.kind;
    let name = rendered.name.clone();
    let there = api(hands, ground).get_metadata_opt(&name).await;
    let there = there.map_err(|source| ApplyError::kube(format!("read StatefulSet {name}"), source))?;
    if there.is_some() {
        return Err(ApplyError::Foreign { kind: rendered.kind.name(), name });
    }
    token(hands, ground).await?;
    let failed = |source| ApplyError::kube(format!("create StatefulSet {name}"), source);
    let Some(resource) = hands.kinds.resolve(Kind::StatefulSet).await.map_err(failed)? else { return Ok(()) };
    // Without a uid it is refused where another's fields are in the way.
    put(hands, ground, &resource, with_strategy(rendered.manifest(&resource.version), kind), None).await
}

/// Pods take the token when they start: one that is about to go with a namesake which lived before would be lost.
async fn token(hands: &Hands, ground: Ground<'_>) -> Result<(), ApplyError> {
    let name = ground.identity.token_secret();
    let secrets: Api<Secret> = Api::namespaced(hands.client.clone(), &ground.identity.namespace);
    let found = secrets.get_metadata(&name).await;
    let found = found.map_err(|source| ApplyError::kube(format!("read Secret {name}"), source))?;
    let mut owners = found.metadata.owner_references.iter().flatten();
    let other = owners.any(|owner| owner.controller == Some(true) && owner.uid != ground.identity.uid);
    if other { Err(ApplyError::Foreign { kind: "Secret", name }) } else { Ok(()) }
}

/// Gives it another template, at rest. The size in its claim template can't be changed: it stays as it is. So does the
/// template itself if it has the revision that is wanted: an operator of another version may render it otherwise.
pub(super) async fn template(
    hands: &Hands,
    ground: Ground<'_>,
    sts: &Live,
    replicas: u32,
    partition: u32,
) -> Result<(), ApplyError> {
    let revision = &ground.identity.revision;
    let failed = |source| ApplyError::kube(format!("apply revision {revision} to {}", sts.name), source);
    let live = api(hands, ground).get(&sts.name).await.map_err(failed)?;
    let kind = ground.spec.update.kind;
    if revision_of(&live) == Some(revision) {
        let patch = amended(sts, &live, ground.identity, strategy(kind, partition));
        return merge(&api(hands, ground), &sts.name, &patch).await.map(drop).map_err(failed);
    }
    let mut version = sts.resource_version.clone();
    if kind == UpdateKind::Manual && !is_on_delete(&live) {
        // First by itself: server-side apply leaves a partition that a patch has written, and the two don't go together.
        let patch = json!({ "metadata": bound_to(sts), "spec": { "updateStrategy": strategy(kind, partition) } });
        let patched = merge(&api(hands, ground), &sts.name, &patch).await.map_err(failed)?;
        version = patched.metadata.resource_version.unwrap_or(version);
    }
    let mut rendered = objects::stateful_set(ground.spec, ground.identity).with_scale(replicas, partition);
    if let Some(size) = claim_size(&live) {
        rendered = rendered.with_claim_size(&size);
    }
    let Some(resource) = hands.kinds.resolve(Kind::StatefulSet).await.map_err(failed)? else { return Ok(()) };
    let mut manifest = with_strategy(rendered.manifest(&resource.version), kind);
    manifest["metadata"]["uid"] = sts.uid.as_str().into();
    manifest["metadata"]["resourceVersion"] = version.into();
    let by = PatchParams::apply(FIELD_MANAGER).force();
    api(hands, ground).patch(&sts.name, &by, &Patch::Apply(&manifest)).await.map(drop).map_err(failed)
}

/// Another number of pods, another partition, or both at once.
pub(super) async fn scale(
    hands: &Hands,
    ground: Ground<'_>,
    sts: &Live,
    replicas: Option<u32>,
    partition: u32,
) -> Result<(), ApplyError> {
    let seen = ground.sight.seen.sts.as_ref();
    let partition = Some(partition).filter(|_| seen.is_some_and(|seen| seen.update == UpdateKind::Rolling));
    let patched = merge(&api(hands, ground), &sts.name, &scaled(sts, replicas, partition)).await;
    patched.map(drop).map_err(|source| ApplyError::kube(format!("patch StatefulSet {}", sts.name), source))
}

/// A strategy that replaces no pod by itself knows no partition.
fn scaled(sts: &Live, replicas: Option<u32>, partition: Option<u32>) -> Value {
    let mut patch = json!({ "metadata": bound_to(sts), "spec": {} });
    if let Some(partition) = partition {
        patch["spec"]["updateStrategy"] = json!({ "rollingUpdate": { "partition": partition } });
    }
    if let Some(replicas) = replicas {
        patch["spec"]["replicas"] = replicas.into();
    }
    patch
}

/// Who replaces pods, as the StatefulSet has it: the planner compares it with the spec.
fn with_strategy(mut manifest: Value, kind: UpdateKind) -> Value {
    match kind {
        UpdateKind::Rolling => {}
        UpdateKind::Manual => manifest["spec"]["updateStrategy"] = json!({ "type": ON_DELETE }),
    }
    manifest
}

/// The same, for a patch: it takes away what doesn't go with it.
fn strategy(kind: UpdateKind, partition: u32) -> Value {
    match kind {
        UpdateKind::Rolling => json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": partition } }),
        UpdateKind::Manual => json!({ "type": ON_DELETE, "rollingUpdate": null }),
    }
}

/// A StatefulSet that is ours, with this strategy, and with the template that it has.
fn amended(sts: &Live, live: &StatefulSet, identity: &Identity, strategy: Value) -> Value {
    let mut patch = json!({ "metadata": bound_to(sts), "spec": { "updateStrategy": strategy } });
    let owners = live.metadata.owner_references.as_deref().unwrap_or_default();
    if !owners.iter().any(|owner| owner.uid == identity.uid) {
        let others = owners.iter().map(|owner| json!(owner));
        patch["metadata"]["ownerReferences"] = others.chain([identity.owner()]).collect();
    }
    patch
}

fn revision_of(sts: &StatefulSet) -> Option<&String> {
    sts.spec.template.metadata.as_ref()?.annotations.as_ref()?.get(REVISION)
}

fn is_on_delete(sts: &StatefulSet) -> bool {
    let strategy = sts.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    strategy == Some(ON_DELETE)
}

/// Deletes it and leaves its pods.
pub(super) async fn orphan(hands: &Hands, ground: Ground<'_>, sts: &Live) -> Result<(), ApplyError> {
    let mut how = exactly(sts);
    how.propagation_policy = Some(PropagationPolicy::Orphan);
    let deleted = api(hands, ground).delete(&sts.name, &how).await;
    unless_gone(deleted, || format!("delete StatefulSet {}, leaving its pods", sts.name))
}

/// Deletes a pod; at once, if its machine will not answer.
pub(super) async fn delete_pod(
    hands: &Hands,
    ground: Ground<'_>,
    pod: &Live,
    at_once: bool,
) -> Result<(), ApplyError> {
    let how = if at_once { exactly(pod).grace_period(0) } else { exactly(pod) };
    let pods: Api<Pod> = Api::namespaced(hands.client.clone(), &ground.identity.namespace);
    unless_gone(pods.delete(&pod.name, &how).await, || format!("delete pod {}", pod.name))
}

fn api(hands: &Hands, ground: Ground<'_>) -> Api<StatefulSet> {
    Api::namespaced(hands.client.clone(), &ground.identity.namespace)
}

/// What the claim template asks for, as it is written there.
fn claim_size(sts: &StatefulSet) -> Option<String> {
    let claims = sts.spec.volume_claim_templates.as_ref()?;
    let requests = claims.first()?.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_bound_to_what_was_read() {
        let sts = Live { name: "cart".to_owned(), uid: "u".to_owned(), resource_version: "7".to_owned() };
        let strategy = json!({ "rollingUpdate": { "partition": 4 } });
        let bound = json!({ "uid": "u", "resourceVersion": "7" });
        let both = json!({ "metadata": bound, "spec": { "replicas": 5, "updateStrategy": strategy } });
        assert_eq!(scaled(&sts, Some(5), Some(4)), both);
        let one = json!({ "metadata": bound, "spec": { "updateStrategy": strategy } });
        assert_eq!(scaled(&sts, None, Some(4)), one);
        assert_eq!(scaled(&sts, Some(5), None), json!({ "metadata": bound, "spec": { "replicas": 5 } }));
    }

    #[test]
    fn a_person_who_replaces_pods_knows_no_partition() {
        let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 3 } });
        let manifest = json!({ "spec": { "replicas": 3, "updateStrategy": rolling } });
        assert_eq!(with_strategy(manifest.clone(), UpdateKind::Rolling), manifest);
        let by_hand = with_strategy(manifest, UpdateKind::Manual);
        assert_eq!(by_hand, json!({ "spec": { "replicas": 3, "updateStrategy": { "type": "OnDelete" } } }));
        let sts: StatefulSet = serde_json::from_value(json!({ "metadata": {}, "spec": {
            "selector": {}, "template": {}, "updateStrategy": { "type": "OnDelete" },
        } }))
        .expect("one");
        assert!(is_on_delete(&sts));
    }

    #[test]
    fn a_template_of_this_revision_stays_as_it_is() {
        let text = |text: &str| text.to_owned();
        let identity = Identity { name: text("cart"), namespace: text("shop"), uid: text("c"), revision: text("r1") };
        let sts = Live { name: text("cart"), uid: text("u"), resource_version: text("7") };
        let of = |owners: Value| -> StatefulSet {
            let template = json!({ "metadata": { "annotations": { (REVISION): "r1" } } });
            let spec = json!({ "selector": {}, "template": template });
            serde_json::from_value(json!({ "metadata": { "ownerReferences": owners }, "spec": spec })).expect("one")
        };
        let orphan = of(json!([]));
        assert_eq!(revision_of(&orphan), Some(&identity.revision));
        let patch = amended(&sts, &orphan, &identity, strategy(UpdateKind::Manual, 3));
        let by_hand = json!({ "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } });
        let metadata = json!({ "uid": "u", "resourceVersion": "7", "ownerReferences": [identity.owner()] });
        assert_eq!(patch, json!({ "metadata": metadata, "spec": by_hand }));
        let ours = of(json!([identity.owner()]));
        let patch = amended(&sts, &ours, &identity, strategy(UpdateKind::Rolling, 3));
        let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 3 } });
        let metadata = json!({ "uid": "u", "resourceVersion": "7" });
        assert_eq!(patch, json!({ "metadata": metadata, "spec": { "updateStrategy": rolling } }));
    }

    #[test]
    fn the_size_of_a_claim_is_told_as_it_is_written() {
        let template = |size: Value| {
            let spec = json!({ "resources": { "requests": { "storage": size } } });
            let claims = json!([{ "metadata": { "name": "data" }, "spec": spec }]);
            let spec = json!({ "selector": {}, "template": {}, "volumeClaimTemplates": claims });
            let sts: StatefulSet = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).expect("one");
            claim_size(&sts)
        };
        assert_eq!(template(json!("1024Mi")).as_deref(), Some("1024Mi"));
    }
}
