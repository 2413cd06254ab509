//! Volume claims: larger, owned or not, or gone.

use crema_crds::{Amount, GROUP, KIND, VERSION};
use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::Api;
use serde_json::json;

use super::{ApplyError, Ground, Hands, bound_to, merge, objects::exactly, unless_gone};
use crate::{model::Live, objects::Identity};

/// Asks for a larger volume. The API server refuses it where the class allows none.
pub(super) async fn grow(hands: &Hands, ground: Ground<'_>, claim: &Live, bytes: u64) -> Result<(), ApplyError> {
    let requests = json!({ "resources": { "requests": { "storage": Amount::of_bytes(bytes) } } });
    let patch = json!({ "metadata": bound_to(claim), "spec": requests });
    let patched = merge(&api(hands, ground), &claim.name, &patch).await;
    patched.map(drop).map_err(|source| ApplyError::kube(format!("grow claim {}", claim.name), source))
}

/// Makes the CremaCluster an owner of a claim, or takes that back. Other owners stay.
pub(super) async fn own(hands: &Hands, ground: Ground<'_>, claim: &Live, owned: bool) -> Result<(), ApplyError> {
    let failed = |source| ApplyError::kube(format!("change the owners of claim {}", claim.name), source);
    let api = api(hands, ground);
    let there = api.get_metadata(&claim.name).await.map_err(failed)?;
    let owners = owners(there.metadata.owner_references.unwrap_or_default(), ground.identity, owned);
    // The version that was planned with goes along: had the owners changed since, it is refused.
    let mut patch = json!({ "metadata": bound_to(claim) });
    patch["metadata"]["ownerReferences"] = json!(owners);
    merge(&api, &claim.name, &patch).await.map(drop).map_err(failed)
}

/// Without `controller`: the StatefulSet's controller must not take it for another's.
fn owners(before: Vec<OwnerReference>, identity: &Identity, owned: bool) -> Vec<OwnerReference> {
    let mut owners: Vec<OwnerReference> = before.into_iter().filter(|owner| owner.uid != identity.uid).collect();
    owners.extend(owned.then(|| OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: KIND.to_owned(),
        name: identity.name.clone(),
        uid: identity.uid.clone(),
        ..OwnerReference::default()
    }));
    owners
}

/// Deletes it, and with it a volume.
pub(super) async fn delete(hands: &Hands, ground: Ground<'_>, claim: &Live) -> Result<(), ApplyError> {
    let deleted = api(hands, ground).delete(&claim.name, &exactly(claim)).await;
    unless_gone(deleted, || format!("delete claim {}", claim.name))
}

fn api(hands: &Hands, ground: Ground<'_>) -> Api<PersistentVolumeClaim> {
    Api::namespaced(hands.client.clone(), &ground.identity.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_owners_stay() {
        let text = |text: &str| text.to_owned();
        let identity =
            Identity { name: text("cart"), namespace: text("shop"), uid: text("c"), revision: String::new() };
        let other = OwnerReference { uid: text("x"), ..OwnerReference::default() };
        let both = owners(vec![other.clone()], &identity, true);
        let uids: Vec<&str> = both.iter().map(|owner| owner.uid.as_str()).collect();
        assert_eq!(uids, ["x", "c"]);
        assert_eq!((both[1].api_version.as_str(), both[1].controller), ("crema.io/v1alpha1", None));
        assert_eq!(owners(both.clone(), &identity, true), both, "twice is once");
        assert_eq!(owners(both, &identity, false), [other]);
    }
}
