//! The StatefulSet. What can't be changed of it is the same for life: name, selector, service name, Parallel, and a claim
//! template without a label that ever changes.

use crema_crds::{
    Validated, names,
    validated::{Storage, Volume},
};
use serde_json::{Value, json};

use super::{Identity, Kind, Rendered, pod};

/// The StatefulSet, with all pods and the partition above them.
///
/// Its strategy is the same whoever replaces pods: behind a partition that is at rest a pod returns as it was, and the
/// planner lowers it by itself or once a person has deleted a pod. So `spec.update` is live.
pub(super) fn stateful_set(spec: &Validated, identity: &Identity) -> Rendered {
    let mut fields = json!({
        "serviceName": identity.headless(),
        "selector": { "matchLabels": identity.selector() },
        // Pods come and go together: the nodes themselves say who may vote.
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {} },
        "template": pod::template(spec, identity),
    });
    match &spec.storage {
        Storage::Memory => {}
        Storage::RocksDb(volume) => fields["volumeClaimTemplates"] = json!([claim(volume, identity)]),
    }
    let rendered = Rendered::new(Kind::StatefulSet, identity.main(), identity, &json!({}), json!({ "spec": fields }));
    rendered.with_scale(spec.replicas, spec.replicas)
}

fn claim(volume: &Volume, identity: &Identity) -> Value {
    let mut fields = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": volume.size } },
    });
    if let Some(class) = &volume.storage_class {
        fields["storageClassName"] = class.as_str().into();
    }
    json!({ "metadata": { "name": names::DATA_VOLUME, "labels": identity.selector() }, "spec": fields })
}
