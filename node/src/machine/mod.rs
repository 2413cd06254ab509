//! The state machine of one shard: a pure function of (state, log entry).
//!
//! [`Machine`] owns the authoritative map and changes it only in [`Machine::apply`], called once for each
//! committed entry, in order, by `multiraft::node`. It never asks a clock, draws no random number and depends on
//! no iteration order, so replicas at the same index are byte-identical (PROTOCOL 2, 4, 5, 8, 9).

pub mod command;
pub mod store;
