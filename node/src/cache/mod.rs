//! The cache as programs and doors use it: a node wired together, its router, the production entry store with its
//! Moka tier, and the library's [`DistributedCache`]. The only module that knows Moka.

mod config;
mod coordinator;
mod discover;
#[cfg_attr(not(feature = "rocksdb"), path = "disk/absent.rs")]
mod disk;
mod distributed;
mod enter;
mod govern;
mod initiate;
mod moves;
mod node;
mod places;
mod pump;
mod rates;
mod readers;
mod ready;
mod router;
mod storage;
pub mod store;
mod view;

pub use self::{
    config::{
        CacheConfig, MultiRaftCacheConfig, NodeId, RaftConfig, RaftStorageType, default_replication, default_workers,
    },
    coordinator::{
        MultiRaftBuilder, MultiRaftCoordinator, MultiRaftStats, Shard, ShardConfig, ShardInfo, ShardRange,
        ShardRoute, ShardRouter, ShardState,
    },
    distributed::DistributedCache,
    enter::Entry,
    node::{NodeOptions, RunningNode, StartingNode},
    places::Places,
    router::Router,
    storage::{DiskOptions, HAS_ROCKSDB, Storage},
    view::NodeView,
};
