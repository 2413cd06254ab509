//! A spec that holds what it says: every rule kept, every default filled in, every unit converted.
//!
//! Made by [`validate`](crate::validate::validate) alone; the planner and the renderer of objects see nothing else of a spec.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use crate::spec::{
    CremaClusterSpec, Eviction, PullPolicy, QuorumLoss, ReadLevel, RespMode, Retain, ServiceKind, StorageKind,
    TrafficPolicy, UpdateKind,
};

/// A spec that holds what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// As the user wrote it: what is kept as the last accepted spec.
    pub written: CremaClusterSpec,
    /// What is legal and probably not meant, for a condition.
    pub warnings: Vec<String>,
    /// Nodes.
    pub replicas: u32,
    /// Raft groups.
    pub shards: u32,
    /// Nodes that hold each shard.
    pub replication_factor: u32,
    /// Where the nodes come from.
    pub image: Image,
    /// Where the data is.
    pub storage: Storage,
    /// How much is kept, and for how long.
    pub cache: Cache,
    /// Processor and memory.
    pub resources: Resources,
    /// How clients read that don't say how.
    pub read_level: ReadLevel,
    /// What clients are told whose key another node leads.
    pub resp_mode: RespMode,
    /// The clockwork of consensus.
    pub raft: Raft,
    /// How shards move.
    pub migration: Migration,
    /// How a change reaches the pods.
    pub update: Update,
    /// What is done about lost nodes.
    pub repair: Repair,
    /// Where pods may run.
    pub scheduling: Scheduling,
    /// What else is in the pods.
    pub pod: Pod,
    /// The service for clients.
    pub service: Service,
    /// Whether there is a PodDisruptionBudget.
    pub pod_disruption_budget: bool,
    /// A filter of `tracing`.
    pub log_level: String,
    /// The ServiceMonitor, if there is to be one.
    pub monitoring: Option<Monitoring>,
    /// What is done when a majority of a shard's replicas is proven dead.
    pub quorum_loss: QuorumLoss,
    /// Whether nothing is to be done at all.
    pub paused: bool,
}

/// Where the nodes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// When it is pulled; `None` leaves it to Kubernetes, which goes by the tag.
    pub pull_policy: Option<PullPolicy>,
    /// Secrets for the registry.
    pub pull_secrets: Vec<String>,
}

/// Where the data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory.
    Memory,
    /// On a volume of each node.
    RocksDb(Volume),
}

/// The volume of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its size as the user writes it.
    pub size: String,
    /// Its class; `None` is the default one.
    pub storage_class: Option<String>,
    /// What becomes of it with the cluster.
    pub when_deleted: Retain,
    /// What becomes of it with its node.
    pub when_scaled: Retain,
}

/// How much is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes that the entries on one node may take; `None` is no bound.
    pub max_memory_bytes: Option<u64>,
    /// Entries of the cluster; `None` is no bound.
    pub max_entries: Option<u64>,
    /// The life of keys that are set without one; `None` is for ever.
    pub default_ttl: Option<Duration>,
    /// How a full shard chooses what goes.
    pub eviction: Eviction,
}

/// Processor and memory, as Kubernetes writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// What a machine must have free.
    pub requests: BTreeMap<String, String>,
    /// What a node may use.
    pub limits: BTreeMap<String, String>,
}

/// The clockwork of consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raft {
    /// The time between two ticks.
    pub tick: Duration,
    /// Ticks without a leader before an election.
    pub election_ticks: u32,
    /// Ticks between two heartbeats.
    pub heartbeat_ticks: u32,
}

/// How shards move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Bytes a second that each node sends; `None` is no bound.
    pub bytes_per_s: Option<u64>,
    /// Moves at once.
    pub concurrency: u32,
    /// Whether nothing moves.
    pub paused: bool,
}

/// How a change reaches the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Who replaces pods.
    pub kind: UpdateKind,
    /// How long one pod may take.
    pub progress_deadline: Duration,
    /// Whether no further pod is replaced.
    pub paused: bool,
}

/// What is done about lost nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// How long a machine is lost before its pod is replaced; `None` is never.
    pub after: Option<Duration>,
    /// Whether a volume on a lost machine is given up.
    pub replace_volumes: bool,
}

/// Where pods may run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scheduling {
    /// The user's constraints; `None` is the operator's own.
    pub topology_spread: Option<Vec<Map<String, Value>>>,
    /// As in a pod.
    pub affinity: Option<Map<String, Value>>,
    /// As in a pod.
    pub node_selector: BTreeMap<String, String>,
    /// As in a pod.
    pub tolerations: Vec<Map<String, Value>>,
    /// As in a pod.
    pub priority_class: Option<String>,
}

/// What else is in the pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Further annotations.
    pub annotations: BTreeMap<String, String>,
    /// Further variables of the node's container.
    pub env: Vec<Map<String, Value>>,
    /// Further sources of them.
    pub env_from: Vec<Map<String, Value>>,
    /// Further containers.
    pub sidecars: Vec<Map<String, Value>>,
    /// Further volumes.
    pub volumes: Vec<Map<String, Value>>,
    /// Further mounts of the node's container.
    pub volume_mounts: Vec<Map<String, Value>>,
    /// Put over the pod's security context.
    pub security_context: Map<String, Value>,
    /// Put over the security context of the node's container.
    pub container_security_context: Map<String, Value>,
}

/// The service for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How it is reached.
    pub kind: ServiceKind,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// From where a load balancer lets clients in; empty is from everywhere.
    pub source_ranges: Vec<String>,
    /// Whether traffic stays on the machine where it arrives; `None` leaves it to Kubernetes.
    pub external_traffic_policy: Option<TrafficPolicy>,
}

/// The ServiceMonitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// How often Prometheus asks; `None` leaves it to Prometheus.
    pub interval: Option<Duration>,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
}

impl Validated {
    /// Where the data is, in a word.
    #[must_use]
    pub fn storage_kind(&self) -> StorageKind {
        match &self.storage {
            Storage::Memory => StorageKind::Memory,
            Storage::RocksDb(_) => StorageKind::RocksDb,
        }
    }

    /// The bytes that one shard may hold when so many nodes share the shards; 0 is no bound, as `Admin` has it.
    ///
    /// No node gets more replicas than the fair share rounded up, so none has more than its `max_memory_bytes`.
    #[must_use]
    pub fn max_bytes_per_shard(&self, nodes: u32) -> u64 {
        let replicas = u64::from(self.shards) * u64::from(self.replication_factor.min(nodes.max(1)));
        let on_one_node = replicas.div_ceil(u64::from(nodes.max(1))).max(1);
        // 0 would say that there is no bound.
        self.cache.max_memory_bytes.map_or(0, |bytes| (bytes / on_one_node).max(1))
    }

    /// The entries that one shard may hold; 0 is no bound, as `Admin` has it.
    #[must_use]
    pub fn max_entries_per_shard(&self) -> u64 {
        self.cache.max_entries.map_or(0, |entries| entries.div_ceil(u64::from(self.shards)))
    }
}
