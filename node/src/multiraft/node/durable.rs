//! A node with a disk: its writes under way, and what follows when they are synced, or can't be (PROTOCOL 20).
//!
//! A turn asks for one write at most, for all groups together. Writes are numbered and synced in order; several may be
//! under way. What a write holds back waits in its replica.

use std::collections::VecDeque;

use super::Node;
use crate::{
    consensus::Persist,
    machine::store::EntryStore,
    types::{GroupId, Now, ReplicaId},
};

/// What one turn asks to be made durable: all of it with one sync, and in the order of the fields.
///
/// A write with a [`Persist::reset`] behind an index that no checkpoint has yet belongs to a snapshot that came in: the
/// file of that snapshot is published before.
#[derive(Debug)]
pub struct PersistBatch {
    /// For [`super::Input::Persisted`]; rises by one.
    pub number: u64,
    /// Replicas that are not here any more: their log and checkpoints go, and their id is never used again.
    pub destroyed: Vec<(GroupId, ReplicaId)>,
    /// What the others write.
    pub writes: Vec<Persist>,
}

/// A write that takes longer than so many election timeouts hangs. Disks of clouds do at times, and no call says so.
const HANGING_TIMEOUTS: u64 = 4;

/// A batch under way.
#[derive(Debug)]
struct Flight {
    number: u64,
    since_mono_ms: u64,
    /// Whose writes are in it, by the numbers that their replicas know.
    writes: Vec<(GroupId, ReplicaId, u64)>,
}

/// The batch in the making, and those under way.
#[derive(Debug, Default)]
pub(super) struct Writes {
    fresh: Vec<(u64, Persist)>,
    destroyed: Vec<(GroupId, ReplicaId)>,
    last_number: u64,
    under_way: VecDeque<Flight>,
}

impl Writes {
    pub(super) fn push(&mut self, number: u64, persist: Persist) {
        self.fresh.push((number, persist));
    }

    /// A replica is gone, and what it wanted to write with it.
    pub(super) fn destroy(&mut self, group: GroupId, replica: ReplicaId) {
        self.fresh.retain(|(_, persist)| (persist.group, persist.replica) != (group, replica));
        self.destroyed.push((group, replica));
    }

    /// The batch of a turn, if there is anything to write.
    pub(super) fn take(&mut self, now: Now) -> Option<PersistBatch> {
        let (fresh, destroyed) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.destroyed));
        if fresh.is_empty() && destroyed.is_empty() {
            return None;
        }
        self.last_number += 1;
        let flight = fresh.iter().map(|(number, persist)| (persist.group, persist.replica, *number)).collect();
        self.under_way.push_back(Flight { number: self.last_number, since_mono_ms: now.mono_ms, writes: flight });
        let writes = fresh.into_iter().map(|(_, persist)| persist).collect();
        Some(PersistBatch { number: self.last_number, destroyed, writes })
    }

    /// Everything up to a batch is synced.
    fn land(&mut self, number: u64) -> Vec<(GroupId, ReplicaId, u64)> {
        let mut landed = Vec::new();
        while self.under_way.front().is_some_and(|flight| flight.number <= number) {
            landed.extend(self.under_way.pop_front().into_iter().flat_map(|flight| flight.writes));
        }
        landed
    }

    /// For how long the oldest has been under way.
    fn age_ms(&self, now: Now) -> u64 {
        self.under_way.front().map_or(0, |flight| now.mono_ms.saturating_sub(flight.since_mono_ms))
    }
}

impl<S: EntryStore> Node<S> {
    pub(super) fn on_persisted(&mut self, number: u64) {
        // After a failed sync nothing is believed any more.
        if self.failed.is_some() {
            return;
        }
        for (id, replica, write) in self.out.writes.land(number) {
            if let Some(group) = self.groups.get_mut(&id).filter(|group| group.own() == replica) {
                group.replica.persisted(write);
                self.dirty.insert(id);
            }
        }
    }

    /// Whether this node should lead nothing: it is to stop, or its disk answers nothing. Its followers go on without it
    /// then, and nothing that it leads does.
    pub(super) fn is_leaving(&self, now: Now) -> bool {
        let timings = &self.config.timings;
        let patience_ms = HANGING_TIMEOUTS * timings.election_ticks as u64 * timings.tick_ms;
        self.resigning || self.out.writes.age_ms(now) > patience_ms
    }

    /// The disk can't be trusted any more: no replica here says another word. What the node itself says goes on, so that
    /// the cluster learns that its replicas must be replaced.
    pub(super) fn on_persist_failed(&mut self, now: Now, reason: &str) {
        if self.failed.is_some() {
            return;
        }
        tracing::error!(reason, "the disk failed: the replicas on this node stop");
        let reason = format!("its disk failed: {reason}");
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.with_group(now, id, |group, env| {
                // One that sleeps would be vouched for by this node's beats.
                group.stir();
                if !group.health.is_stopped() {
                    group.stop(reason.clone(), env);
                }
            });
            self.dirty.insert(id);
        }
        self.governor = None;
        self.failed = Some(reason);
        self.park_bounced();
    }
}
