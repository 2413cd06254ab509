//! Replicas with a disk that syncs when a script says so, and what a restart makes of it.

use std::{collections::VecDeque, mem};

use raft::eraftpb::{Entry, HardState};

use super::*;

/// A disk: what is synced, and the writes that are not.
#[derive(Default)]
pub(super) struct Disk {
    log: DiskLog,
    unsynced: VecDeque<(u64, Persist)>,
}

impl Disk {
    fn sync(&mut self, persist: Persist) {
        let Persist { group: _, replica: _, generation: _, reset, entries, hard_state, truncate_to } = persist;
        if let Some(base) = reset {
            self.log = DiskLog { base, entries: Vec::new(), hard_state: self.log.hard_state.take() };
        }
        if let Some(first) = entries.first() {
            self.log.entries.retain(|entry| entry.index < first.index);
        }
        self.log.entries.extend(entries);
        self.log.hard_state = hard_state.or(self.log.hard_state.take());
        while let Some(first) =
            self.log.entries.first().filter(|first| LogIndex(first.index) <= truncate_to.unwrap_or_default())
        {
            self.log.base = SnapshotPoint { index: first.index, term: first.term };
            self.log.entries.remove(0);
        }
    }
}

impl Script {
    /// A write is asked for.
    pub(super) fn note_write(&mut self, id: u64, number: u64, persist: Persist) {
        let Persist { reset, entries, hard_state, truncate_to, .. } = &persist;
        let mut what = Vec::new();
        what.extend(reset.map(|base| format!("a log after {}", base.index)));
        what.extend(entries.first().zip(entries.last()).map(|(a, z)| format!("entries {} to {}", a.index, z.index)));
        what.extend(hard_state.as_ref().map(|hs| format!("term {} vote {} commit {}", hs.term, hs.vote, hs.commit)));
        what.extend(truncate_to.map(|index| format!("nothing up to {index}")));
        self.say(format_args!("{id} writes {}", what.join(", ")));
        self.peers.get_mut(&id).expect("a replica").disk.unsynced.push_back((number, persist));
    }

    /// The disk has synced so many writes.
    pub(super) fn sync(&mut self, id: u64, count: usize) {
        for _ in 0..count {
            let peer = self.peers.get_mut(&id).expect("a replica");
            let Some((number, persist)) = peer.disk.unsynced.pop_front() else { break };
            peer.disk.sync(persist);
            peer.replica.persisted(number);
            self.take(id);
        }
    }

    /// Syncs and delivers until nothing is left to do.
    pub(super) fn flow(&mut self) {
        loop {
            self.ids().into_iter().for_each(|id| self.sync(id, usize::MAX));
            if self.queue.is_empty() {
                return;
            }
            self.deliver_all();
        }
    }

    /// The process ends, and what was not synced is lost; another one goes on from the disk, and from the state at the
    /// beginning of its log.
    pub(super) fn crash(&mut self, id: u64) {
        let peer = self.peers.get_mut(&id).expect("a replica");
        let lost = mem::take(&mut peer.disk.unsynced).len();
        let log = peer.disk.log.clone();
        let config = peer.replica.config().clone();
        let applied = log.base;
        let (version, conf) = conf_at(&self.confs, LogIndex(applied.index));
        let recovered = match Recovered::new(log, applied, conf) {
            Ok(recovered) => recovered,
            Err(why) => return self.say(format_args!("{id} is unusable: {why}")),
        };
        let boot = config.boot + 1;
        let replica = Replica::new(ReplicaConfig { origin: Origin::Recovered(recovered), boot, ..config });
        peer.standing = replica.standing();
        peer.replica = replica;
        peer.applied = LogIndex(applied.index);
        peer.conf_version = version;
        self.queue.retain(|message| message.to != id);
        let Standing { term, commit, last, .. } = self.peers[&id].replica.standing();
        self.say(format_args!("{lost} writes lost; {id} goes on in term {term}, commit {commit}, last {last}"));
        self.take(id);
    }
}

fn log(base: (u64, u64), terms: &[u64], hard: Option<(u64, u64, u64)>) -> DiskLog {
    let entries = (base.0 + 1..).zip(terms).map(|(index, term)| Entry { index, term: *term, ..Default::default() });
    let hard_state = hard.map(|(term, vote, commit)| HardState { term, vote, commit, ..Default::default() });
    DiskLog { base: SnapshotPoint { index: base.0, term: base.1 }, entries: entries.collect(), hard_state }
}

/// Base, last index, hard state, and whether the log was given up.
type Found = ((u64, u64), u64, (u64, u64, u64), bool);

/// What a log and a state at (index, term) give.
fn recover(log: DiskLog, at: (u64, u64)) -> Result<Found, Unusable> {
    let point = SnapshotPoint { index: at.0, term: at.1 };
    let Recovered { base, entries, hard_state, reset, .. } = Recovered::new(log, point, v1::ConfState::default())?;
    let last = base.index + entries.len() as u64;
    Ok(((base.index, base.term), last, (hard_state.term, hard_state.vote, hard_state.commit), reset))
}

#[test]
fn a_log_that_reaches_the_state_goes_on() {
    let found = recover(log((1, 1), &[2, 2, 3, 3], Some((4, 2, 3))), (2, 2));
    assert_eq!(found, Ok(((1, 1), 5, (4, 2, 3), false)));
    // The state may be ahead of the commit that was written last, never of what is committed.
    let found = recover(log((1, 1), &[2, 2, 3, 3], Some((3, 1, 2))), (4, 3));
    assert_eq!(found, Ok(((1, 1), 5, (3, 1, 4), false)));
    // Right at its beginning.
    assert_eq!(recover(log((4, 3), &[], Some((5, 1, 4))), (4, 3)), Ok(((4, 3), 4, (5, 1, 4), false)));
}

#[test]
fn a_log_that_does_not_fit_the_state_is_given_up_for_it() {
    // Too short: the checkpoint of a received snapshot was published, and then came the crash.
    assert_eq!(recover(log((1, 1), &[2], Some((2, 1, 2))), (9, 4)), Ok(((9, 4), 9, (4, 0, 9), true)));
    // Its end was never committed.
    assert_eq!(recover(log((1, 1), &[2, 2, 2], Some((5, 3, 2))), (3, 4)), Ok(((3, 4), 3, (5, 3, 3), true)));
    // Nothing was ever synced.
    assert_eq!(recover(DiskLog::default(), (3, 4)), Ok(((3, 4), 3, (4, 0, 3), true)));
}

#[test]
fn what_has_lost_a_promise_is_unusable() {
    let gap = recover(log((5, 2), &[2], Some((2, 1, 5))), (4, 2));
    assert_eq!(gap, Err(Unusable::Gap { base: 5, applied: 4 }));
    let beyond = recover(log((1, 1), &[2], Some((2, 1, 3))), (1, 1));
    assert_eq!(beyond, Err(Unusable::CommitBeyondLog { commit: 3, last: 2 }));
    let other = recover(log((1, 1), &[2, 2], Some((2, 1, 3))), (3, 4));
    assert_eq!(other, Err(Unusable::OtherHistory { index: 3, log: 2, checkpoint: 4 }));
    let falls = recover(log((1, 1), &[3, 2], Some((3, 1, 2))), (1, 1));
    assert_eq!(falls, Err(Unusable::Disorder { before: 2, found: 3, term: 2 }));
    let forgotten = recover(log((1, 1), &[3], None), (1, 1));
    assert_eq!(forgotten, Err(Unusable::ForgottenTerm { term: 0, entry: 3 }));
    let mut holed = log((1, 1), &[2, 2, 2], Some((2, 1, 1)));
    holed.entries.remove(1);
    assert_eq!(recover(holed, (1, 1)), Err(Unusable::Disorder { before: 2, found: 4, term: 2 }));
}
