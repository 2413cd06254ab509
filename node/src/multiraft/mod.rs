//! Many Raft groups on one node: the pure core (`node`) and what drives it (`runtime`).

pub mod execute;
pub mod govern;
pub mod introspect;
pub mod node;
pub mod runtime;
