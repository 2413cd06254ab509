//! The library's configuration, with the names and defaults of its reference.

mod storage;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    cluster::{ClusterSpec, discovery::ClusterDiscovery, map::SharedSettings},
    error::Error,
    machine::store::Capacity,
    multiraft::node::{Limits, Timings},
    partitioning::{DEFAULT_SHARDS, LIBRARY_SLOT_HASH, SLOTS},
    storage::CheckpointConfig,
    types::NodeId as Member,
};

pub use self::storage::RaftStorageType;
use super::{enter::Entry, node::NodeOptions};

/// A member's number, as users write it: 1 and up.
pub type NodeId = u64;

/// How a [`super::DistributedCache`] is made.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    node_id: NodeId,
    raft_addr: SocketAddr,
    seed_nodes: Vec<(NodeId, SocketAddr)>,
    max_capacity: u64,
    default_ttl: Option<Duration>,
    raft: RaftConfig,
    multiraft: MultiRaftCacheConfig,
    discovery: Option<Arc<dyn ClusterDiscovery>>,
    storage: storage::Wanted,
}

/// The Raft clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftConfig {
    /// Milliseconds between two ticks.
    pub tick_interval_ms: u64,
    /// Ticks after which a follower that hears nothing stands for election; up to twice as many.
    pub election_tick: usize,
    /// Ticks between heartbeats; fewer than `election_tick`.
    pub heartbeat_tick: usize,
}

impl Default for RaftConfig {
    fn default() -> Self {
        let timings = Timings::default();
        Self {
            tick_interval_ms: timings.tick_ms,
            election_tick: timings.election_ticks,
            heartbeat_tick: timings.heartbeat_ticks,
        }
    }
}

/// Sharding over many Raft groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRaftCacheConfig {
    /// Whether there is more than one shard.
    pub enabled: bool,
    /// How many: 1 to 16,384.
    pub num_shards: u32,
    /// Entries that one shard holds at most; 0 is no limit.
    pub shard_capacity: u64,
    /// Shards exist from the cluster's first moment; `false` is refused, nothing else could create them.
    pub auto_init_shards: bool,
    /// How long leader changes are gathered before they are gossiped. Has no effect without a discovery that gossips; the
    /// hints that travel with node-to-node traffic are never delayed.
    pub leader_broadcast_debounce_ms: u64,
}

impl Default for MultiRaftCacheConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            num_shards: DEFAULT_SHARDS,
            shard_capacity: 100_000,
            auto_init_shards: true,
            leader_broadcast_debounce_ms: 200,
        }
    }
}

impl CacheConfig {
    /// A cache of one node and one shard, which listens for peers on `raft_addr`.
    #[must_use]
    pub fn new(node_id: NodeId, raft_addr: SocketAddr) -> Self {
        Self {
            node_id,
            raft_addr,
            seed_nodes: Vec::new(),
            max_capacity: 0,
            default_ttl: None,
            raft: RaftConfig::default(),
            multiraft: MultiRaftCacheConfig::default(),
            discovery: None,
            storage: storage::Wanted::default(),
        }
    }

    /// The other members. The cluster forms once all of them are there; the lowest id leads the forming.
    #[must_use]
    pub fn with_seed_nodes(mut self, seeds: Vec<(NodeId, SocketAddr)>) -> Self {
        self.seed_nodes = seeds;
        self
    }

    /// Entries that the cache holds at most when it has one shard; 0 (the default) is no limit. With more shards
    /// [`MultiRaftCacheConfig::shard_capacity`] counts.
    #[must_use]
    pub fn with_max_capacity(mut self, entries: u64) -> Self {
        self.max_capacity = entries;
        self
    }

    /// The life of a key that is put without one; without this, for ever.
    #[must_use]
    pub fn with_default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// The Raft clock.
    #[must_use]
    pub fn with_raft_config(mut self, raft: RaftConfig) -> Self {
        self.raft = raft;
        self
    }

    /// How other nodes are found, beside the seed nodes; without this, as with
    /// [`NoOpClusterDiscovery`](crate::NoOpClusterDiscovery), not at all.
    ///
    /// The first members are the seed nodes, or else those that the discovery was given by hand
    /// ([`ClusterDiscovery::first_members`]): they form the cluster together. A node that has neither joins the cluster that
    /// the discovery finds, and waits until there is one. What is done by itself with the nodes that it finds is up to
    /// its [`PeerManagementConfig`](crate::PeerManagementConfig).
    #[must_use]
    pub fn with_cluster_discovery(mut self, discovery: impl ClusterDiscovery) -> Self {
        self.discovery = Some(Arc::new(discovery));
        self
    }

    /// Where the Raft logs are; by default in memory.
    ///
    /// ```
    /// use crema::{CacheConfig, RaftStorageType};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = CacheConfig::new(1, "127.0.0.1:9000".parse()?)
    ///     .with_raft_storage_type(RaftStorageType::RocksDb)
    ///     .with_data_dir("./data/node1");  // Required for RocksDB
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_raft_storage_type(mut self, kind: RaftStorageType) -> Self {
        self.storage.kind = kind;
        self
    }

    /// Where [`RaftStorageType::RocksDb`] keeps the node's logs and checkpoints. The directory is made if it is not there,
    /// and belongs to this node for ever.
    #[must_use]
    pub fn with_data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.storage.data_dir = Some(dir.into());
        self
    }

    /// When checkpoints are made, where and how fast; by default in the folder `checkpoints` of the data directory. Bounds
    /// of 0 are refused.
    #[must_use]
    pub fn with_checkpoint_config(mut self, checkpoints: CheckpointConfig) -> Self {
        self.storage.checkpoints = Some(checkpoints);
        self
    }

    /// Whether a write is acknowledged only once the disk has it, which is the default. Without, a power failure may lose
    /// what was acknowledged.
    #[must_use]
    pub fn with_sync_writes(mut self, sync_writes: bool) -> Self {
        self.storage.sync_writes = Some(sync_writes);
        self
    }

    /// Sharding.
    #[must_use]
    pub fn with_multiraft_config(mut self, multiraft: MultiRaftCacheConfig) -> Self {
        self.multiraft = multiraft;
        self
    }

    pub(super) fn is_sharded(&self) -> bool {
        self.multiraft.enabled
    }

    /// The discovery, and how long its gossip gathers leader changes.
    pub(super) fn discovery(&self) -> Option<(Arc<dyn ClusterDiscovery>, Duration)> {
        let debounce = Duration::from_millis(self.multiraft.leader_broadcast_debounce_ms);
        Some((self.discovery.clone()?, debounce))
    }

    /// How the node comes into a cluster.
    fn entry(&self) -> Result<Entry, Error> {
        let text = |(node, address): &(NodeId, SocketAddr)| (Member(*node), address.to_string());
        let mut others: Vec<_> = self.seed_nodes.iter().map(text).collect();
        if let Some(discovery) = self.discovery.as_ref().filter(|_| others.is_empty()) {
            others = discovery.first_members();
            if others.is_empty() && discovery.finds_others() {
                if discovery.peer_management().auto_add_peers {
                    return Ok(Entry::Discover);
                }
                let reason = "off, and there are no seed nodes: this node would never find its cluster".to_owned();
                return Err(Error::Invalid { field: "auto_add_peers", reason });
            }
        }
        let own = text(&(self.node_id, self.raft_addr));
        let others = others.into_iter().filter(|(node, _)| *node != own.0);
        Ok(Entry::Listed(std::iter::once(own.clone()).chain(others).collect()))
    }

    /// The checked form.
    pub(super) fn into_options(self) -> Result<NodeOptions, Error> {
        let invalid = |field: &'static str, reason: String| Err(Error::Invalid { field, reason });
        if self.node_id == 0 {
            return invalid("node_id", "0; a member has a number from 1 on".to_owned());
        }
        let RaftConfig { tick_interval_ms, election_tick, heartbeat_tick } = self.raft;
        if tick_interval_ms == 0 {
            return invalid("tick_interval_ms", "0; it must be at least 1".to_owned());
        }
        if heartbeat_tick == 0 || election_tick <= heartbeat_tick {
            let reason =
                format!("{election_tick}; it must be more than heartbeat_tick ({heartbeat_tick}), and that above 0");
            return invalid("election_tick", reason);
        }
        let entry = self.entry()?;
        let multi = self.multiraft;
        if multi.enabled && !multi.auto_init_shards {
            return invalid("auto_init_shards", "false; shards are created with the cluster".to_owned());
        }
        let num_shards = if multi.enabled { multi.num_shards } else { 1 };
        if num_shards == 0 || num_shards > u32::from(SLOTS) {
            return invalid("num_shards", format!("{num_shards}; it must be 1 to {SLOTS}"));
        }
        let ttl = self.default_ttl.map(|ttl| ttl.as_millis() as u64);
        if ttl == Some(0) {
            return invalid("default_ttl", "less than a millisecond".to_owned());
        }
        let storage = self.storage.into_storage()?;
        let members = match &entry {
            Entry::Listed(members) => members.len(),
            // The cluster has its own.
            Entry::Bootstrap | Entry::Join(_) | Entry::Discover => 1,
        };
        let max_entries = if multi.enabled { multi.shard_capacity } else { self.max_capacity };
        Ok(NodeOptions {
            node: Member(self.node_id),
            listen: self.raft_addr,
            spec: ClusterSpec {
                num_shards,
                slot_hash: LIBRARY_SLOT_HASH,
                replication_factor: default_replication(members),
                settings: SharedSettings {
                    capacity: Capacity { max_entries, max_bytes: 0 },
                    default_ttl_ms: ttl,
                    ..SharedSettings::default()
                },
            },
            advertise: self.raft_addr.to_string(),
            entry,
            client_address: String::new(),
            host: String::new(),
            zone: String::new(),
            workers: default_workers(num_shards),
            timings: Timings {
                tick_ms: tick_interval_ms,
                election_ticks: election_tick,
                heartbeat_ticks: heartbeat_tick,
                ..Timings::default()
            },
            limits: Limits::default(),
            token: None,
            discovery: self.discovery,
            storage,
        })
    }
}

/// The replicas of a shard: three, or as many as there are members.
#[must_use]
pub fn default_replication(members: usize) -> u32 {
    members.min(3) as u32
}

/// One worker for each two cores, at least one, and never more than there are shards: the other half parses,
/// encodes and talks to peers.
#[must_use]
pub fn default_workers(num_shards: u32) -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u32;
    cores.div_ceil(2).min(num_shards).max(1)
}
