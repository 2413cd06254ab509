//! The part of a spec that is about data: where it is, how much, and for how long.

#![allow(unreachable_pub, reason = "KubeSchema repeats its struct within a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, Span, is_default};

/// Where the data is kept.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.type != 'rocksdb' || has(self.size)")
        .message("storage.size: needed with storage.type rocksdb"),
    validation = Rule::new("self.type == 'rocksdb' || (!has(self.size) && !has(self.storageClass) && !has(self.retention))")
        .message("storage: size, storageClass and retention are of use with storage.type rocksdb only"),
    validation = Rule::new("has(self.storageClass) == has(oldSelf.storageClass) && (!has(self.storageClass) || self.storageClass == oldSelf.storageClass)")
        .message("storage.storageClass: immutable; make a new cluster and copy the data")
)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// `memory`: what a node held is rebuilt from the others when it restarts. `rocksdb`: it is on a volume, and survives
    /// the end of all nodes. Immutable.
    #[serde(rename = "type", default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("storage.type: immutable; make a new cluster and copy the data"))]
    pub kind: StorageKind,
    /// The size of each node's volume. It can grow where the storage class allows it, never shrink. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Amount>,
    /// The storage class of the volumes; the default one if it is left out. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// What becomes of volumes that are no longer needed. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retention: RetentionSpec,
}

/// Where logs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StorageKind {
    /// In memory.
    #[default]
    #[serde(rename = "memory")]
    Memory,
    /// On a volume of each node.
    #[serde(rename = "rocksdb")]
    RocksDb,
}

/// What becomes of volumes that are no longer needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSpec {
    /// Of the volumes of a cluster that is deleted; Retain by default: a new one of the same name finds its data. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Retain")]
    pub when_deleted: Option<Retain>,
    /// Of the volume of a node that was emptied and removed; Delete by default: there is nothing of use on it. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Retain")]
    pub when_scaled: Option<Retain>,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retain {
    /// It stays.
    Retain,
    /// It goes.
    Delete,
}

/// How much is kept, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheSpec {
    /// Memory that the entries on one node may take; half of the memory limit by default, and no bound without a limit. The
    /// bound of each shard follows live; what a node tells the planner is rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Amount>,
    /// Entries that the cluster holds at most; no bound by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub max_entries: Option<i64>,
    /// The life of keys that are set without one, as `30s` or `1h`; for ever by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_ttl: Option<Span>,
    /// How a full shard chooses what goes; `TinyLfu` by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Eviction")]
    pub eviction: Option<Eviction>,
}

/// How a read is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReadLevel {
    /// Every write that was acknowledged before is seen.
    #[serde(rename = "linearizable")]
    Linearizable,
    /// At once, perhaps old.
    #[serde(rename = "local")]
    Local,
}

/// What a Redis client is told whose key another node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RespMode {
    /// The answer: any node takes any key.
    Proxy,
    /// Which node to ask, as Redis Cluster does.
    Cluster,
}

/// How a full shard chooses what goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Eviction {
    /// By frequency of use.
    TinyLfu,
    /// By the last use.
    Lru,
}
