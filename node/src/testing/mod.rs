//! The deterministic simulator: whole clusters of the real core on one thread, from one seed.
//!
//! [`ChaosCluster`] is the door for programs that embed the library; `crema-sim` runs seeds by the thousand, and plants
//! bugs to prove that they are found. [`world::run`] plays a seed: a [`plan`] of trouble, [`clients`] with a
//! [`workload`], the [`net`], and a [`host::Host`] with the real [`Node`](crate::multiraft::node::Node) for each node.
//! The [`invariants`] watch every step; [`check`] judges what the clients saw; the process tests have another,
//! independent judge (`crema-tests`). No clock, thread or socket is here: time is virtual, and all dice come from the seed.

pub mod chaos;
pub mod check;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod forming;
pub mod host;
pub mod invariants;
pub mod net;
pub mod plan;
pub mod queue;
pub mod workload;
pub mod world;

pub use chaos::{ChaosCluster, ChaosError, ChaosReport, Trouble, run_seed};
