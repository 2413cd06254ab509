//! What the wiring tells the door: limits, times, and the facts of the node that clients may ask for.

use std::{sync::Arc, time::Duration};

use super::cluster::RespMode;
use crate::{machine::store::EvictionPolicy, types::NodeId};

/// Limits, times and hooks of the door. [`RespConfig::default`] is fit for production.
#[derive(Clone)]
pub struct RespConfig {
    /// More connections are refused with `-ERR max number of clients reached`.
    pub max_clients: usize,
    /// The size of one request on the wire; a larger one is skipped and answered with an error.
    pub max_request_bytes: usize,
    /// Words in one request; more ends the connection with a protocol error.
    pub max_request_words: usize,
    /// The size of one reply; a command whose reply would be larger is answered with an error.
    pub max_reply_bytes: usize,
    /// Commands of one connection that run together; the rest of a longer pipeline waits its turn.
    pub batch_commands: usize,
    /// Input of one connection that runs together; bounds, with one request, what a connection keeps in memory.
    pub batch_bytes: usize,
    /// Whether a connection reads locally, as after `READONLY`, until it says `READWRITE`.
    pub local_reads: bool,
    /// Whether keys of other nodes' shards are forwarded or redirected.
    pub mode: RespMode,
    /// How long an operation may take before it is answered with an error.
    pub request_timeout: Duration,
    /// A client that takes no byte of its replies for so long is cut off.
    pub write_timeout: Duration,
    /// How long a connection may go on to empty its pipeline when the node stops.
    pub drain_timeout: Duration,
    /// Current facts of the node, for `INFO`, `CONFIG GET` and `HELLO`. Called on such commands only.
    pub facts: Arc<dyn Fn() -> NodeFacts + Send + Sync>,
    /// Told how long commands took, for metrics.
    pub observer: Option<Arc<dyn CommandObserver>>,
}

impl Default for RespConfig {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            max_request_bytes: 64 * 1024 * 1024,
            max_request_words: 1024 * 1024,
            max_reply_bytes: 64 * 1024 * 1024,
            batch_commands: 1024,
            batch_bytes: 1024 * 1024,
            local_reads: false,
            mode: RespMode::Proxy,
            request_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            facts: Arc::new(NodeFacts::default),
            observer: None,
        }
    }
}

/// What clients may ask about the node that the door itself doesn't know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// This node.
    pub node_id: NodeId,
    /// Nodes in the cluster.
    pub nodes: usize,
    /// Shards with a replica on this node.
    pub shards_hosted: usize,
    /// Shards that this node leads.
    pub shards_led: usize,
    /// Whether writes are on disk before they are acknowledged.
    pub durable: bool,
    /// What all shards together may hold in bytes; 0 is no limit.
    pub max_memory_bytes: u64,
    /// How a full shard chooses what goes.
    pub eviction_policy: EvictionPolicy,
    /// Other replicas that have every acknowledged write: those that make a majority with the leader.
    pub sure_copies: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that eviction has removed from the replicas here.
    pub evicted_keys: u64,
    /// Keys that reached their deadline, as the replicas here counted them.
    pub expired_keys: u64,
}

/// Is told how long commands took. Called once for each run of equal commands in a pipeline, on the connection's
/// task: it must be quick and must not block.
pub trait CommandObserver: Send + Sync + 'static {
    /// `calls` calls of `command` (its name in lower case) were answered `elapsed` after they were read.
    fn observe(&self, command: &'static str, calls: u64, elapsed: Duration);
}
