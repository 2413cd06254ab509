//! Replicas at the same applied index have the same state hash; a damaged one is off by its damage and by nothing else.
//! Only that one says that it is corrupt; that nobody can tell who is right is said only where it is so (PROTOCOL 9). A
//! replica whose disk is bad stops, and never serves again (PROTOCOL 19).

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::{
    checkpoint::ConfState,
    multiraft::node::{GroupStatus, Health, IN_THE_MINORITY, NO_MAJORITY},
    testing::net::Place,
    types::{GroupId, LogIndex, ReplicaId},
};

/// What the run has done to one replica's memory.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    /// The node.
    pub place: Place,
    /// The group.
    pub group: GroupId,
    /// Its replica there.
    pub replica: ReplicaId,
    /// How far its hash is off once the damaged entry was replaced: then the damaged one is taken out of the sum, and
    /// the one that had gone into it stays.
    pub off: u128,
    /// Its checkpoints may be as wrong as its memory.
    pub deep: bool,
}

/// What is known of a replica whose disk is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// It may find something sound.
    Possible,
    /// It must never serve again.
    Certain,
}

/// The hashes seen of each state.
#[derive(Debug, Default)]
pub struct Hashes {
    /// The first of a sound replica, by group, generation and index.
    seen: BTreeMap<(GroupId, u64, LogIndex), (u128, Place)>,
    /// Those of the damaged one.
    seen_damaged: BTreeMap<LogIndex, u128>,
    damage: Option<Damage>,
    /// The damaged replica's process is gone.
    is_over: bool,
    /// Groups that have stopped since one of two is damaged.
    stopped: BTreeSet<GroupId>,
    /// Replicas whose disk is bad, or was found to be wrong.
    lost: BTreeMap<(Place, GroupId, ReplicaId), Loss>,
    /// Processes whose disk takes nothing any more.
    failed: BTreeSet<Place>,
    /// Whether a disk has failed; its process may be gone before what it said of it is looked at.
    any_failed: bool,
}

impl Hashes {
    /// From now on this replica's state is wrong.
    pub(super) fn damage(&mut self, damage: Damage) {
        self.damage = Some(damage);
    }

    /// Whether this replica was damaged.
    pub(super) fn is_damaged(&self, place: Place, group: GroupId) -> bool {
        self.damage.is_some_and(|damage| (damage.place, damage.group) == (place, group)) && !self.is_over
    }

    /// The process is gone, and with it the damage to its memory.
    pub(super) fn forget(&mut self, place: Place, has_disk: bool) {
        let heals = |damage: Damage| damage.place == place && !(damage.deep && has_disk);
        self.is_over |= self.damage.is_some_and(heals);
        self.failed.remove(&place);
    }

    /// What a disk has of a replica is damaged; of its log or of a checkpoint.
    pub(super) fn rot(&mut self, place: Place, group: GroupId, replica: ReplicaId, log: bool) {
        let before = self.lost.get(&(place, group, replica)) == Some(&Loss::Certain);
        let loss = if log || before { Loss::Certain } else { Loss::Possible };
        self.lost.insert((place, group, replica), loss);
    }

    /// The disk of a process takes nothing any more.
    pub(super) fn fail(&mut self, place: Place) {
        self.failed.insert(place);
        self.any_failed = true;
    }

    /// Whether a replica can't be counted on any more.
    pub(super) fn is_lost(&self, place: Place, group: GroupId, replica: ReplicaId) -> bool {
        self.failed.contains(&place) || self.lost.contains_key(&(place, group, replica))
    }

    /// Whether there is a replica whose memory is damaged.
    pub(super) fn has_damaged_memory(&self) -> bool {
        self.damage.is_some() && !self.is_over
    }

    /// Whether anything was damaged.
    pub(super) fn has_damage(&self) -> bool {
        self.damage.is_some() || !self.lost.is_empty() || self.any_failed
    }

    /// The groups that have stopped as they must.
    pub(super) fn stopped(&self) -> &BTreeSet<GroupId> {
        &self.stopped
    }

    /// Checks one replica; `conf` is the configuration that it has applied.
    pub(super) fn see(
        &mut self,
        place: Place,
        generation: u64,
        status: &GroupStatus,
        conf: Option<&ConfState>,
    ) -> Verdict {
        let group = status.group;
        self.check_loss(place, status)?;
        let is_excused = match &status.health {
            Health::Serving => true,
            Health::Corrupt { .. } => self.is_damaged(place, group),
            Health::Stopped { .. } => self.is_damaged(place, group) || self.is_lost(place, group, status.replica),
        };
        let finds_no_majority = matches!(&status.health, Health::Stopped { reason } if reason.contains(NO_MAJORITY));
        if finds_no_majority && conf.is_some_and(|conf| self.has_no_majority(group, conf)) {
            self.stopped.insert(group);
        } else if finds_no_majority || !is_excused {
            let which = if self.is_damaged(place, group) { "damaged" } else { "sound" };
            let reason = format!("{group} at place {place} is {which} and says {:?}, in {conf:?}", status.health);
            return Err(("only the damaged are corrupt", reason));
        }
        self.compare(place, generation, status)
    }

    /// Who was found wrong on a disk stays so, whatever it finds there after a restart.
    fn check_loss(&mut self, place: Place, status: &GroupStatus) -> Verdict {
        let id = (place, status.group, status.replica);
        match &status.health {
            Health::Stopped { reason }
                if reason.contains(IN_THE_MINORITY) && self.is_damaged(place, status.group) =>
            {
                self.lost.insert(id, Loss::Certain);
            }
            Health::Serving if self.lost.get(&id) == Some(&Loss::Certain) => {
                let reason = format!("{} at place {place}: replica {} serves again", id.1, id.2);
                return Err(("what is lost serves no more", reason));
            }
            Health::Serving | Health::Corrupt { .. } | Health::Stopped { .. } => {}
        }
        Ok(())
    }

    /// One is damaged of two who vote: they differ, and neither can know that it is not the one. Of three or more the
    /// others are a majority. A configuration does not change any more where a replica has stopped.
    fn has_no_majority(&self, group: GroupId, conf: &ConfState) -> bool {
        let voters: BTreeSet<ReplicaId> = conf.voters.iter().chain(&conf.voters_outgoing).copied().collect();
        let is_damaged = |damage: Damage| damage.group == group && voters.contains(&damage.replica);
        voters.len() == 2 && self.damage.is_some_and(is_damaged)
    }

    fn compare(&mut self, place: Place, generation: u64, status: &GroupStatus) -> Verdict {
        let (group, index, hash) = (status.group, status.applied, status.state_hash);
        if self.is_damaged(place, group) {
            self.seen_damaged.insert(index, hash);
            return self.compare_damaged(group, generation, index);
        }
        let first = *self.seen.entry((group, generation, index)).or_insert((hash, place));
        if first.0 == hash {
            return self.compare_damaged(group, generation, index);
        }
        let reason = format!(
            "{group} at entry {index}: place {} has hash {:032x}, place {place} has {hash:032x}",
            first.1, first.0
        );
        Err(("equal state hashes", reason))
    }

    /// The damage must not hide that the damaged replica differs in something else, too. Before the damaged entry is
    /// replaced the hash does not show it; a flush or a snapshot heals it.
    fn compare_damaged(&self, group: GroupId, generation: u64, index: LogIndex) -> Verdict {
        let Some(damage) = self.damage.filter(|damage| damage.group == group) else { return Ok(()) };
        let (Some((sound, place)), Some(damaged)) =
            (self.seen.get(&(group, generation, index)), self.seen_damaged.get(&index))
        else {
            return Ok(());
        };
        if damaged == sound || *damaged == sound.wrapping_add(damage.off) {
            return Ok(());
        }
        let reason = format!(
            "{group} at entry {index}: place {place} has hash {sound:032x}, place {} has {damaged:032x}, and its \
             damage is worth {:032x}",
            damage.place, damage.off
        );
        Err(("equal state hashes", reason))
    }
}
