//! Crema: a strongly consistent, sharded cache. Many small Raft groups replicate a map; Moka serves its hot reads.

pub mod accept;
pub mod checkpoint;
#[cfg(test)]
mod door_fixture;
pub mod error;
pub mod faults;
pub mod grpc;
pub mod http;
pub mod machine;
pub mod metrics;
pub mod multiraft;
pub mod partitioning;
pub mod types;

pub use error::{Error, Result};
