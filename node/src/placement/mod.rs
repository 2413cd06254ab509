//! Which replica belongs where: the planner (pure).
//!
//! The meta leader calls [`plan`] every few ticks and proposes what it says; Admin asks [`preflight_drain`] what a
//! drain would do and [`preflight_reset`] where lost shards would begin anew. All look at the map and at [`Health`] only, so that the same inputs give the same plan on any
//! node, and each call starts from scratch: nothing is remembered between two. The planner never ends a migration and
//! never moves one on: that is `cluster::progress`.
//!
//! What matters more comes first: states of nodes, the meta group, repair, drain, balance of replicas, leaders. A
//! migration under way counts as done wherever replicas are counted, so a plan never repeats what was begun.

mod balance;
mod drain;
mod health;
mod layout;
mod leaders;
mod meta;
mod nodes;
mod planner;
mod preflight;
mod repair;
mod reset;
mod waiting;

#[cfg(test)]
mod tests;

pub use self::{
    health::{Defect, GroupHealth, Health, NodeHealth, PeerHealth},
    nodes::CONNECTED_MS,
    preflight::{DrainForecast, DrainMove, DrainRefusal, preflight_drain},
    reset::{ResetRefusal, leading, preflight_reset},
};

use crate::{
    cluster::{command::MetaCommand, map::ClusterMap},
    types::{GroupId, NodeId},
};

/// What is to be done now, and what can't be done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be proposed to the meta group in this order, a few at a time.
    pub actions: Vec<MetaCommand>,
    /// Why nothing more is done: plain words, one line for each reason.
    pub waiting_on: Vec<String>,
}

/// The group that would lose its majority for good if a node were declared down now; none: it may be.
#[must_use]
pub fn needing(map: &ClusterMap, health: &Health, node: NodeId) -> Option<GroupId> {
    planner::Planner::new(map, health).needing(node)
}

/// The next few changes of the map. Empty actions: all is as it should be, or `waiting_on` says what is missing.
#[must_use]
pub fn plan(map: &ClusterMap, health: &Health) -> Plan {
    let visible = nodes::without_held_back(map, health);
    let mut planner = planner::Planner::new(&visible, health);
    for node in &health.held_back {
        planner.waiting.note(format!(
            "node {node} is not let in: auto_add_voters is off (`cremactl undrain {node}` lets it in)"
        ));
    }
    planner.set_states();
    planner.cancel_hopeless();
    if visible.settings.migrations_paused {
        planner.waiting.note("migrations are paused: nothing is repaired, drained or balanced".to_owned());
    } else {
        planner.keep_meta();
        planner.repair();
        planner.drain();
        planner.balance();
    }
    planner.prefer_leaders();
    planner.finish()
}
