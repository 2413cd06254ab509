//! The end of a run: the cluster recovers, everybody is asked once more, and the history is judged.

use super::{Event, Outcome, Passed, Phase, UNDECIDED, World};
use crate::{
    machine::command::{Op, Query},
    testing::{
        check::{self, ClockBounds, Rules},
        clock::{MS, Micros, SECOND},
        invariants::{Failure, convergence, shape::misshapen},
        workload::{Ask, get_both},
    },
};

/// After the trouble the cluster must have recovered within this.
const RECOVERY: Micros = 15 * SECOND;
/// The same when replicas have to be replaced first: dead nodes are found, learners copy, one change after the other.
const REPAIR: Micros = 90 * SECOND;
/// How long the last reads and writes may take.
const LAST_TIMEOUT_MS: u64 = 6_000;

impl World<'_> {
    pub(super) fn probe(&mut self) -> Outcome {
        match self.phase {
            Phase::Recovery => self.probe_recovery(),
            Phase::LastCalls if self.clients.is_idle() => {
                self.phase = Phase::Done;
                Ok(())
            }
            Phase::Trouble | Phase::LastCalls | Phase::Done => {
                self.queue.set(self.now + 50 * MS, Event::Probe);
                Ok(())
            }
        }
    }

    pub(super) fn probe_recovery(&mut self) -> Outcome {
        self.settle_wishes();
        let within = if self.plan.shape.changes { REPAIR } else { RECOVERY };
        match self.missing() {
            None => self.last_calls(),
            Some(reason) if self.now > self.plan.heal_at + within => return Err(("convergence", reason)),
            Some(_) => self.queue.set(self.now + 50 * MS, Event::Probe),
        }
        Ok(())
    }

    /// What is not as it should be after the trouble.
    pub(super) fn missing(&self) -> Option<String> {
        if !self.clients.is_idle() {
            return Some("open calls".to_owned());
        }
        if let Some(host) = self.hosts.iter().find(|host| host.is_joining) {
            return Some(format!("place {} has not joined yet", host.place));
        }
        let nodes: Vec<_> = self.hosts.iter().filter_map(|host| Some((host.place, host.node.as_ref()?))).collect();
        let stopped = self.watch.stopped();
        let missing = convergence::missing(&nodes, stopped);
        // A group that has stopped never gets its shape, and others may wait for that.
        if !self.plan.shape.changes || !stopped.is_empty() {
            return missing;
        }
        missing.or_else(|| misshapen(&nodes))
    }

    /// Every key through every node, perhaps from asleep; all of it must succeed.
    pub(super) fn last_calls(&mut self) {
        trace!(self, "converged; the last calls");
        self.phase = Phase::LastCalls;
        for place in self.live() {
            for shard in 0..self.plan.shards {
                let keys = self.clients.workload.keys().into_iter().filter(|(of, _)| *of == shard);
                let mut ops: Vec<Op> = keys.map(|(_, key)| Op::Read(Query::Get { key })).collect();
                ops.push(Op::Read(get_both(shard)));
                self.call(None, place, Ask { shard, ops }, LAST_TIMEOUT_MS);
            }
        }
        self.queue.set(self.now + 50 * MS, Event::Probe);
    }

    pub(super) fn judge(mut self) -> Result<Passed, Failure> {
        let rules = self.rules();
        let history = self.clients.recorder().history();
        let checked = check::check(history, &rules, self.limit).map_err(|violation| Failure {
            invariant: if violation.undecided { UNDECIDED } else { "linearizability" },
            at: self.now,
            reason: violation.to_string(),
        })?;
        trace!(self, "passed: {checked:?}");
        Ok(Passed {
            ops: self.clients.asked(),
            checked,
            left_out: self.left_out,
            ended_at: self.now,
            events: self.events,
        })
    }

    /// How far log time may have been from true time: as wrong as the clocks were, and a jumping clock leads it
    /// forward by the allowed skew at most (PROTOCOL 3).
    pub(super) fn rules(&self) -> Rules {
        let (least, most) = self.clock_error_ms;
        let allowed = if self.jumper.is_some() { self.first_map.settings.max_clock_skew_ms } else { 0 };
        let slack = 20;
        let clocks = ClockBounds {
            behind_ms: least.min(0).unsigned_abs() + slack,
            ahead_ms: most.max(0).unsigned_abs() + allowed + slack,
        };
        // A clock that was set back holds log time back, for as long as its node leads.
        let bounded = self.jumper.is_none() || self.plan.nodes >= 3;
        Rules { evictable: self.plan.max_entries > 0, default_ttl_ms: 0, clocks: bounded.then_some(clocks) }
    }
}
