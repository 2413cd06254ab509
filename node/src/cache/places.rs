//! Where shards are, as the Redis door tells it to clients that route by themselves.

use std::sync::Arc;

use super::router::Router;
use crate::{
    cluster::map::ClusterMap,
    resp::Whereabouts,
    types::{NodeId, ShardId},
};

/// What a node knows of where shards are: its map, what its replicas know of leaders, and its peer streams.
#[derive(Clone)]
pub struct Places {
    node: NodeId,
    router: Router,
}

impl Places {
    /// What the node of this router knows.
    #[must_use]
    pub fn new(node: NodeId, router: Router) -> Self {
        Self { node, router }
    }
}

impl Whereabouts for Places {
    fn node(&self) -> NodeId {
        self.node
    }

    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.router.joined().map(|joined| joined.runtime.map())
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.router.joined()?.runtime.board().leader(shard)
    }

    fn has_replica(&self, shard: ShardId) -> bool {
        self.router.joined().is_some_and(|joined| joined.has_replica(shard))
    }

    fn reaches(&self, node: NodeId) -> bool {
        node == self.node || self.router.joined().is_some_and(|joined| joined.runtime.peers().is_up(node))
    }
}
