//! The StatefulSet. What can't be changed of it is the same for life: name, selector, service name, Parallel, and a claim
//! template without a label that ever changes.

use crema_crds::{
    Validated, names,
    spec::UpdateKind,
    validated::{Storage, Volume},
};
use serde_json::{Value, json};

use super::{Identity, Kind, Rendered, pod};

/// The StatefulSet, with all pods and the partition above them.
pub(super) fn stateful_set(spec: &Validated, identity: &Identity) -> Rendered {
    let mut fields = json!({
        "serviceName": identity.headless(),
        "selector": { "matchLabels": identity.selector() },
        // Pods come and go together: the nodes themselves say who may vote.
        "podManagementPolicy": "Parallel",
        "updateStrategy": update_strategy(spec.update.kind),
        "template": pod::template(spec, identity),
    });
    match &spec.storage {
        Storage::Memory => {}
        Storage::RocksDb(volume) => fields["volumeClaimTemplates"] = json!([claim(volume, identity)]),
    }
    let rendered = Rendered::new(Kind::StatefulSet, identity.main(), identity, &json!({}), json!({ "spec": fields }));
    rendered.with_scale(spec.replicas, spec.replicas)
}

fn update_strategy(kind: UpdateKind) -> Value {
    match kind {
        UpdateKind::Rolling => json!({ "type": "RollingUpdate", "rollingUpdate": {} }),
        UpdateKind::Manual => json!({ "type": "OnDelete" }),
    }
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
