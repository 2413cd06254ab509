//! The other objects that carry the labels of a cluster: of each its metadata only.

use std::collections::BTreeSet;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, ObjectMeta},
};

use super::{ObserveError, workload};
use crate::{
    kinds::Kinds,
    model::OwnedHash,
    objects::{HASH, Identity, Kind, ROLE, ROLE_SETTINGS},
};

/// Everything but the StatefulSet. `referred`: ConfigMaps that something refers to.
pub(super) async fn owned(
    client: &Client,
    kinds: &Kinds,
    identity: &Identity,
    referred: &BTreeSet<String>,
) -> Result<Vec<OwnedHash>, ObserveError> {
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::StatefulSet) {
        let read = |source| ObserveError::of(kind.plural(), source);
        let Some(resource) = kinds.resolve(kind).await.map_err(read)? else { continue };
        let metas = match labelled(client, identity, &resource).await {
            Ok(metas) => metas,
            // Who may not read what a spec need not ask for hears of it when it does: then writing fails.
            Err(kube::Error::Api(status))
                if kind.is_optional() && (status.is_forbidden() || status.is_not_found()) =>
            {
                continue;
            }
            Err(error) => return Err(read(error)),
        };
        all.extend(metas.iter().filter_map(|meta| view(kind, meta, &identity.uid, referred)));
    }
    Ok(all)
}

async fn labelled(
    client: &Client,
    identity: &Identity,
    resource: &ApiResource,
) -> Result<Vec<ObjectMeta>, kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &identity.namespace, resource);
    let selected = ListParams::default().labels(&identity.selector_text());
    Ok(api.list_metadata(&selected).await?.into_iter().map(|object| object.metadata).collect())
}

fn view(kind: Kind, meta: &ObjectMeta, uid: &str, referred: &BTreeSet<String>) -> Option<OwnedHash> {
    let live = workload::live(meta)?;
    let role = meta.labels.as_ref().and_then(|labels| labels.get(ROLE));
    let hash = meta.annotations.as_ref().and_then(|annotations| annotations.get(HASH));
    Some(OwnedHash {
        kind: kind.name().to_owned(),
        control: workload::control(meta, Some(uid)),
        hash: hash.cloned().unwrap_or_default(),
        is_process_config: kind == Kind::ConfigMap && role.is_some_and(|role| role == ROLE_SETTINGS),
        referred: kind == Kind::ConfigMap && referred.contains(&live.name),
        live,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Control;

    #[test]
    fn settings_are_told_from_other_config_maps() {
        let view = |role: &str, name: &str| {
            let owner = json!([{"apiVersion": "v", "kind": "k", "name": "cart", "uid": "u", "controller": true}]);
            let meta = json!({
                "name": name, "uid": "x", "resourceVersion": "3", "ownerReferences": owner,
                "labels": {(ROLE): role}, "annotations": {(HASH): "h1"},
            });
            let meta: ObjectMeta = serde_json::from_value(meta).expect("metadata");
            super::view(Kind::ConfigMap, &meta, "u", &BTreeSet::from(["cart-config-1".to_owned()])).expect("a view")
        };
        let used = view(ROLE_SETTINGS, "cart-config-1");
        assert!(used.is_process_config && used.referred);
        assert_eq!((used.hash.as_str(), used.control), ("h1", Control::Ours));
        let spent = view(ROLE_SETTINGS, "cart-config-2");
        assert!(spent.is_process_config && !spent.referred);
        assert!(!view("accepted-spec", "cart-accepted").is_process_config);
    }
}
