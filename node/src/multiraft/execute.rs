//! What a door needs of a node: to run operations and to read locally.
//!
//! Implemented by `cache::Router` over the runtime, and by a plain machine in the doors' own tests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    error::Error,
    machine::command::{Op, Outcome, Query},
    partitioning::ShardMap,
    types::ShardId,
};

/// One operation on its way to its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where its keys live.
    pub shard: ShardId,
    /// What to do.
    pub op: Op,
}

/// Runs operations on the cluster through this node.
pub trait Executor: Clone + Send + Sync + 'static {
    /// Which shard a key belongs to.
    fn shard_map(&self) -> Arc<ShardMap>;

    /// Answers from this node's published state, at once, perhaps with an old value. `None` when this node has
    /// no replica of the shard.
    fn local(&self, shard: ShardId, query: &Query) -> Option<Outcome>;

    /// Runs the requests and answers each, in their order; reads are linearizable.
    ///
    /// Requests of one call that go to the same shard take effect in their order; between shards there is no
    /// order. Waits while the node's queues are full, at most until `timeout`, then answers `Busy`. An answer
    /// that does not come in time is `OutcomeUnknown` for a write that may have reached a log, else
    /// `Unavailable`.
    fn execute(
        &self,
        requests: Vec<Request>,
        timeout: Duration,
    ) -> impl Future<Output = Vec<Result<Outcome, Error>>> + Send;
}
