//! Crema: a strongly consistent, sharded cache. Many small Raft groups replicate a map; Moka serves its hot reads.

mod accept;
pub mod cache;
pub mod checkpoint;
pub mod clock;
pub mod cluster;
pub mod consensus;
#[cfg(test)]
mod door_fixture;
pub mod error;
pub mod faults;
#[cfg(test)]
mod golden;
pub mod grpc;
pub mod http;
pub mod machine;
pub mod metrics;
pub mod multiraft;
pub mod network;
pub mod partitioning;
pub mod placement;
pub mod resp;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod types;

pub use cache::{
    CacheConfig, DistributedCache, MultiRaftBuilder, MultiRaftCacheConfig, MultiRaftCoordinator, MultiRaftStats,
    NodeId, RaftConfig, RaftStorageType, Router as CacheRouter, Shard, ShardConfig, ShardInfo, ShardRange,
    ShardRoute, ShardRouter, ShardState,
};
#[cfg(feature = "discovery-dns")]
pub use cluster::discovery::DnsDiscovery;
#[cfg(feature = "memberlist")]
pub use cluster::discovery::MemberlistDiscovery;
pub use cluster::discovery::{
    ClusterDiscovery, MemberlistConfig, NoOpClusterDiscovery, PeerManagementConfig, StaticClusterDiscovery,
};
pub use cluster::map::{Phase as MigrationPhase, Reason as MigrationReason};
pub use error::{Error, Result};
pub use multiraft::introspect::MigrationProgress;
pub use storage::{CheckpointConfig, CheckpointManager};
pub use types::ShardId;
