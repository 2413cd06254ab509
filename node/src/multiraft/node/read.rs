//! Linearizable reads once their index is known (PROTOCOL 2 and 6).
//!
//! A read is answered from the state at the applied index it reads. Where a key's deadline lies between that
//! state's log time and the leader's `now`, the read waits until a stamped entry has carried log time past it, so
//! that no later reader sees the key again.

use std::collections::BTreeMap;

use crema_api::v1;

use super::{
    batch::{Answer, Batch},
    group::{Env, Group},
    out::Out,
};
use crate::{
    consensus::{ReadAnswer, Replica},
    faults::{Fault, Faults},
    machine::{
        command::{Op, Outcome, Query},
        read::NeedsStamp,
        store::EntryStore,
    },
    types::{LogIndex, Timestamp},
};

/// Ticks before a follower asks the leader for a stamp again.
const ASK_AGAIN_TICKS: u64 = 4;

#[derive(Debug)]
struct Confirmed {
    now: Timestamp,
    batch: Batch,
}

/// Reads between their ReadIndex and their answer.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Until this index is applied.
    by_index: BTreeMap<LogIndex, Vec<Confirmed>>,
    /// Until log time reaches the moment.
    by_stamp: BTreeMap<Timestamp, Vec<Confirmed>>,
    /// The leader should make log time reach this.
    pub(super) stamp_wanted: Option<Timestamp>,
    /// When the next entry for expired keys is allowed.
    pub(super) reap_tick: u64,
    asked_tick: u64,
    /// The machine's expirations when the last entry for expired keys was proposed.
    pub(super) reaped: u64,
}

impl Reads {
    pub(super) fn confirm(&mut self, answer: ReadAnswer<Batch>) {
        let ReadAnswer { index, now, reads } = answer;
        let confirmed = reads.into_iter().map(|batch| Confirmed { now, batch });
        self.by_index.entry(index).or_default().extend(confirmed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_index.is_empty() && self.by_stamp.is_empty()
    }

    /// Everything starts over: the `now` of an old leader binds nobody.
    pub(super) fn ask_again(&mut self, replica: &mut Replica<Batch>) {
        self.stamp_wanted = None;
        let by_index = std::mem::take(&mut self.by_index).into_values();
        for confirmed in by_index.chain(std::mem::take(&mut self.by_stamp).into_values()).flatten() {
            replica.read(confirmed.batch);
        }
    }

    pub(super) fn expire(&mut self, now_ms: u64, out: &mut Out) {
        let mut late = Vec::new();
        for reads in self.by_index.values_mut().chain(self.by_stamp.values_mut()) {
            late.extend(reads.extract_if(.., |read| read.batch.deadline_ms <= now_ms));
        }
        self.by_index.retain(|_, reads| !reads.is_empty());
        self.by_stamp.retain(|_, reads| !reads.is_empty());
        for Confirmed { batch, .. } in late {
            let answer = batch.too_late("this replica did not catch up in time");
            out.answer(batch, answer);
        }
    }
}

impl<S: EntryStore> Group<S> {
    pub(super) fn accept_read(&mut self, batch: Batch, faults: Faults) {
        self.stir();
        self.counters.reads += batch.ops.len() as u64;
        if faults.has(Fault::StaleRead) {
            let (index, now) = (self.applied(), self.last_stamp);
            self.reads.confirm(ReadAnswer { index, now, reads: vec![batch] });
        } else {
            self.replica.read(batch);
        }
    }

    /// Answers every read whose state is here.
    pub(super) fn serve_reads(&mut self, env: &mut Env<'_>) {
        if self.reads.is_empty() || !self.health.is_serving() {
            return;
        }
        let (applied, log_time) = (self.applied(), self.machine().map_or(Timestamp(0), |machine| machine.log_time()));
        let later = self.reads.by_index.split_off(&applied.next());
        let by_index = std::mem::replace(&mut self.reads.by_index, later);
        let later = self.reads.by_stamp.split_off(&log_time.plus_ms(1));
        let by_stamp = std::mem::replace(&mut self.reads.by_stamp, later);
        for confirmed in by_index.into_values().chain(by_stamp.into_values()).flatten() {
            self.serve(confirmed, env);
        }
        self.ask_for_stamp(env);
    }

    fn serve(&mut self, Confirmed { now, batch }: Confirmed, env: &mut Env<'_>) {
        let Some(machine) = self.machine_mut() else { return };
        let mut outcomes = Vec::with_capacity(batch.ops.len());
        for op in &batch.ops {
            let Op::Read(query) = op else { continue };
            match answer(machine, query, now, env.config.faults) {
                Ok(outcome) => outcomes.push(outcome),
                Err(NeedsStamp { at }) => {
                    self.reads.by_stamp.entry(at).or_default().push(Confirmed { now, batch });
                    return;
                }
            }
        }
        env.out.answer(batch, Answer::Done(outcomes));
    }

    /// Sees to it that log time moves on: in this log, or by asking the leader.
    fn ask_for_stamp(&mut self, env: &mut Env<'_>) {
        let Some((&at, _)) = self.reads.by_stamp.last_key_value() else { return };
        if self.replica.is_leader() {
            self.reads.stamp_wanted = self.reads.stamp_wanted.max(Some(at));
            return self.propose(env);
        }
        if env.tick < self.reads.asked_tick + ASK_AGAIN_TICKS && self.reads.stamp_wanted >= Some(at) {
            return;
        }
        let Some(frame) = self.leader_node().and_then(|leader| env.out.to(leader, 32)) else { return };
        frame.stamps.push(v1::StampRequest { group: self.id.0, generation: self.generation, now_ms: at.0 });
        (self.reads.asked_tick, self.reads.stamp_wanted) = (env.tick, Some(at));
    }

    pub(super) fn on_stamp_request(&mut self, request: &v1::StampRequest) {
        if request.generation == self.generation && self.replica.is_leader() {
            self.stir();
            self.reads.stamp_wanted = self.reads.stamp_wanted.max(Some(Timestamp(request.now_ms)));
        }
    }
}

/// Reads the machine and lets the tier above the map learn what is popular.
fn answer<S: EntryStore>(
    machine: &mut crate::machine::Machine<S>,
    query: &Query,
    now: Timestamp,
    faults: Faults,
) -> Result<Outcome, NeedsStamp> {
    if faults.has(Fault::ExpiryByWallClockAtRead) && matches!(machine.read(query, now), Err(NeedsStamp { .. })) {
        return Ok(Outcome::Value(None));
    }
    let outcome = machine.read(query, now)?;
    if let Query::Get { key } | Query::GetRange { key, .. } = query {
        machine.store_mut().touch(key);
    }
    Ok(outcome)
}
