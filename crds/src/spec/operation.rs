//! The part of a spec that is about how the cluster is run.

#![allow(unreachable_pub, reason = "KubeSchema repeats its struct within a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, Span, is_default};

/// The clockwork of consensus.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(has(self.heartbeatTicks) ? self.heartbeatTicks : 2) * 2 <= (has(self.electionTicks) ? self.electionTicks : 10)")
        .message("raft.electionTicks: must be at least twice raft.heartbeatTicks (10 and 2 by default)")
)]
#[serde(rename_all = "camelCase")]
pub struct RaftSpec {
    /// The time between two ticks, 10ms to 10s; 50ms by default. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Span>,
    /// Ticks without a leader after which a node stands for election; 10 by default. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000))]
    pub election_ticks: Option<i32>,
    /// Ticks between two heartbeats of a leader; 2 by default. Rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub heartbeat_ticks: Option<i32>,
}

/// How shards move between nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationSpec {
    /// Bytes a second that each node sends while shards move, as `50Mi`; no bound by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Amount>,
    /// Moves under way at once in the cluster; 4 by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<i32>,
    /// Whether no move begins and none copies; scaling waits meanwhile. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
}

/// How a change reaches the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateSpec {
    /// `Rolling`: one pod after the other, each when the cluster can spare it. `Manual`: a pod has the change once somebody
    /// deletes it. Live.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UpdateKind")]
    pub kind: Option<UpdateKind>,
    /// How long one pod may take to come back; then the roll has failed and waits for a change of the spec. 10m by default.
    /// Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<Span>,
    /// Whether no further pod is replaced. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
}

/// Who replaces pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateKind {
    /// The operator, one by one.
    Rolling,
    /// A person.
    Manual,
}

/// What is done about nodes that are lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairSpec {
    /// How long a machine is lost before its pod is replaced; 5m by default, 0s is never. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
    /// Whether a volume on a machine that is gone is given up too, once every shard has its full quorum elsewhere; false by
    /// default. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace_volumes: bool,
}

/// Whether Prometheus's operator is told of the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// Whether there is a ServiceMonitor; false by default. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub enabled: bool,
    /// How often Prometheus asks; as it does by itself by default. Live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Further labels of the ServiceMonitor, by which a Prometheus chooses it. Live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
}

/// What is done when a majority of a shard's replicas is proven dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QuorumLoss {
    /// Nothing: a person decides.
    #[serde(rename = "wait")]
    Wait,
    /// The shard comes back empty.
    #[serde(rename = "reset")]
    Reset,
}
