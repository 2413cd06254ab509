//! Crema's protobuf interfaces, the types generated from them, and the Rust client.
//!
//! Programs that talk to a cluster use [`client::CremaClient`]; the node's gRPC door uses [`v1`] and
//! [`failure`]. Nothing here knows Raft or storage.

pub mod client;
pub mod failure;
pub mod slot;

/// The generated types and services of `crema.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("crema.v1");

    /// The compiled descriptors, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/crema_descriptor.bin"));
}

/// The largest gRPC message, either way.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The metadata key of an answer that names the leader of the request's shard, when it is another node:
/// `<shard> <node> <host:port>`.
pub const LEADER_METADATA: &str = "crema-leader";
