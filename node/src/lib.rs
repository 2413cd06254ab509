//! Crema: a strongly consistent, sharded cache. Many small Raft groups replicate a map; Moka serves its hot reads.

pub mod checkpoint;
pub mod clock;
pub mod cluster;
pub mod consensus;
pub mod error;
pub mod faults;
pub mod machine;
pub mod multiraft;
pub mod network;
pub mod partitioning;
pub mod types;

pub use error::{Error, Result};
