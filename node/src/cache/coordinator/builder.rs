//! A node made for its coordinator alone.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{MultiRaftCoordinator, ShardConfig};
use crate::{
    cache::{
        config::{CacheConfig, MultiRaftCacheConfig, NodeId},
        node::RunningNode,
    },
    error::{Error, Result},
};

/// Makes a node and its [`MultiRaftCoordinator`]: alone on a free port of this machine, unless it is told of others.
#[derive(Clone, Debug)]
pub struct MultiRaftBuilder {
    node_id: NodeId,
    raft_addr: SocketAddr,
    seed_nodes: Vec<(NodeId, SocketAddr)>,
    num_shards: u32,
    replica_factor: u32,
    shard_capacity: u64,
    default_ttl: Option<Duration>,
}

impl MultiRaftBuilder {
    /// 16 shards of 100,000 entries with three replicas; keys live for ever.
    #[must_use]
    pub fn new(node_id: NodeId) -> Self {
        let MultiRaftCacheConfig { num_shards, shard_capacity, .. } = MultiRaftCacheConfig::default();
        Self {
            node_id,
            raft_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed_nodes: Vec::new(),
            num_shards,
            replica_factor: 3,
            shard_capacity,
            default_ttl: None,
        }
    }

    /// Where this node listens for the others.
    #[must_use]
    pub fn raft_addr(mut self, raft_addr: SocketAddr) -> Self {
        self.raft_addr = raft_addr;
        self
    }

    /// The other members; this node then needs an address of its own.
    #[must_use]
    pub fn seed_nodes(mut self, seed_nodes: Vec<(NodeId, SocketAddr)>) -> Self {
        self.seed_nodes = seed_nodes;
        self
    }

    /// How many shards: 1 to 16,384.
    #[must_use]
    pub fn num_shards(mut self, num_shards: u32) -> Self {
        self.num_shards = num_shards;
        self
    }

    /// Replicas of each shard; a cluster of fewer nodes begins with as many as it has nodes.
    #[must_use]
    pub fn replica_factor(mut self, replica_factor: u32) -> Self {
        self.replica_factor = replica_factor;
        self
    }

    /// As many shards, replicas and entries, and such a life of keys, as this one shard is to have.
    #[must_use]
    pub fn shards_like(mut self, shard: &ShardConfig) -> Self {
        (self.num_shards, self.replica_factor) = (shard.total_shards, shard.replicas);
        (self.shard_capacity, self.default_ttl) = (shard.max_capacity, shard.default_ttl);
        self
    }

    /// Entries that one shard holds at most; 0 is no limit.
    #[must_use]
    pub fn shard_capacity(mut self, entries: u64) -> Self {
        self.shard_capacity = entries;
        self
    }

    /// The life of a key that is put without one.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// Starts the node and waits until it belongs to its cluster. Shut the coordinator down to stop it.
    ///
    /// # Errors
    /// As [`DistributedCache::new`](crate::DistributedCache::new).
    pub async fn build_and_init(self) -> Result<MultiRaftCoordinator> {
        let Self { node_id, raft_addr, seed_nodes, num_shards, replica_factor, shard_capacity, default_ttl } = self;
        if replica_factor == 0 {
            let reason = "0; a shard has at least one replica".to_owned();
            return Err(Error::Invalid { field: "replica_factor", reason });
        }
        if raft_addr.port() == 0 && !seed_nodes.is_empty() {
            let reason = format!("{raft_addr}; with seed nodes it needs a port that they know");
            return Err(Error::Invalid { field: "raft_addr", reason });
        }
        let mut config = CacheConfig::new(node_id, raft_addr).with_seed_nodes(seed_nodes).with_multiraft_config(
            MultiRaftCacheConfig { enabled: true, num_shards, shard_capacity, ..MultiRaftCacheConfig::default() },
        );
        if let Some(ttl) = default_ttl {
            config = config.with_default_ttl(ttl);
        }
        let mut options = config.into_options()?;
        options.spec.replication_factor = replica_factor.min(options.first_members() as u32);
        let node = RunningNode::start(options).await?;
        Ok(MultiRaftCoordinator::new(node.router().clone(), node.view().clone(), Some(node)))
    }
}
