//! One Raft group's replica on this node: raft-rs behind our own words (pure).
//!
//! Nothing above this module knows raft-rs. [`Replica`] takes ticks, messages, proposals and read requests, and
//! hands out what is to be sent, stored, applied and answered. It never asks a clock and never draws at random:
//! election timeouts come from a seed (PROTOCOL 16).

mod conf;
mod convert;
mod journal;
mod log;
mod logger;
mod membership;
mod origin;
mod persist;
mod poll;
mod reads;
mod replica;
#[cfg(test)]
mod tests;

pub use self::{
    conf::{ConfChange, ConfStep},
    log::SnapshotPoint,
    membership::PeerProgress,
    origin::{FIRST_INDEX, FIRST_TERM, Origin, ReplicaConfig},
    persist::{DiskLog, Persist, Recovered, Unusable},
    replica::{Committed, CommittedKind, Dropped, Output, ReadAnswer, Replica, Role, Standing},
};
