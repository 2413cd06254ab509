//! The rules of what a user puts into pods and services. What the operator names itself is refused; whether a piece makes
//! sense is for the API server to say, when it gets the StatefulSet.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvFromSource, EnvVar, PodSecurityContext, SecurityContext, Toleration,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Findings, syntax};
use crate::{
    Raw, names,
    spec::{CremaClusterSpec, PodSpec, ServiceKind, ServiceSpec},
    validated::{Pod, Scheduling, Service},
};

pub(super) fn scheduling(spec: &CremaClusterSpec, found: &mut Findings) -> Scheduling {
    labels("spec.nodeSelector", &spec.node_selector, found);
    if let Some(class) = spec.priority_class.as_deref().filter(|class| !syntax::is_dns_name(class)) {
        found.refuse("spec.priorityClass", format!("{class:?} is no name of a PriorityClass"));
    }
    let spread = spec.topology_spread.as_deref();
    Scheduling {
        topology_spread: spread.map(|pieces| found.shaped::<TopologySpreadConstraint>("spec.topologySpread", pieces)),
        affinity: spec.affinity.as_ref().map(|piece| found.shape::<Affinity>("spec.affinity", piece)),
        node_selector: spec.node_selector.clone(),
        tolerations: found.shaped::<Toleration>("spec.tolerations", &spec.tolerations),
        priority_class: spec.priority_class.clone(),
    }
}

pub(super) fn pod(spec: &PodSpec, found: &mut Findings) -> Pod {
    labels("spec.pod.labels", &spec.labels, found);
    annotations("spec.pod.annotations", &spec.annotations, found);
    for key in spec.labels.keys().filter(|key| names::is_label_of_ours(key)) {
        found.refuse("spec.pod.labels", format!("{key:?} is the operator's own label"));
    }
    for key in spec.annotations.keys().filter(|key| is_ours(key)) {
        found.refuse("spec.pod.annotations", format!("{key:?} is the operator's own annotation"));
    }
    env(&spec.env, found);
    sidecars(&spec.sidecars, found);
    volumes(spec, found);
    Pod {
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        env: found.shaped::<EnvVar>("spec.pod.env", &spec.env),
        env_from: found.shaped::<EnvFromSource>("spec.pod.envFrom", &spec.env_from),
        sidecars: found.shaped::<Container>("spec.pod.sidecars", &spec.sidecars),
        volumes: found.shaped::<Volume>("spec.pod.volumes", &spec.volumes),
        volume_mounts: found.shaped::<VolumeMount>("spec.pod.volumeMounts", &spec.volume_mounts),
        security_context: over::<PodSecurityContext>("securityContext", spec.security_context.as_ref(), found),
        container_security_context: over::<SecurityContext>(
            "containerSecurityContext",
            spec.container_security_context.as_ref(),
            found,
        ),
    }
}

pub(super) fn service(spec: &ServiceSpec, found: &mut Findings) -> Service {
    let kind = spec.kind.unwrap_or(ServiceKind::ClusterIP);
    annotations("spec.service.annotations", &spec.annotations, found);
    if spec.annotations.keys().any(|key| is_ours(key)) {
        found.refuse("spec.service.annotations", "those that begin with crema.io/ are the operator's own");
    }
    if !spec.source_ranges.is_empty() && kind != ServiceKind::LoadBalancer {
        found.refuse("spec.service.sourceRanges", "of use with spec.service.type LoadBalancer only");
    }
    for (index, range) in spec.source_ranges.iter().enumerate().filter(|(_, range)| !syntax::is_network(range)) {
        let field = format!("spec.service.sourceRanges[{index}]");
        found.refuse(&field, format!("{range:?} is no network, as 10.0.0.0/8 is one"));
    }
    if spec.external_traffic_policy.is_some() && kind == ServiceKind::ClusterIP {
        let message = "of use with spec.service.type NodePort or LoadBalancer only";
        found.refuse("spec.service.externalTrafficPolicy", message);
    }
    Service {
        kind,
        annotations: spec.annotations.clone(),
        source_ranges: spec.source_ranges.clone(),
        external_traffic_policy: spec.external_traffic_policy,
    }
}

fn over<T: DeserializeOwned>(field: &str, piece: Option<&Raw>, found: &mut Findings) -> Map<String, Value> {
    piece.map(|piece| found.shape::<T>(&format!("spec.pod.{field}"), piece)).unwrap_or_default()
}

fn env(variables: &[Raw], found: &mut Findings) {
    named("spec.pod.env", variables, found, |name| {
        if name.starts_with(names::ENV_PREFIX) || name == names::POD_NAME_ENV {
            return Err("is the operator's own; the fields of spec say what the node is told".to_owned());
        }
        if syntax::is_env_name(name) { Ok(()) } else { Err("is no name of a variable".to_owned()) }
    });
}

fn sidecars(containers: &[Raw], found: &mut Findings) {
    named("spec.pod.sidecars", containers, found, |name| {
        if name == names::CONTAINER {
            return Err("is the node's own container".to_owned());
        }
        if syntax::is_dns_label(name) { Ok(()) } else { Err("is no name of a container".to_owned()) }
    });
    for (index, container) in containers.iter().enumerate() {
        let ports = container.0.get("ports").and_then(Value::as_array).into_iter().flatten();
        for port in ports {
            let number = port.get("containerPort").and_then(Value::as_u64);
            let name = port.get("name").and_then(Value::as_str);
            let taken =
                names::PORTS.into_iter().find(|(ours, port)| number == Some(u64::from(*port)) || name == Some(*ours));
            if let Some((name, number)) = taken {
                let field = format!("spec.pod.sidecars[{index}].ports");
                found.refuse(&field, format!("the node itself has the port {number}, by the name {name}"));
            }
        }
    }
}

fn volumes(spec: &PodSpec, found: &mut Findings) {
    named("spec.pod.volumes", &spec.volumes, found, |name| {
        if [names::CONFIG_VOLUME, names::ZONE_VOLUME, names::DATA_VOLUME].contains(&name) {
            return Err("is the operator's own volume".to_owned());
        }
        if syntax::is_dns_label(name) { Ok(()) } else { Err("is no name of a volume".to_owned()) }
    });
    let known = |name: &str| spec.volumes.iter().any(|volume| volume.text("name") == Some(name));
    for (index, mount) in spec.volume_mounts.iter().enumerate() {
        let field = format!("spec.pod.volumeMounts[{index}]");
        let name = mount.text("name").unwrap_or_default();
        if !known(name) {
            found.refuse(&field, format!("spec.pod.volumes has no {name:?}"));
        }
        let path = mount.text("mountPath").unwrap_or_default().trim_end_matches('/');
        let within = |dir: &str| path == dir || path.starts_with(&format!("{dir}/"));
        let ours = [names::CONFIG_DIR, names::ZONE_DIR, names::DATA_DIR];
        if !path.starts_with('/') || ours.into_iter().any(within) {
            found.refuse(&field, format!("mountPath {path:?} is not absolute, or is the node's own"));
        }
    }
}

/// Pieces that have names: each has one that is allowed, and none has another's.
fn named(field: &str, pieces: &[Raw], found: &mut Findings, allowed: impl Fn(&str) -> Result<(), String>) {
    let names: Vec<_> = pieces.iter().map(|piece| piece.text("name").unwrap_or_default()).collect();
    for (index, name) in names.iter().enumerate() {
        let field = format!("{field}[{index}].name");
        if let Err(message) = allowed(name) {
            found.refuse(&field, format!("{name:?} {message}"));
        } else if names[..index].contains(name) {
            found.refuse(&field, format!("{name:?} is there twice"));
        }
    }
}

fn labels(field: &str, labels: &BTreeMap<String, String>, found: &mut Findings) {
    for (key, value) in labels.iter().filter(|(key, value)| !syntax::is_key(key) || !syntax::is_label_value(value)) {
        found.refuse(field, format!("{key:?}: {value:?} is no label"));
    }
}

fn annotations(field: &str, annotations: &BTreeMap<String, String>, found: &mut Findings) {
    for key in annotations.keys().filter(|key| !syntax::is_key(&key.to_ascii_lowercase())) {
        found.refuse(field, format!("{key:?} is no key of an annotation"));
    }
}

fn is_ours(key: &str) -> bool {
    key.starts_with(names::KEY_PREFIX)
}
