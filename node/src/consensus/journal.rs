//! What waits for the disk (PROTOCOL 20): messages that may leave, and a snapshot that may take the state's place, only
//! once everything before them is synced.

use std::{collections::VecDeque, mem};

use raft::eraftpb::Message;

use super::log::SnapshotPoint;
use crate::types::LogIndex;

/// One write under way, and what it holds back.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// The Ready with the write: its number for the caller.
    pub(super) write: u64,
    /// The last Ready that is persisted with it; later ones with nothing to write wait for it, too.
    pub(super) last_ready: u64,
    /// The term that is on the disk with it.
    pub(super) term: u64,
    pub(super) messages: Vec<Message>,
    pub(super) install: Option<SnapshotPoint>,
}

/// What a disk has not confirmed yet, and what it has set free; always empty in memory mode.
#[derive(Debug, Default)]
pub(super) struct Journal {
    is_durable: bool,
    unsynced: VecDeque<Unsynced>,
    /// The highest term that is on the disk.
    synced_term: u64,
    /// Free to leave, with the next output.
    messages: Vec<Message>,
    install: Option<SnapshotPoint>,
    /// The log begins here, and the disk does not know it yet.
    begin: Option<SnapshotPoint>,
    truncate_to: Option<LogIndex>,
}

impl Journal {
    /// For a disk (or none) that has to be told where the log begins, unless it knows.
    pub(super) fn new(is_durable: bool, begin: Option<SnapshotPoint>) -> Self {
        Self { is_durable, begin: begin.filter(|_| is_durable), ..Self::default() }
    }

    /// The disk had this term at the start.
    pub(super) fn knows_term(&mut self, term: u64) {
        self.synced_term = term;
    }

    pub(super) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Whether a leader's messages may leave now: its term is on the disk. That is so for each that was elected by
    /// others; one that leads alone could lead twice in the same term, with different entries for its learners.
    pub(super) fn knows(&self, term: u64) -> bool {
        !self.is_durable || term <= self.synced_term
    }

    /// Whether the next output has something that needs no Ready.
    pub(super) fn has_news(&self) -> bool {
        !self.messages.is_empty() || self.install.is_some() || self.begin.is_some()
    }

    pub(super) fn begin(&self) -> Option<SnapshotPoint> {
        self.begin
    }

    /// Where the log begins and ends for the write that is being made.
    pub(super) fn take_bounds(&mut self) -> (Option<SnapshotPoint>, Option<LogIndex>) {
        (self.begin.take(), self.truncate_to.take())
    }

    pub(super) fn truncate_to(&mut self, index: LogIndex) {
        if self.is_durable {
            self.truncate_to = Some(index);
        }
    }

    /// Whether a received snapshot waits for the disk.
    pub(super) fn is_installing(&self) -> bool {
        self.install.is_some() || self.unsynced.iter().any(|write| write.install.is_some())
    }

    /// A write is under way.
    pub(super) fn wait(&mut self, write: Unsynced) {
        self.unsynced.push_back(write);
    }

    /// A Ready without a write: its messages wait for the last one under way. Gives them back if there is none.
    pub(super) fn join(&mut self, ready: u64, messages: Vec<Message>) -> Option<Vec<Message>> {
        let Some(last) = self.unsynced.back_mut() else { return Some(messages) };
        last.last_ready = ready;
        last.messages.extend(messages);
        None
    }

    /// Everything up to a write is synced; says up to which Ready that reaches.
    pub(super) fn persisted(&mut self, write: u64) -> Option<u64> {
        let mut reached = None;
        while self.unsynced.front().is_some_and(|first| first.write <= write) {
            let Some(done) = self.unsynced.pop_front() else { break };
            let Unsynced { write: _, last_ready, term, messages, install } = done;
            reached = Some(last_ready);
            self.synced_term = self.synced_term.max(term);
            self.messages.extend(messages);
            self.install = install.or(self.install);
        }
        reached
    }

    /// What was set free.
    pub(super) fn take_freed(&mut self) -> (Vec<Message>, Option<SnapshotPoint>) {
        (mem::take(&mut self.messages), self.install.take())
    }
}
