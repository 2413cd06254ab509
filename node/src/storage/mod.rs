//! What outlives the process: the logs of the replicas here, their checkpoints, and who this node was.
//!
//! The runtime hands each turn's [`Persist`](crate::consensus::Persist)s to a [`LogStore`] and feeds back that they
//! are durable; at a start the replicas are made from what [`LogStore::load`] and [`checkpoints`] find. Nothing here
//! decides what a damaged replica does next: it says precisely what is damaged, and never hands out a part of it. No
//! path, lock or sync is known above it.

pub mod checkpoints;
pub mod log_store;
#[cfg(feature = "rocksdb")]
pub mod rocks;

pub use self::checkpoints::{CheckpointConfig, CheckpointManager};
pub use self::log_store::{Damage, Holding, LogStore, RecoveredLog, StoreError};
#[cfg(feature = "rocksdb")]
pub use self::rocks::{Claim, Identity, LogOptions, RocksLane, RocksLogs};
