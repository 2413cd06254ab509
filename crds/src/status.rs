//! What the operator tells: `CremaCluster.status`.
//!
//! It is a hint, never an authority: everything in it can be found out again from the nodes, and a status that was wiped
//! costs nothing but a look. Words in it are texts, not enums, so that an older operator can read what a newer one wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::is_default;

/// What the operator tells of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CremaClusterStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The id of the cluster, 32 hex digits, once it is formed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// How far the cluster is formed; not set before its first members are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formation: Option<Formation>,
    /// Pods that are there.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Ready of wanted nodes, for people: `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Selects the cache pods, and only those; for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The version that every node runs; all of them when they differ: `0.1.0, 0.2.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Available, Progressing, Degraded, ReconcileSucceeded, and others that say what the operator can't do.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The members, by the cluster's own map.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub members: Vec<MemberStatus>,
    /// The shards, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<ShardsStatus>,
    /// What moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<MigrationsStatus>,
    /// The roll that is under way or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<RollStatus>,
    /// The ordinal of the pod whose member is being removed, or was: the pod goes before the cluster grows again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink: Option<i32>,
    /// Why nothing more is done now, in plain words.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waiting_on: Vec<String>,
}

/// How far a cluster is formed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Formation {
    /// [`FORMING`](Self::FORMING) or [`FORMED`](Self::FORMED).
    pub phase: String,
    /// The id of the cluster to be: written before the first `Init` of it, which may then be repeated.
    pub id: String,
    /// The cluster that it takes the place of, after a reset: its last members are to be emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

impl Formation {
    /// `Init` may have been sent.
    pub const FORMING: &str = "Forming";
    /// A quorum of the meta group has confirmed it.
    pub const FORMED: &str = "Formed";
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its number: the pod's ordinal and 1.
    pub id: i64,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its zone, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// joining, up, draining, down or removed.
    pub state: String,
    /// Shards that it leads.
    #[serde(default)]
    pub leaders: i32,
    /// Shards that it has a vote in.
    #[serde(default)]
    pub voters: i32,
}

/// The shards, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardsStatus {
    /// All of them.
    #[serde(default)]
    pub total: i32,
    /// With a leader and every replica caught up.
    #[serde(default)]
    pub healthy: i32,
    /// With fewer caught-up voters than wanted.
    #[serde(default)]
    pub under_replicated: i32,
    /// Without a leader: they answer nothing now.
    #[serde(default)]
    pub leaderless: i32,
    /// With a replica on the move.
    #[serde(default)]
    pub moving: i32,
    /// Shards with a leader, of all, for people: `16/16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<String>,
}

/// What moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationsStatus {
    /// Moves under way.
    #[serde(default)]
    pub active: i32,
    /// How much of them is copied, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<i32>,
    /// Until they are copied, as far as that can be told: `2m30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
}

/// The roll that is under way or has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollStatus {
    /// The revision of the pod template that the pods get.
    pub revision: String,
    /// The ordinal of the pod whose turn it is.
    pub ordinal: i32,
    /// When its turn began, in milliseconds of Unix time.
    pub since_ms: i64,
    /// Whether that pod has missed its deadline: nothing more is rolled until the spec changes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: bool,
}
