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
pub mod grpc;
pub mod http;
pub mod machine;
pub mod metrics;
pub mod multiraft;
pub mod network;
pub mod partitioning;
pub mod placement;
pub mod resp;
pub mod types;

pub use cache::{CacheConfig, DistributedCache, MultiRaftCacheConfig, NodeId, RaftConfig};
pub use error::{Error, Result};
