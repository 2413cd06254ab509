//! Eviction is a proposal (PROTOCOL 8): pressure decides how many, the tier decides which.

use std::collections::BTreeMap;

use super::group::{Env, Group};
use crate::{
    faults::Fault,
    machine::store::{EntryStore, weight},
    types::{Key, Version},
};

/// Nominations in one go: more would only make one entry large.
const MAX_NOMINATIONS: u64 = 1_000;

/// What the leader wants to evict.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    /// Nominated, in no entry yet.
    waiting: Vec<(Key, Version)>,
    /// When the oldest of them was nominated.
    pub(super) since_tick: Option<u64>,
    /// Nominated and not applied, in an entry or not.
    flying: BTreeMap<Key, Flying>,
}

#[derive(Debug)]
struct Flying {
    version: Version,
    weight: u64,
}

impl Evictions {
    pub(super) fn take_waiting(&mut self) -> Vec<(Key, Version)> {
        self.since_tick = None;
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn put_back(&mut self, evictions: Vec<(Key, Version)>, tick: u64) {
        if !evictions.is_empty() {
            self.waiting.extend(evictions);
            self.since_tick = Some(tick);
        }
    }

    pub(super) fn applied(&mut self, evictions: &[(Key, Version)]) {
        for (key, version) in evictions {
            if self.flying.get(key).is_some_and(|flying| flying.version == *version) {
                self.flying.remove(key);
            }
        }
    }

    /// A lost nomination is harmless: the next leader nominates anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn flying_weight(&self) -> u64 {
        self.flying.values().map(|flying| flying.weight).sum()
    }
}

impl<S: EntryStore> Group<S> {
    /// Nominates as many entries as are too many, less those already on their way out.
    pub(super) fn nominate(&mut self, env: &mut Env<'_>) {
        if env.config.faults.has(Fault::FollowerLocalEviction) && !self.replica.is_leader() {
            return self.evict_locally();
        }
        if !self.replica.takes_proposals() {
            return;
        }
        let count = self.too_many();
        if count == 0 {
            return;
        }
        let flying = self.evictions.flying.len();
        let Some(machine) = self.machine_mut() else { return };
        // The newest 1 % of the keys go last, so that a fresh SET is not gone at once.
        let newest = Version(machine.last_version().0.saturating_sub(machine.len() as u64 / 100));
        let nominated = machine.store_mut().nominate(count as usize + flying, newest);
        let fresh = nominated.into_iter().filter(|entry| !self.evictions.flying.contains_key(entry.key()));
        for entry in fresh.take(count as usize).collect::<Vec<_>>() {
            let flying = Flying { version: entry.version(), weight: weight(&entry) };
            self.evictions.flying.insert(entry.key_bytes(), flying);
            self.evictions.waiting.push((entry.key_bytes(), entry.version()));
            self.evictions.since_tick.get_or_insert(env.tick);
        }
    }

    /// How many entries should go beyond those that are going.
    fn too_many(&self) -> u64 {
        let Some(machine) = self.machine() else { return 0 };
        let excess = machine.excess();
        let entries = excess.entries.saturating_sub(self.evictions.flying.len() as u64);
        let bytes = excess.bytes.saturating_sub(self.evictions.flying_weight());
        let average = (machine.weight_bytes() / (machine.len() as u64).max(1)).max(1);
        entries.max(bytes.div_ceil(average)).min(MAX_NOMINATIONS)
    }

    /// The planted fault "follower-local eviction".
    fn evict_locally(&mut self) {
        let Some(machine) = self.machine_mut() else { return };
        let excess = machine.excess();
        if excess.entries == 0 && excess.bytes == 0 {
            return;
        }
        let newest = machine.last_version();
        for entry in machine.store_mut().nominate(1, newest) {
            machine.store_mut().remove(entry.key());
        }
    }
}
