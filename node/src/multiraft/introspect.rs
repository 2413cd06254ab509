//! What a node tells about itself: the words of `/status`, `/readyz`, `/livez`, the Admin service and the scrape.
//!
//! Implemented by `multiraft::runtime`; read by the doors `grpc` and `http` and by `metrics`. Everything here is a
//! copy made for the asker: answering must not wait for a worker, a disk or another node.

use std::{future::Future, sync::Arc};

use serde::Serialize;

use crate::{
    error::Error,
    types::{NodeId, ShardId},
};

mod ailments;
mod cluster;

pub use crate::multiraft::node::Governing;
pub use ailments::ailments;
pub use cluster::{ClusterStatus, MemberStatus, MigrationProgress, members, migrations, under_replicated};

/// Answers questions about this node.
pub trait Introspect: Clone + Send + Sync + 'static {
    /// The node and what it knows of its cluster.
    fn status(&self) -> NodeStatus;

    /// Every shard of the cluster, ascending; with what the local replica knows where there is one.
    fn shards(&self) -> Vec<ShardStatus>;

    /// The cluster as a whole; `None` before this node belongs to one.
    fn cluster(&self) -> Option<ClusterStatus>;

    /// What the meta leader knows beside the map; `None` on every other node.
    fn governing(&self) -> Option<Arc<Governing>>;

    /// Who leads the meta group, as far as this node knows.
    fn meta_leader(&self) -> Option<NodeId>;

    /// Who leads a shard, as far as this node knows. Called for each gRPC request: one load, no lock that is held
    /// long.
    fn leader(&self, shard: ShardId) -> Option<NodeId>;

    /// Where a node's gRPC door is, if the node is known.
    fn address(&self, node: NodeId) -> Option<String>;

    /// This node's number.
    fn node(&self) -> NodeId;

    /// The facts that decide whether clients should be sent here. All of them local: quorum and other nodes
    /// never make a node unready (DESIGN 8).
    fn readiness(&self) -> Vec<Fact>;

    /// For each worker thread a counter that it raises on every turn, also when it has nothing to do.
    fn worker_turns(&self) -> Vec<u64>;

    /// Hands a shard that this node leads over to the replica on `to`, and answers when that one leads it.
    /// `NotLeader` when this node doesn't lead it, `Invalid` when `to` has no voter, `Unavailable` when the
    /// transfer did not come about in time.
    fn transfer_leader(&self, shard: ShardId, to: NodeId) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A local condition for readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about: `joined`, `replicas`, `storage`, `serving`.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// What is missing when it doesn't hold, else what was seen.
    pub detail: String,
}

/// How far a node is in becoming part of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It waits for the other listed nodes, or for the cluster to take it in.
    Forming,
    /// It reads its data, and is a member then.
    Recovering,
    /// It is a member.
    Joined,
    /// The cluster will not have it; `reason` says why.
    Refused,
    /// It is going away.
    Stopping,
}

impl NodeState {
    /// The state as `/status` and Admin spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Recovering => "recovering",
            Self::Joined => "joined",
            Self::Refused => "refused",
            Self::Stopping => "stopping",
        }
    }
}

/// A node and what it knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The node's number.
    pub node: u64,
    /// Its gRPC door, as other nodes and clients reach it.
    pub address: String,
    /// This life of its data, 32 hex digits.
    pub incarnation: String,
    /// The cluster, 32 hex digits; `None` before it is formed.
    pub cluster_uid: Option<String>,
    /// The version of the binary.
    pub version: String,
    /// The committed feature level.
    pub feature_level: u32,
    /// How far it is in becoming a member.
    pub state: NodeState,
    /// Why it is not joined; empty when it is.
    pub reason: String,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
    /// The shards in numbers.
    pub shards: ShardTotals,
    /// Since the process started.
    pub uptime_ms: u64,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its number.
    pub node: u64,
    /// Its gRPC door.
    pub address: String,
    /// Whether there is a peer stream now.
    pub connected: bool,
}

/// The shards in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShardTotals {
    /// In the cluster.
    pub total: u32,
    /// With a replica here.
    pub local: u32,
    /// Led by this node.
    pub led: u32,
    /// Without a leader that this node knows of.
    pub leaderless: u32,
}

/// What the local replica of a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRole {
    /// It leads.
    Leader,
    /// It follows and votes.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows and doesn't vote.
    Learner,
    /// There is none on this node.
    None,
}

impl ReplicaRole {
    /// The role as `/status` and Admin spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::None => "none",
        }
    }
}

/// A shard as this node sees it. Without a local replica only `shard`, `leader`, `voters` and `learners` say
/// something; the other numbers are 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// The node that leads it, as far as this one knows.
    pub leader: Option<u64>,
    /// The term of the local replica.
    pub term: u64,
    /// What is known to be committed.
    pub commit: u64,
    /// What is applied here.
    pub applied: u64,
    /// The end of the local log.
    pub last: u64,
    /// Nodes with a voter.
    pub voters: Vec<u64>,
    /// Nodes with a learner.
    pub learners: Vec<u64>,
    /// The ReplicaId of the local replica; 0 when there is none.
    pub replica: u64,
    /// What it does.
    pub role: ReplicaRole,
    /// Whether it hibernates.
    pub asleep: bool,
    /// Keys held.
    pub entries: u64,
    /// Their weight in bytes.
    pub bytes: u64,
    /// The state hash at `applied`, 32 hex digits.
    pub state_hash: String,
    /// How far the others are; on the leader only.
    pub followers: Vec<FollowerStatus>,
    /// Whether the local replica answers; empty when there is none.
    pub health: &'static str,
    /// Commands and linearizable reads that the local replica took per second, lately.
    pub ops_per_second: f64,
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FollowerStatus {
    /// The node.
    pub node: u64,
    /// The end of its log as far as it is known to match.
    pub matched: u64,
    /// How many entries it is behind the end of the leader's log.
    pub lag_entries: u64,
}
