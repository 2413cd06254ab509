//! What must hold at every moment of every run, one file each.
//!
//! The world shows them every node after each of its turns, and every answer; the first violation ends the run. What
//! only the finished history can show is in [`crate::check`].

use crema::{
    machine::model::ModelStore,
    multiraft::node::{GroupStatus, Node},
    types::GroupId,
};

use crate::{clock::Micros, net::Place};

pub mod answers;
pub mod complaints;
pub mod convergence;
pub mod elections;
pub mod hashes;
pub mod progress;
pub mod sleepers;
pub mod tier;

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which invariant.
    pub invariant: &'static str,
    /// When, in true time.
    pub at: Micros,
    /// What was seen.
    pub reason: String,
}

/// What an invariant says.
pub type Verdict = Result<(), (&'static str, String)>;

/// Those that watch every node.
#[derive(Debug, Default)]
pub struct Watch {
    elections: elections::Elections,
    hashes: hashes::Hashes,
    progress: progress::Progress,
}

impl Watch {
    /// A node after a turn.
    ///
    /// # Errors
    /// The invariant that does not hold, and why.
    pub fn node(&mut self, place: Place, node: &Node<ModelStore>) -> Verdict {
        for status in node.status() {
            self.group(place, &status)?;
        }
        sleepers::check(place, node)?;
        complaints::check(self.hashes.has_damage())
    }

    fn group(&mut self, place: Place, status: &GroupStatus) -> Verdict {
        self.elections.see(place, status)?;
        self.progress.see(place, status)?;
        self.hashes.see(place, status)
    }

    /// The memory of a replica is damaged on purpose.
    pub fn damage(&mut self, place: Place, group: GroupId) {
        self.hashes.damage(place, group);
    }

    /// A node's process is gone, and all it knew.
    pub fn forget(&mut self, place: Place) {
        self.progress.forget(place);
    }
}
