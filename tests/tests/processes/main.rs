//! Real `crema-node` processes on loopback: what users rely on, seen from outside.
//!
//! Run by `tests/run processes`, one test at a time, since each fills the machine by itself.

mod abuse;
mod cluster_mode;
mod crashes;
mod ctl;
mod datadir;
mod dev;
mod durability;
mod examples;
mod failover;
mod flags;
mod identity;
mod idle;
mod membership;
mod metrics;
mod pipeline;
mod reset;
mod shutdown;
mod verbs;
