//! What must hold at every moment of every run, one file each.
//!
//! The world shows them every node after each of its turns, and every answer; the first violation ends the run. What
//! only the finished history can show is in [`crate::testing::check`].

use std::collections::BTreeSet;

use crate::{
    checkpoint::ConfState,
    machine::model::ModelStore,
    multiraft::node::{GroupStatus, Node},
    testing::{
        clock::Micros,
        host::{Host, node_id},
        net::Place,
    },
    types::{GroupId, Incarnation, ReplicaId},
};

pub mod answers;
pub mod complaints;
pub mod confs;
pub mod convergence;
pub mod elections;
pub mod hashes;
pub mod lives;
pub mod maps;
pub mod progress;
pub mod promotions;
pub mod shape;
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
    confs: confs::Confs,
    lives: lives::Lives,
    maps: maps::Maps,
}

impl Watch {
    /// A node after a turn.
    ///
    /// # Errors
    /// The invariant that does not hold, and why.
    pub fn node(&mut self, place: Place, life: Incarnation, node: &Node<ModelStore>) -> Verdict {
        for status in node.status() {
            self.lives.see(place, life, &status)?;
            let conf = node.conf(status.group);
            // What is here is what the map places here.
            let generation = node.map().groups.get(&status.group).map_or(0, |set| set.generation);
            self.group(place, generation, &status, conf.map(|(_, conf)| conf))?;
            if let Some((version, conf)) = conf {
                self.confs.see(place, (status.group, generation), version, conf)?;
            }
        }
        self.maps.see(place, life, node)?;
        sleepers::check(place, node)?;
        // A node whose life is over says so, loudly.
        let is_over = node.map().incarnation_of(node_id(place)) != Some(life);
        complaints::check(self.hashes.has_damage() || is_over)
    }

    /// Every node, after one of them has turned.
    ///
    /// # Errors
    /// The invariant that does not hold, and why.
    pub fn promotions(&mut self, hosts: &[Host]) -> Verdict {
        let mut fresh = self.confs.take_fresh().into_iter();
        fresh.try_for_each(|(group, conf)| promotions::check(group, &conf, hosts, &self.hashes))
    }

    fn group(&mut self, place: Place, generation: u64, status: &GroupStatus, conf: Option<&ConfState>) -> Verdict {
        self.elections.see(place, generation, status)?;
        self.progress.see(place, status)?;
        self.hashes.see(place, generation, status, conf)
    }

    /// The memory of a replica is damaged on purpose.
    pub fn damage(&mut self, damage: hashes::Damage) {
        self.hashes.damage(damage);
    }

    /// What a disk has of a replica is damaged on purpose.
    pub fn rot(&mut self, place: Place, group: GroupId, replica: ReplicaId, log: bool) {
        self.hashes.rot(place, group, replica, log);
    }

    /// A disk takes nothing any more.
    pub fn fail(&mut self, place: Place) {
        self.hashes.fail(place);
    }

    /// Whether a replica can't be counted on any more.
    #[must_use]
    pub fn is_lost(&self, place: Place, group: GroupId, replica: ReplicaId) -> bool {
        self.hashes.is_lost(place, group, replica)
    }

    /// Whether there is a replica whose memory is damaged.
    #[must_use]
    pub fn has_damaged_memory(&self) -> bool {
        self.hashes.has_damaged_memory()
    }

    /// Whether a replica's memory was damaged.
    #[must_use]
    pub fn is_damaged(&self, place: Place, group: GroupId) -> bool {
        self.hashes.is_damaged(place, group)
    }

    /// The groups that have stopped for good, as they must: one of two voters was damaged, and none knows which.
    #[must_use]
    pub fn stopped(&self) -> &BTreeSet<GroupId> {
        self.hashes.stopped()
    }

    /// A node's process is gone, and all it knew but what is on its disk.
    pub fn forget(&mut self, place: Place, has_disk: bool) {
        self.progress.forget(place);
        if !has_disk {
            self.lives.forget(place);
        }
        self.maps.forget(place);
        self.hashes.forget(place, has_disk);
    }
}
