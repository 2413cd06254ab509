//! Crema's protobuf interfaces, the types generated from them, and the Rust client.

/// The generated types and services of `crema.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("crema.v1");

    /// The compiled descriptors, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/crema_descriptor.bin"));
}
