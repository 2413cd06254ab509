//! The log of one replica as raft-rs reads it: all entries since the last truncation, in memory.
//!
//! Durable storage, where there is any, is written from [`super::Persist`] and read only at a start, so that raft-rs
//! never waits for a disk.

use std::{cell::Cell, collections::VecDeque};

use raft::{
    GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot},
};

use crate::faults::{Fault, Faults};

/// Where a snapshot stands in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The last index that it contains.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
}

/// Entries, hard state and configuration of one replica.
pub(super) struct ReplicaLog {
    /// The entry before the first one that is here.
    base: SnapshotPoint,
    entries: VecDeque<Entry>,
    bytes: usize,
    hard_state: HardState,
    conf: ConfState,
    /// A complete snapshot that may be sent, with the configuration at its index.
    offered: Option<(SnapshotPoint, ConfState)>,
    /// raft-rs asked for a snapshot and there was none that serves.
    wanted: Cell<bool>,
    faults: Faults,
}

impl ReplicaLog {
    /// An empty log that starts after `base`.
    pub(super) fn new(base: SnapshotPoint, conf: ConfState) -> Self {
        let hard_state = HardState { commit: base.index, term: base.term, ..Default::default() };
        Self {
            base,
            entries: VecDeque::new(),
            bytes: 0,
            hard_state,
            conf,
            offered: None,
            wanted: Cell::new(false),
            faults: Faults::none(),
        }
    }

    /// A log as a disk had it: `entries` follow `base` without a gap.
    pub(super) fn recovered(
        base: SnapshotPoint,
        entries: Vec<Entry>,
        hard_state: HardState,
        conf: ConfState,
    ) -> Self {
        let mut log = Self::new(base, conf);
        log.append(entries);
        log.hard_state = hard_state;
        log
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Appends, in the place of whatever conflicting tail there is.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.index, "append at {} behind {}", first.index, self.base.index);
        let keep = usize::try_from(first.index - self.base.index - 1).expect("log fits memory");
        assert!(keep <= self.entries.len(), "log gap before {}", first.index);
        for dropped in self.entries.drain(keep..) {
            self.bytes -= size(&dropped);
        }
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries);
    }

    /// Forgets everything and starts after a snapshot.
    pub(super) fn reset_to(&mut self, snapshot: &Snapshot) {
        let meta = snapshot.get_metadata();
        self.base = SnapshotPoint { index: meta.index, term: meta.term };
        self.conf = meta.get_conf_state().clone();
        self.entries.clear();
        self.bytes = 0;
        self.offered = None;
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
    }

    /// Drops the entries up to and including `index`.
    pub(super) fn truncate_to(&mut self, index: u64) {
        while let Some(first) = self.entries.front() {
            if first.index > index {
                break;
            }
            self.base = SnapshotPoint { index: first.index, term: first.term };
            self.bytes -= size(first);
            self.entries.pop_front();
        }
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// A conf change took effect.
    pub(super) fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    pub(super) fn offer(&mut self, snapshot: Option<(SnapshotPoint, ConfState)>) {
        self.offered = snapshot;
    }

    /// Whether raft-rs wanted a snapshot since the last call.
    pub(super) fn take_wanted(&self) -> bool {
        self.wanted.replace(false)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn base(&self) -> SnapshotPoint {
        self.base
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.index + 1)?).ok()
    }
}

/// What an entry counts against limits: raft-rs's own measure.
fn size(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + 16
}

/// How many of the entries fit `max_bytes`; at least one.
fn fitting(entries: impl Iterator<Item = usize>, max_bytes: u64) -> usize {
    let mut total = 0_u64;
    let mut count = 0;
    for bytes in entries {
        total += bytes as u64;
        if total > max_bytes && count > 0 {
            break;
        }
        count += 1;
    }
    count
}

impl Storage for ReplicaLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let Some(from) = self.position(low) else { return Err(StorageError::Compacted.into()) };
        let to = from + usize::try_from(high - low).expect("log fits memory");
        if to > self.entries.len() {
            return Err(StorageError::Unavailable.into());
        }
        let range = || self.entries.range(from..to);
        let count = fitting(range().map(size), max_size.into().unwrap_or(u64::MAX));
        Ok(range().take(count).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.index {
            return Ok(self.base.term);
        }
        let Some(position) = self.position(index) else { return Err(StorageError::Compacted.into()) };
        self.entries.get(position).map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + self.entries.len() as u64)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let serves = |(point, conf): &&(SnapshotPoint, ConfState)| {
            // Behind the truncation it could not be followed by our log; without `to` it would be ignored there.
            let member = [&conf.voters, &conf.voters_outgoing, &conf.learners].iter().any(|ids| ids.contains(&to));
            let fresh = point.index >= self.base.index || self.faults.has(Fault::StaleCheckpoint);
            point.index >= request_index && fresh && member
        };
        let Some((point, conf)) = self.offered.as_ref().filter(serves) else {
            self.wanted.set(true);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        };
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = point.index;
        snapshot.mut_metadata().term = point.term;
        snapshot.mut_metadata().set_conf_state(conf.clone());
        Ok(snapshot)
    }
}
