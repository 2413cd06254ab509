//! What outlives a crash. The runtime calls it; nothing in the pure modules does, and no path, lock or sync is known
//! above it.
//!
//! - [`checkpoints`]: files that each hold a shard's whole state at one index. No RocksDB.

pub mod checkpoints;

pub use checkpoints::{CheckpointConfig, CheckpointManager};
