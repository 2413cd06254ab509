//! What a user writes: `CremaCluster.spec`.
//!
//! Every field's text ends with when a change of it takes effect: *live* (no pod restarts), *rolling* (the pods are
//! replaced one by one) or *immutable*. Defaults that other rules rest on are in the definition, so that the API server
//! fills them in; the others are filled in by [`crate::validate`](mod@crate::validate). A word that may be left out says
//! `schemars(with = ...)`: the schema of an `Option` would put the text of the word's type in place of the field's.

#![allow(unreachable_pub, reason = "KubeSchema repeats its struct within a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod data;
mod operation;
mod pods;

pub use self::{
    data::{CacheSpec, Eviction, ReadLevel, RespMode, Retain, RetentionSpec, StorageKind, StorageSpec},
    operation::{MigrationSpec, MonitoringSpec, QuorumLoss, RaftSpec, RepairSpec, UpdateKind, UpdateSpec},
    pods::{PodSpec, ResourcesSpec, SecretName, ServiceKind, ServiceSpec, TrafficPolicy},
};
use crate::{Raw, is_default, status::CremaClusterStatus};

/// Shards of a cluster that names no number.
pub const DEFAULT_SHARDS: i32 = 16;

/// A strongly consistent, sharded cache.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "crema.io",
    version = "v1alpha1",
    kind = "CremaCluster",
    plural = "cremaclusters",
    singular = "cremacluster",
    shortname = "crema",
    category = "all",
    namespaced,
    doc = "A strongly consistent, sharded cache.",
    status = "CremaClusterStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status",
        description = "Whether every shard answers"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes", description = "Ready of wanted nodes"),
    printcolumn(name = "Shards", type_ = "integer", json_path = ".status.shards.total", description = "Shards"),
    printcolumn(
        name = "Quorum",
        type_ = "string",
        json_path = ".status.shards.quorum",
        description = "Shards with a leader, of all"
    ),
    printcolumn(name = "Moving", type_ = "integer", json_path = ".status.shards.moving", description = "Shards on the move"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", description = "What every node runs"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Since its creation"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: pods and services are named after it, so it has up to 40 letters, digits and hyphens, and begins with a letter")
)]
#[x_kube(
    validation = Rule::new("self.replicationFactor <= self.replicas")
        .message("replicationFactor: must not exceed replicas; two replicas of a shard are never on one node"),
    validation = Rule::new("!has(self.repair) || !has(self.repair.replaceVolumes) || !self.repair.replaceVolumes || self.storage.type == 'rocksdb'")
        .message("repair.replaceVolumes: there are volumes only with storage.type rocksdb")
)]
#[serde(rename_all = "camelCase")]
pub struct CremaClusterSpec {
    /// Nodes of the cluster; `kubectl scale` and an autoscaler change it, the operator never does. A node that is to go is
    /// emptied first. Live.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: i32,
    /// Raft groups that the keys are spread over. Immutable.
    #[serde(default = "default_shards")]
    #[schemars(range(min = 1, max = 16384))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("shards: immutable; make a new cluster and copy the data"))]
    pub shards: i32,
    /// Nodes that hold each shard: 1, 3 or 5. A cluster of fewer than 3 nodes needs it to be 1. Live.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 5))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("replicationFactor: must be 1, 3 or 5; an even number bears no more losses"))]
    pub replication_factor: i32,
    /// The image of `crema-node`. It has no default, so that an upgrade of the operator restarts no node. Rolling.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// When the image is pulled: Always, IfNotPresent or Never; by default Kubernetes chooses by the image's tag. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PullPolicy")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Secrets with what the registry asks for. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<SecretName>,
    /// Where the data is kept.
    #[serde(default)]
    pub storage: StorageSpec,
    /// How much is kept, and for how long.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cache: CacheSpec,
    /// Processor and memory of each node. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: ResourcesSpec,
    /// How Redis clients read that have said neither READONLY nor READWRITE: `linearizable` (the default) or `local`, which is
    /// answered at once by the node that is asked and may be old. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReadLevel")]
    pub read_level: Option<ReadLevel>,
    /// What a Redis client is told whose key another node leads: `Proxy` answers it, on any node; `Cluster` sends it there, as
    /// Redis Cluster does, for clients that know that and reach every pod. `Proxy` by default, unless the operator was
    /// given another default. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RespMode")]
    pub resp_mode: Option<RespMode>,
    /// The clockwork of consensus.
    #[serde(default, skip_serializing_if = "is_default")]
    pub raft: RaftSpec,
    /// How shards move between nodes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub migration: MigrationSpec,
    /// How a change reaches the pods.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update: UpdateSpec,
    /// What is done about nodes that are lost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub repair: RepairSpec,
    /// Constraints as in a pod's `topologySpreadConstraints`; one without a `labelSelector` is about the pods of this
    /// cluster. By default they are spread over zones and machines where that is possible. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub topology_spread: Option<Vec<Raw>>,
    /// As a pod's `affinity`. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Raw>,
    /// Labels that a machine must have. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_selector: BTreeMap<String, String>,
    /// As a pod's `tolerations`. Rolling.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Raw>,
    /// The PriorityClass of the pods. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class: Option<String>,
    /// What else is in the pods.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pod: PodSpec,
    /// The service that clients connect to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub service: ServiceSpec,
    /// Whether a PodDisruptionBudget keeps drains of machines from taking more than one node, or any while a shard lacks
    /// a replica; true by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_disruption_budget: Option<bool>,
    /// What the nodes log, as `level` or `target=level,...`; `info` by default. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub log_level: Option<String>,
    /// Whether Prometheus's operator is told of the nodes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monitoring: MonitoringSpec,
    /// What is done when a majority of a shard's replicas is proven dead: `wait` for a person, or `reset` the shard, which
    /// is empty then; by default `reset` with storage.type memory and `wait` with rocksdb. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "QuorumLoss")]
    pub quorum_loss: Option<QuorumLoss>,
    /// Whether the operator leaves this cluster alone; status is still written. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// When the machine has none of that name.
    IfNotPresent,
    /// It must be there.
    Never,
}

impl CremaClusterSpec {
    /// A cluster of this image, with everything else as it is when it is not written.
    #[must_use]
    pub fn new(image: &str) -> Self {
        Self {
            replicas: three(),
            shards: default_shards(),
            replication_factor: three(),
            image: image.to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            storage: StorageSpec::default(),
            cache: CacheSpec::default(),
            resources: ResourcesSpec::default(),
            read_level: None,
            resp_mode: None,
            raft: RaftSpec::default(),
            migration: MigrationSpec::default(),
            update: UpdateSpec::default(),
            repair: RepairSpec::default(),
            topology_spread: None,
            affinity: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class: None,
            pod: PodSpec::default(),
            service: ServiceSpec::default(),
            pod_disruption_budget: None,
            log_level: None,
            monitoring: MonitoringSpec::default(),
            quorum_loss: None,
            paused: false,
        }
    }
}

fn three() -> i32 {
    3
}

fn default_shards() -> i32 {
    DEFAULT_SHARDS
}
