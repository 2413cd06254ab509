//! Which replica belongs where: the planner (pure).
//!
//! The meta leader calls the planner every few ticks and proposes what it says; Admin asks it what a drain would do.
//! It looks at the map and at [`Health`] only, so that the same inputs give the same plan on any node, and each call
//! starts from scratch: nothing is remembered between two. It never ends a migration and never moves one on: that is
//! `cluster::progress`.

mod health;

pub use health::{GroupHealth, Health, NodeHealth, PeerHealth};

use crate::cluster::command::MetaCommand;

/// What is to be done now, and what can't be done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be proposed to the meta group in this order, a few at a time.
    pub actions: Vec<MetaCommand>,
    /// Why nothing more is done: plain words, one line for each reason.
    pub waiting_on: Vec<String>,
}
