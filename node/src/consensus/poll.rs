//! One Ready of raft-rs at a time: what is to be stored, sent, applied and answered.
//!
//! In memory mode everything is persisted at once. With a disk, a Ready with something to write is handed out as a
//! [`Persist`]; raft-rs goes on meanwhile, and what must not leave before the sync waits in the journal (PROTOCOL 20).

use crema_api::v1;
use raft::{
    Ready,
    eraftpb::{Entry, EntryType, Message, MessageType},
};

use super::{
    convert,
    journal::Unsynced,
    log::SnapshotPoint,
    persist::Persist,
    replica::{Committed, CommittedKind, Output, ReadAnswer, Replica, Role},
};
use crate::{
    faults::Fault,
    types::{LogIndex, Term, Timestamp},
};

impl<R> Replica<R> {
    /// What is to be done next; `None` when nothing is. A leader without a stamp to give knows no time, and confirms no
    /// read: deadlines may have passed that it can't judge (PROTOCOL 2).
    pub fn poll(&mut self, next_stamp: Option<Timestamp>) -> Option<Output<R>> {
        self.issue_reads();
        if !self.raw.has_ready() && !self.journal.has_news() {
            return None;
        }
        let (mut messages, mut install) = self.journal.take_freed();
        let mut ready = self.raw.ready();
        // A leader's; all others of this Ready wait for the disk.
        let early = ready.take_messages();
        let received = self.take_snapshot(&ready);
        let persist = self.store(&mut ready, received);
        let mut held = ready.take_persisted_messages();
        if self.journal.knows(self.raw.raft.term) {
            messages.extend(early);
        } else {
            held.extend(early);
        }
        let committed = ready.take_committed_entries().into_iter().map(committed).collect();
        let answers = ready.take_read_states();
        let number = ready.number();
        self.raw.advance_append_async(ready);
        if persist.is_some() && !self.faults.has(Fault::AcknowledgeBeforeFsync) {
            let term = self.raw.raft.term;
            let write = Unsynced { write: number, last_ready: number, term, messages: held, install: received };
            self.journal.wait(write);
        } else if let Some(free) = self.journal.join(number, held) {
            self.raw.on_persist_ready(number);
            messages.extend(free);
            install = received.or(install);
        }
        self.settle();
        let reads = answers.into_iter().filter_map(|state| self.answer(state, next_stamp)).collect();
        let messages = messages.into_iter().map(|message| self.to_wire(message, next_stamp)).collect();
        let persist = persist.map(|persist| (number, persist));
        Some(Output { persist, install, messages, committed, reads })
    }

    /// The write with this number is synced, and so are all before it.
    pub fn persisted(&mut self, write: u64) {
        if let Some(ready) = self.journal.persisted(write) {
            self.raw.on_persist_ready(ready);
            self.settle();
        }
    }

    /// Whether a received snapshot is on its way to the disk: until it is there, it is not installed.
    #[must_use]
    pub fn is_installing(&self) -> bool {
        self.journal.is_installing()
    }

    /// Everything up to `index` is applied.
    pub fn applied(&mut self, index: LogIndex) {
        self.raw.advance_apply_to(index.0);
        self.settle();
    }

    fn take_snapshot(&mut self, ready: &Ready) -> Option<SnapshotPoint> {
        let meta = ready.snapshot().get_metadata();
        let point = SnapshotPoint { index: meta.index, term: meta.term };
        if point.index == 0 {
            return None;
        }
        self.raw.mut_store().reset_to(ready.snapshot());
        Some(point)
    }

    /// Lets raft-rs read what is new, and says what the disk must have.
    fn store(&mut self, ready: &mut Ready, received: Option<SnapshotPoint>) -> Option<Persist> {
        let entries = ready.take_entries();
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
        let persist = self.journal.is_durable().then(|| self.write(&entries, received, ready.must_sync()));
        self.raw.mut_store().append(entries);
        persist.flatten()
    }

    /// A commit index alone is worth no sync: it goes with the next write. That is soon enough, for an entry that ends a
    /// joint configuration is appended with the commit of the one that began it, so that no restart goes back to voters
    /// that decide without those of now.
    fn write(&mut self, entries: &[Entry], received: Option<SnapshotPoint>, must_sync: bool) -> Option<Persist> {
        let begins = received.is_some() || self.journal.begin().is_some();
        let forgetful = self.faults.has(Fault::HardStateNotSynced) && entries.is_empty();
        if !begins && (!must_sync || forgetful) {
            return None;
        }
        let (begin, truncate_to) = self.journal.take_bounds();
        Some(Persist {
            group: self.config.group,
            replica: self.config.replica,
            generation: self.config.generation,
            reset: received.or(begin),
            entries: entries.to_vec(),
            hard_state: Some(self.raw.raft.hard_state()),
            truncate_to: truncate_to.filter(|_| received.is_none()),
        })
    }

    fn issue_reads(&mut self) {
        let may = match self.standing.role {
            // Before a commit in its term a leader would drop the read without a word (PROTOCOL 6).
            Role::Leader => self.raw.raft.commit_to_current_term(),
            Role::Follower => self.standing.leader.is_some(),
            Role::Candidate => false,
        };
        if may && let Some(context) = self.reads.next_round() {
            self.raw.read_index(context);
        }
    }

    fn answer(&mut self, state: raft::ReadState, next_stamp: Option<Timestamp>) -> Option<ReadAnswer<R>> {
        let told = self.read_times.remove(state.request_ctx.as_slice());
        // Without a time the reads stay queued, and are asked for again.
        let now = if self.is_leader() { next_stamp? } else { told? };
        let reads = self.reads.take(&state.request_ctx)?;
        Some(ReadAnswer { index: LogIndex(state.index), now, reads })
    }

    fn to_wire(&self, message: Message, next_stamp: Option<Timestamp>) -> v1::RaftMessage {
        let is_read_answer = message.get_msg_type() == MessageType::MsgReadIndexResp;
        let mut wire = convert::to_wire(self.config.group.0, self.config.generation, message);
        if is_read_answer {
            wire.read_now_ms = next_stamp.unwrap_or_default().0;
        }
        wire
    }
}

fn committed(entry: Entry) -> Committed {
    let (index, term) = (LogIndex(entry.index), Term(entry.term));
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => CommittedKind::Empty,
        EntryType::EntryNormal => CommittedKind::Normal(entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            CommittedKind::ConfChange { context: entry.context }
        }
    };
    Committed { index, term, kind }
}
