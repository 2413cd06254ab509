//! The deterministic simulator: whole clusters of the real core on one thread, from one seed.
//!
//! [`world::run`] plays a seed: a [`plan`] of trouble, [`clients`] with a [`workload`], the [`net`], and a
//! [`host::Host`] with the real `crema::multiraft::node` for each node. The [`invariants`] watch every step;
//! [`check`] judges what the clients saw; the process tests have another, independent judge (`crema-tests`).

pub mod check;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod forming;
pub mod host;
pub mod hunt;
pub mod invariants;
pub mod net;
pub mod plan;
pub mod queue;
pub mod workload;
pub mod world;
