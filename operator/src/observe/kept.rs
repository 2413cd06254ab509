//! What an edit of the spec is judged against: what there is, and only where nothing is, what was last accepted. Pure.

use crema_crds::{
    names,
    spec::{CremaClusterSpec, StorageKind},
    validate::Accepted,
};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};

use super::{Raw, workload};
use crate::{
    model::{ClaimView, Control, Group, MapView},
    objects::{ACCEPTED_KEY, read_accepted},
};

/// All of it, as far as anybody knows.
pub(super) fn accepted(raw: &Raw, uid: &str, claims: &[ClaimView], map: Option<&MapView>) -> Accepted {
    let ours = raw.sts.as_ref().filter(|sts| match workload::control(&sts.metadata, Some(uid)) {
        Control::Ours | Control::Nobody => true,
        Control::Other(_) => false,
    });
    let spec = ours.map(|sts| &sts.spec);
    let template = spec.map(|spec| data_claim(spec.volume_claim_templates.as_deref().unwrap_or_default()));
    let shards = map.map(|map| map.groups.keys().filter(|group| **group != Group::Meta).count());
    Accepted {
        spec: raw.accepted.as_ref().and_then(|config| kept(config, uid)),
        shards: shards.and_then(|shards| u32::try_from(shards).ok()).filter(|shards| *shards > 0),
        storage: template.map(|claim| if claim.is_some() { StorageKind::RocksDb } else { StorageKind::Memory }),
        storage_class: template.flatten().map(|claim| claim.spec.as_ref()?.storage_class_name.clone()),
        volume_bytes: claims.iter().map(|claim| claim.requested_bytes).max(),
    }
}

fn data_claim(templates: &[PersistentVolumeClaim]) -> Option<&PersistentVolumeClaim> {
    templates.iter().find(|claim| claim.metadata.name.as_deref() == Some(names::DATA_VOLUME))
}

/// The last accepted spec of this very object: a namesake that lived before may have been another cluster.
fn kept(config: &ConfigMap, uid: &str) -> Option<CremaClusterSpec> {
    match workload::control(&config.metadata, Some(uid)) {
        Control::Ours => {}
        Control::Nobody | Control::Other(_) => return None,
    }
    let text = config.data.as_ref()?.get(ACCEPTED_KEY)?;
    match read_accepted(text) {
        Ok(spec) => Some(spec),
        Err(error) => {
            tracing::warn!(config = config.metadata.name, %error, "read the last accepted spec");
            None
        }
    }
}
