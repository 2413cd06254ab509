//! Every code sample of the library's reference, compiled and run: a file for each of its chapters.
//!
//! The samples stand here as they are in the reference. What must differ is marked with a comment: ports that are free
//! now, folders that are removed again, and what a sample leaves to its reader. Beside a sample stands what it promises.

mod rig;

mod checkpointing;
mod configuration;
mod consistency;
mod discovery;
mod features;
mod metrics;
mod multi_raft;
mod quick_start;
mod running;
mod shard_types;
mod storage;
