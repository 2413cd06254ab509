//! The template of the pods: one container that runs `crema-node start`, fit for the pod security standard `restricted`,
//! and what the user adds.

use crema_crds::{
    Validated, names,
    spec::PullPolicy,
    validated::{Image, Pod, Resources, Scheduling, Storage},
};
use serde_json::{Map, Value, json};

use super::{
    CONFIG_FILE, Identity, REVISION, TOKEN_KEY, ZONE,
    config::{self, SHUTDOWN},
    rendered::put_over,
};

/// Who the process is, whatever its image says.
const USER: u32 = 65_532;

/// Beyond [`SHUTDOWN`]: the kubelet's own steps.
const GRACE_S: u64 = 15;

/// The file in the volume of the zone.
const ZONE_FILE: &str = "zone";

/// The template of the pods.
pub(super) fn template(spec: &Validated, identity: &Identity) -> Value {
    let mut labels = json!(spec.pod.labels);
    put_over(&mut labels, &identity.labels());
    let mut annotations = json!(spec.pod.annotations);
    annotations[REVISION] = identity.revision.as_str().into();
    json!({ "metadata": { "labels": labels, "annotations": annotations }, "spec": pod(spec, identity) })
}

fn pod(spec: &Validated, identity: &Identity) -> Value {
    let mut containers = vec![container(spec, identity)];
    containers.extend(spec.pod.sidecars.iter().cloned().map(Value::Object));
    let settings = config::settings(spec, identity).name;
    let mut volumes = vec![json!({ "name": names::CONFIG_VOLUME, "configMap": { "name": settings } }), zone()];
    volumes.extend(spec.pod.volumes.iter().cloned().map(Value::Object));
    let mut pod = json!({
        "serviceAccountName": identity.main(),
        "automountServiceAccountToken": false,
        // Variables of services would look like settings of the node: their names begin with those of services.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": SHUTDOWN.as_secs() + GRACE_S,
        "securityContext": security(&spec.pod),
        "containers": containers,
        "volumes": volumes,
    });
    let secrets = &spec.image.pull_secrets;
    if !secrets.is_empty() {
        pod["imagePullSecrets"] = secrets.iter().map(|name| json!({ "name": name })).collect();
    }
    schedule(&spec.scheduling, identity, &mut pod);
    pod
}

/// The pod's zone, as a file that follows: the annotation comes when the machine is known, and no variable would follow.
fn zone() -> Value {
    let field = json!({ "fieldPath": format!("metadata.annotations['{ZONE}']") });
    json!({ "name": names::ZONE_VOLUME, "downwardAPI": { "items": [{ "path": ZONE_FILE, "fieldRef": field }] } })
}

fn container(spec: &Validated, identity: &Identity) -> Value {
    let Image { name: image, pull_policy, pull_secrets: _ } = &spec.image;
    let mut container = json!({
        "name": names::CONTAINER,
        "image": image,
        "args": ["start", "--config", format!("{}/{CONFIG_FILE}", names::CONFIG_DIR)],
        "env": env(&spec.pod, identity),
        "ports": names::PORTS.map(|(name, number)| json!({ "name": name, "containerPort": number, "protocol": "TCP" })),
        // A large log takes a while to open, and nothing answers meanwhile.
        "startupProbe": probe("/livez", 2, 150),
        "livenessProbe": probe("/livez", 10, 6),
        "readinessProbe": probe("/readyz", 2, 2),
        "volumeMounts": mounts(spec),
        "securityContext": container_security(&spec.pod),
    });
    if let Some(policy) = pull_policy {
        container["imagePullPolicy"] = pull(*policy).into();
    }
    if !spec.pod.env_from.is_empty() {
        container["envFrom"] = objects(&spec.pod.env_from);
    }
    let Resources { requests, limits } = &spec.resources;
    for (field, amounts) in [("requests", requests), ("limits", limits)] {
        if !amounts.is_empty() {
            container["resources"][field] = json!(amounts);
        }
    }
    container
}

/// What the node is told of itself. Later ones are made of earlier ones, and the user's come last: none has the name of
/// one of these.
fn env(pod: &Pod, identity: &Identity) -> Value {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let zone = format!("{}/{ZONE_FILE}", names::ZONE_DIR);
    let address = format!("$({}).{}:{}", names::POD_NAME_ENV, identity.domain(), names::PEER_PORT.1);
    let token = json!({ "secretKeyRef": { "name": identity.token_secret(), "key": TOKEN_KEY } });
    let mut env = vec![
        field(names::POD_NAME_ENV, "metadata.name"),
        // A node takes the name of its pod for its number: the ordinal and 1.
        field("CREMA_NODE_ID", "metadata.name"),
        json!({ "name": "CREMA_ADVERTISE_ADDR", "value": address }),
        field("CREMA_HOST_NAME", "spec.nodeName"),
        json!({ "name": "CREMA_ZONE_FILE", "value": zone }),
        json!({ "name": "CREMA_CLUSTER_TOKEN", "valueFrom": token }),
    ];
    env.extend(pod.env.iter().cloned().map(Value::Object));
    Value::Array(env)
}

fn mounts(spec: &Validated) -> Value {
    let read_only = |name: &str, dir: &str| json!({ "name": name, "mountPath": dir, "readOnly": true });
    let mut mounts =
        vec![read_only(names::CONFIG_VOLUME, names::CONFIG_DIR), read_only(names::ZONE_VOLUME, names::ZONE_DIR)];
    match spec.storage {
        Storage::Memory => {}
        Storage::RocksDb(_) => mounts.push(json!({ "name": names::DATA_VOLUME, "mountPath": names::DATA_DIR })),
    }
    mounts.extend(spec.pod.volume_mounts.iter().cloned().map(Value::Object));
    Value::Array(mounts)
}

fn probe(path: &str, period_s: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": names::HTTP_PORT.0 },
        "periodSeconds": period_s,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    })
}

fn security(pod: &Pod) -> Value {
    let mut context = json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        // Volumes are writable for the process; a large one is not gone through at each start.
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    put_over(&mut context, &Value::Object(pod.security_context.clone()));
    context
}

fn container_security(pod: &Pod) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    put_over(&mut context, &Value::Object(pod.container_security_context.clone()));
    context
}

fn schedule(scheduling: &Scheduling, identity: &Identity, pod: &mut Value) {
    let Scheduling { topology_spread, affinity, node_selector, tolerations, priority_class } = scheduling;
    let spread = topology_spread.as_deref().map_or_else(
        || Value::Array(["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(apart).into()),
        objects,
    );
    let with_selector = |mut constraint: Value| {
        if constraint.get("labelSelector").is_none() {
            constraint["labelSelector"] = json!({ "matchLabels": identity.selector() });
        }
        constraint
    };
    if let Value::Array(constraints) = spread
        && !constraints.is_empty()
    {
        pod["topologySpreadConstraints"] = constraints.into_iter().map(with_selector).collect();
    }
    if let Some(affinity) = affinity {
        pod["affinity"] = Value::Object(affinity.clone());
    }
    if !node_selector.is_empty() {
        pod["nodeSelector"] = json!(node_selector);
    }
    if !tolerations.is_empty() {
        pod["tolerations"] = objects(tolerations);
    }
    if let Some(class) = priority_class {
        pod["priorityClassName"] = class.as_str().into();
    }
}

/// Spread over these, where that is possible.
fn apart(key: &str) -> Value {
    json!({ "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway" })
}

fn objects(pieces: &[Map<String, Value>]) -> Value {
    pieces.iter().cloned().map(Value::Object).collect()
}

fn pull(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}
