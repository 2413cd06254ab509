//! When a group's state goes to the disk, and how far its log may be cut then (PROTOCOL 17, 18).
//!
//! A checkpoint is a capture whose pieces leave as they are made. The log is cut behind the older of the last two that
//! were published: a restart falls back to it when the newer one is damaged.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Node, NodeConfig,
    group::{Env, Group},
    snapshot::Target,
};
use crate::{
    checkpoint::LogGrowth,
    consensus::SnapshotPoint,
    machine::store::EntryStore,
    types::{GroupId, LogIndex, ReplicaId},
};

/// After a failure the next attempt waits for so many ticks: a capture walks the whole shard.
const RETRY_TICKS: u64 = 600;
/// How often the groups that sleep are looked at.
const LOOK_TICKS: u64 = 100;

/// A part of a checkpoint, in the order of the file. Those of one replica never overlap.
#[derive(Clone, Debug)]
pub struct CheckpointPiece {
    /// The group.
    pub group: GroupId,
    /// Its replica here.
    pub replica: ReplicaId,
    /// The index and term that the checkpoint is of.
    pub point: SnapshotPoint,
    /// The part.
    pub piece: Piece,
}

/// Which part it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The header: a new file.
    Begin(Bytes),
    /// A block of entries.
    Block(Bytes),
    /// The footer: the file is whole, and [`super::Input::Checkpointed`] follows once it is published.
    End(Bytes),
    /// It will never be whole.
    Abandon,
}

/// The checkpoints of one replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpoints {
    /// The last two that were published, the older first. A replica begins with its beginning in both places.
    older: LogIndex,
    newer: LogIndex,
    /// One is being made or written.
    pub(super) writing: Option<SnapshotPoint>,
    /// Bytes of the entries that were applied since the last one was begun.
    applied_bytes: u64,
    /// The tick at which the last one was begun, or at which this was first looked at.
    begun: Option<u64>,
    /// The last one failed: the tick from which on another one is tried.
    retry: Option<u64>,
}

impl Checkpoints {
    /// What a replica begins with: its state, and what its log begins behind.
    pub(super) fn new(base: LogIndex, state: LogIndex) -> Self {
        Self { older: base, newer: state, ..Self::default() }
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.applied_bytes += bytes as u64;
    }

    pub(super) fn begin(&mut self, point: SnapshotPoint, tick: u64) {
        (self.writing, self.begun, self.retry) = (Some(point), Some(tick), None);
        self.applied_bytes = 0;
    }

    /// A file is whole, synced and in its place.
    pub(super) fn published(&mut self, index: LogIndex) {
        self.writing.take_if(|point| point.index == index.0);
        if index > self.newer {
            (self.older, self.newer) = (self.newer, index);
        }
    }

    /// There will be no file.
    fn failed(&mut self, index: LogIndex, tick: u64) {
        if self.writing.take_if(|point| point.index == index.0).is_some() {
            self.retry = Some(tick + RETRY_TICKS);
        }
    }

    /// The log is not cut beyond this.
    pub(super) fn keep_from(&self) -> LogIndex {
        self.older
    }

    /// The last one that was published.
    pub(super) fn newest(&self) -> LogIndex {
        self.newer
    }

    /// The planted bug: what is only on its way to the disk counts as both.
    pub(super) fn trust(&mut self, index: LogIndex) {
        (self.older, self.newer) = (index, index);
    }

    /// Whether another one is to be begun. One that failed is tried again whatever has come since.
    fn is_due(&mut self, applied: LogIndex, tick: u64, config: &NodeConfig) -> bool {
        let begun = *self.begun.get_or_insert(tick);
        if self.writing.is_some() || applied <= self.newer {
            return false;
        }
        let growth = LogGrowth {
            entries: applied.0 - self.newer.0,
            bytes: self.applied_bytes,
            age: Duration::from_millis((tick - begun) * config.timings.tick_ms),
        };
        match self.retry {
            Some(at) => tick >= at,
            None => config.checkpoints.due(growth).is_some(),
        }
    }
}

impl<S: EntryStore> Group<S> {
    /// Begins a checkpoint when the log has grown enough since the last one.
    pub(super) fn checkpoint_if_due(&mut self, env: &mut Env<'_>) {
        let may = env.checkpoint_room && self.health.is_serving() && !self.is_capturing();
        if may && self.wants_checkpoint(env.tick, env.config) {
            self.begin_capture(Target::Disk, env);
        }
    }

    fn wants_checkpoint(&mut self, tick: u64, config: &NodeConfig) -> bool {
        config.durable && self.checkpoints.is_due(self.applied(), tick, config)
    }

    /// A part of the checkpoint that is being made.
    pub(super) fn write_checkpoint(&self, point: SnapshotPoint, piece: Piece, env: &mut Env<'_>) {
        env.out.checkpoint(CheckpointPiece { group: self.id, replica: self.own(), point, piece });
    }
}

impl<S: EntryStore> Node<S> {
    /// Whether what writes the checkpoints takes more. While it does not, captures for it make no step; those for peers
    /// go on.
    pub fn set_checkpoint_room(&mut self, room: bool) {
        self.checkpoint_room = room;
        if room {
            self.dirty.append(&mut self.paused);
        }
    }

    /// Now and then also those who sleep: their last checkpoint gets old, too.
    pub(super) fn look_for_checkpoints(&mut self) {
        if !self.config.durable || !self.checkpoint_room || !self.tick.is_multiple_of(LOOK_TICKS) {
            return;
        }
        let Self { groups, config, tick, dirty, .. } = self;
        let due = groups.iter_mut().filter_map(|(id, group)| group.wants_checkpoint(*tick, config).then_some(*id));
        dirty.extend(due);
    }

    pub(super) fn on_checkpointed(&mut self, id: GroupId, replica: ReplicaId, index: LogIndex) {
        if let Some(group) = self.groups.get_mut(&id).filter(|group| group.own() == replica) {
            group.checkpoints.published(index);
            self.dirty.insert(id);
        }
    }

    pub(super) fn on_checkpoint_failed(&mut self, id: GroupId, replica: ReplicaId, index: LogIndex) {
        let Some(group) = self.groups.get_mut(&id).filter(|group| group.own() == replica) else { return };
        let is_it = |point: &SnapshotPoint| point.index == index.0;
        if group.checkpoints.writing.as_ref().is_some_and(is_it) {
            // It may not be whole yet.
            group.cancel_checkpoint();
            group.checkpoints.failed(index, self.tick);
            self.dirty.insert(id);
        }
    }
}
