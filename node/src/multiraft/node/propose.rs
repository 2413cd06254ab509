//! Group commit: many clients' commands become one log entry.

use super::{
    batch::Batch,
    group::{Env, Group, State, Waiting},
};
use crate::{
    faults::Fault,
    machine::{
        LogRecord, MAX_EXPIRED_PER_ENTRY, codec,
        command::{Command, Condition, Op, Outcome},
        store::EntryStore,
    },
    types::{Term, Version},
};

/// An entry is closed when its commands hold about this much; a larger single batch still goes alone, up to the
/// limit of an entry.
const TARGET_ENTRY_BYTES: usize = 512 << 10;
/// Entries proposed and not committed yet; beyond it commands gather into fewer, larger entries.
const MAX_INFLIGHT_ENTRIES: u64 = 16;
/// How long an eviction waits for company.
const EVICTION_WAIT_TICKS: u64 = 2;

impl<S: EntryStore> Group<S> {
    /// A write waits for its place in the log. Perhaps for long, while there is no time to stamp it with: not asleep, where
    /// nobody would look at its deadline.
    pub(super) fn accept_write(&mut self, batch: Batch) {
        self.stir();
        self.writes.push_back(batch);
    }

    /// Puts what waits into the log, as far as there is room.
    pub(super) fn propose(&mut self, env: &mut Env<'_>) {
        // A corrupt machine's answers are worth nothing (PROTOCOL 9).
        if !self.health.is_serving() {
            return;
        }
        // No time passes in the map, and it is its changes that give a cluster clocks to hear.
        if matches!(self.state, State::Meta(_)) {
            return self.propose_changes(env);
        }
        // Without a time no entry of a shard can be stamped (PROTOCOL 3).
        if !env.clock.is_known(env.now) {
            return;
        }
        while self.replica.takes_proposals() {
            let standing = self.replica.standing();
            if standing.last.0 - standing.commit.0 >= MAX_INFLIGHT_ENTRIES {
                return;
            }
            let Some((record, batches)) = self.next_record(env) else { return };
            if !self.append(record, batches, env) {
                return;
            }
        }
    }

    /// The next entry; `None` when there is nothing to say.
    fn next_record(&mut self, env: &mut Env<'_>) -> Option<(LogRecord, Vec<Batch>)> {
        let batches = self.next_batches();
        let settings = self.changed_settings();
        let due = self.evictions.since_tick.is_some_and(|since| env.tick >= since + EVICTION_WAIT_TICKS);
        let wanted = self.take_wanted_stamp(env);
        if batches.is_empty() && settings.is_none() && !due && !wanted {
            return None;
        }
        let stamp = env.clock.stamp(self.last_stamp, env.now);
        let commands = batches.iter().flat_map(Batch::commands).collect();
        let evictions = self.evictions.take_waiting();
        Some((LogRecord { stamp, commands, evictions, settings }, batches))
    }

    /// Batches for one entry, in order; growing ones stay behind while the shard is far too full.
    fn next_batches(&mut self) -> Vec<Batch> {
        let over_full = self.is_over_full();
        let mut bytes = 0;
        let mut taken = Vec::new();
        let mut held = Vec::new();
        while let Some(batch) = self.writes.pop_front() {
            if over_full && batch.may_grow() {
                held.push(batch);
                continue;
            }
            let size: usize = batch.ops.iter().map(codec::op_size).sum();
            if bytes > 0 && bytes + size > TARGET_ENTRY_BYTES {
                self.writes.push_front(batch);
                break;
            }
            bytes += size;
            taken.push(batch);
        }
        for batch in held.into_iter().rev() {
            self.writes.push_front(batch);
        }
        taken
    }

    /// The shared settings, in the first record of a term whose state machine does not have them yet, so that no
    /// command is judged by others.
    fn changed_settings(&mut self) -> Option<crate::machine::Settings> {
        let term = self.replica.standing().term;
        if self.settings_term == term || *self.machine()?.settings() == self.settings {
            return None;
        }
        self.settings_term = term;
        Some(self.settings)
    }

    fn append(&mut self, record: LogRecord, batches: Vec<Batch>, env: &mut Env<'_>) -> bool {
        let data = codec::encode_record(&record);
        // The router and `on_forward` see to it; an entry that can't be sent would wedge the shard (PROTOCOL 5).
        assert!(data.len() <= codec::MAX_ENTRY_BYTES, "an entry of {} bytes", data.len());
        let Ok((index, term)) = self.replica.propose(data) else {
            for batch in batches.into_iter().rev() {
                self.writes.push_front(batch);
            }
            self.evictions.put_back(record.evictions, env.tick);
            self.settings_term = Term(0);
            return false;
        };
        self.last_stamp = record.stamp;
        self.counters.entries_proposed += 1;
        self.counters.commands_proposed += record.commands.len() as u64;
        self.stir();
        let mut next = 0;
        let place = |batch: Batch| {
            let first = next;
            next += batch.ops.len();
            Waiting { batch, first }
        };
        let waiting = batches.into_iter().map(place).collect();
        let waiting = plant_early_reply(waiting, env);
        self.waiters.insert((index, term), waiting);
        true
    }

    /// Whether an empty stamped entry is due: a reader waits for it, or keys have expired (PROTOCOL 2).
    fn take_wanted_stamp(&mut self, env: &Env<'_>) -> bool {
        if self.replica.standing().last != self.applied() {
            return false;
        }
        let Some(machine) = self.machine() else { return false };
        let expirations = machine.expirations();
        let Some(next) = env.clock.peek(self.last_stamp, env.now) else { return false };
        let asked = self.reads.stamp_wanted.is_some_and(|at| machine.log_time() < at && at <= next);
        let expired = self.reads.reap_tick <= env.tick && machine.next_deadline().is_some_and(|at| at <= next);
        if expired {
            let more = expirations >= self.reads.reaped + MAX_EXPIRED_PER_ENTRY as u64;
            self.reads.reaped = expirations;
            // What is left over from a full entry goes at once.
            self.reads.reap_tick = if more { env.tick } else { env.tick + REAP_TICKS };
        }
        if asked {
            self.reads.stamp_wanted = None;
        }
        asked || expired
    }

    /// The next deadline of a key, for the leader's timer.
    pub(super) fn deadline_due(&self, env: &Env<'_>) -> bool {
        let Some(deadline) = self.machine().and_then(|machine| machine.next_deadline()) else { return false };
        let next = env.clock.peek(self.last_stamp, env.now);
        self.reads.reap_tick <= env.tick && next.is_some_and(|next| deadline <= next)
    }

    /// Above 110 % of its capacity a shard takes no growth (PROTOCOL 8).
    pub(super) fn is_over_full(&self) -> bool {
        let Some(machine) = self.machine() else { return false };
        let capacity = self.settings.capacity;
        let over = |used: u64, max: u64| max > 0 && used > max + max / 10;
        over(machine.len() as u64, capacity.max_entries) || over(machine.weight_bytes(), capacity.max_bytes)
    }
}

/// A shard whose keys only expire gets an empty stamped entry this often.
const REAP_TICKS: u64 = 20;

/// The planted fault "reply before quorum": plain puts are answered while only this log has them.
fn plant_early_reply(waiting: Vec<Waiting>, env: &mut Env<'_>) -> Vec<Waiting> {
    if !env.config.faults.has(Fault::ReplyBeforeQuorum) {
        return waiting;
    }
    let (early, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| {
        waiting.batch.ops.iter().all(
            |op| matches!(op, Op::Write(Command::Put(put)) if put.condition == Condition::Always && !put.return_old),
        )
    });
    for Waiting { batch, .. } in early {
        let done = vec![Outcome::Stored { version: Version(0), old: None }; batch.ops.len()];
        env.out.answer(batch, super::batch::Answer::Done(done));
    }
    rest
}
