//! The two services: the headless one by which nodes find each other, and the one for clients.

use crema_crds::{
    Validated, names,
    spec::{ServiceKind, TrafficPolicy},
};
use serde_json::{Value, json};

use super::{Identity, Kind, ROLE, ROLE_CLIENTS, ROLE_NODES, Rendered};

/// The name of the gRPC port for clients; nodes look for each other by [`names::PEER_PORT`].
const GRPC: &str = "grpc";

/// The headless service. Nodes that are not ready are in it: they find each other before any of them is.
pub(super) fn headless(identity: &Identity) -> Rendered {
    let body = json!({
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": identity.selector(),
            "ports": names::PORTS.map(|(name, number)| port(name, number, name)),
        },
    });
    let metadata = json!({ "labels": { ROLE: ROLE_NODES } });
    Rendered::new(Kind::Service, identity.headless(), identity, &metadata, body)
}

/// The service for clients: only ready nodes are in it.
pub(super) fn clients(spec: &Validated, identity: &Identity) -> Rendered {
    let service = &spec.service;
    let (resp, resp_port) = names::RESP_PORT;
    let mut ports = vec![port(resp, resp_port, resp)];
    // Nodes talk to each other at the gRPC port, too: it is not for the world outside.
    if service.kind == ServiceKind::ClusterIP {
        ports.push(port(GRPC, names::PEER_PORT.1, names::PEER_PORT.0));
    }
    let mut fields = json!({ "type": kind(service.kind), "selector": identity.selector(), "ports": ports });
    if !service.source_ranges.is_empty() {
        fields["loadBalancerSourceRanges"] = json!(service.source_ranges);
    }
    if let Some(policy) = service.external_traffic_policy {
        fields["externalTrafficPolicy"] = traffic(policy).into();
    }
    let mut metadata = json!({ "labels": { ROLE: ROLE_CLIENTS } });
    if !service.annotations.is_empty() {
        metadata["annotations"] = json!(service.annotations);
    }
    Rendered::new(Kind::Service, identity.main(), identity, &metadata, json!({ "spec": fields }))
}

fn port(name: &str, number: u16, target: &str) -> Value {
    // The protocol is part of the key by which server-side apply knows a port.
    json!({ "name": name, "port": number, "targetPort": target, "protocol": "TCP" })
}

fn kind(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::ClusterIP => "ClusterIP",
        ServiceKind::NodePort => "NodePort",
        ServiceKind::LoadBalancer => "LoadBalancer",
    }
}

fn traffic(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}
