//! The part of a spec that is about pods and services.

#![allow(unreachable_pub, reason = "KubeSchema repeats its struct within a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, Raw, is_default};

/// A secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Processor and memory of each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// What a machine must have free. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests: BTreeMap<String, Amount>,
    /// What a node may use. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: BTreeMap<String, Amount>,
}

/// What else is in the pods. Names that the operator uses itself are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Further labels. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Further annotations. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// Further variables of the node, as a container's `env`; those that begin with CREMA_ are the operator's. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 256))]
    pub env: Vec<Raw>,
    /// Further sources of variables, as a container's `envFrom`. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 64))]
    pub env_from: Vec<Raw>,
    /// Further containers. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 16))]
    pub sidecars: Vec<Raw>,
    /// Further volumes. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 64))]
    pub volumes: Vec<Raw>,
    /// Where the node's container has them, as a container's `volumeMounts`. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 64))]
    pub volume_mounts: Vec<Raw>,
    /// Put over the pod's `securityContext`, field by field. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<Raw>,
    /// Put over the `securityContext` of the node's container, field by field. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_security_context: Option<Raw>,
}

/// The service that clients connect to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.sourceRanges) || (has(self.type) && self.type == 'LoadBalancer')")
        .message("service.sourceRanges: of use with service.type LoadBalancer only"),
    validation = Rule::new("!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')")
        .message("service.externalTrafficPolicy: of use with service.type NodePort or LoadBalancer only")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// How it is reached: ClusterIP (the default), NodePort or LoadBalancer. Live.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ServiceKind")]
    pub kind: Option<ServiceKind>,
    /// Its annotations. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// From where a load balancer lets clients in, as `10.0.0.0/8`; from everywhere by default. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 256))]
    pub source_ranges: Vec<String>,
    /// Whether traffic from outside stays on the machine where it arrives (Local) or not (Cluster, the default). Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TrafficPolicy")]
    pub external_traffic_policy: Option<TrafficPolicy>,
}

/// How a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    /// From inside the Kubernetes cluster.
    ClusterIP,
    /// By a port of every machine.
    NodePort,
    /// Through a load balancer.
    LoadBalancer,
}

/// Which nodes take traffic from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// Any.
    Cluster,
    /// Those on the machine where it arrives.
    Local,
}
