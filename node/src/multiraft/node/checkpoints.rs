//! When a group's state goes to the disk, and how far its log may be cut then (PROTOCOL 17, 18).
//!
//! A checkpoint is a capture whose pieces leave as they are made. The log is cut behind the older of the last two that
//! were published: a restart falls back to it when the newer one is damaged.

use bytes::Bytes;

use super::{
    group::{Env, Group},
    snapshot::Target,
};
use crate::{
    consensus::SnapshotPoint,
    machine::store::EntryStore,
    types::{GroupId, LogIndex, ReplicaId},
};

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
    applied_bytes: usize,
}

impl Checkpoints {
    /// What a replica begins with: its state, and what its log begins behind.
    pub(super) fn new(base: LogIndex, state: LogIndex) -> Self {
        Self { older: base, newer: state, ..Self::default() }
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.applied_bytes += bytes;
    }

    /// A file is whole, synced and in its place.
    pub(super) fn published(&mut self, index: LogIndex) {
        if self.writing.is_some_and(|point| point.index == index.0) {
            self.writing = None;
        }
        if index > self.newer {
            (self.older, self.newer) = (self.newer, index);
        }
    }

    /// The log is not cut beyond this.
    pub(super) fn keep_from(&self) -> LogIndex {
        self.older
    }

    /// The planted bug: what is only on its way to the disk counts as both.
    pub(super) fn trust(&mut self, index: LogIndex) {
        (self.older, self.newer) = (index, index);
    }
}

impl<S: EntryStore> Group<S> {
    /// Begins a checkpoint when the log has grown enough since the last one.
    pub(super) fn checkpoint_if_due(&mut self, env: &mut Env<'_>) {
        if !env.config.durable || self.checkpoints.writing.is_some() || self.is_capturing() {
            return;
        }
        let grown = self.applied().0.saturating_sub(self.checkpoints.newer.0) as usize;
        let due = grown >= self.limits.log_entries || self.checkpoints.applied_bytes >= self.limits.log_bytes;
        if !due || grown == 0 || !self.health.is_serving() {
            return;
        }
        self.begin_capture(Target::Disk, env);
        self.checkpoints.applied_bytes = 0;
    }

    /// A part of the checkpoint that is being made.
    pub(super) fn write_checkpoint(&self, point: SnapshotPoint, piece: Piece, env: &mut Env<'_>) {
        env.out.checkpoint(CheckpointPiece { group: self.id, replica: self.own(), point, piece });
    }
}
