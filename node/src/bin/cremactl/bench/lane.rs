//! One lane: a batch, its replies, the next batch; and what becomes of both when the connection is lost.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crema::types::Draw;
use tokio::time::{sleep, sleep_until, timeout};

use super::{
    door::{Door, Op, Reply, Ways, Words},
    keys::unit,
    measured::Measured,
    pace::{Quota, Schedule},
    run::{Load, Pick},
};

/// After a failed connection: short enough to see when a node is back, long enough not to spin.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How late our own timer may wake an idle lane in an open loop before that counts as latency: it ticks in milliseconds.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// What the lanes of one thread share.
pub(super) struct Shared {
    pub(super) load: std::sync::Arc<Load>,
    pub(super) words: Words,
    pub(super) measured: RefCell<Measured>,
}

/// One lane.
pub(super) struct Lane {
    shared: Rc<Shared>,
    ways: Rc<Ways>,
    schedule: Option<Schedule>,
    draw: Draw,
    last_success: Instant,
    longest_pause: Duration,
}

impl Lane {
    /// The lane of this number, of all that there are.
    pub(super) fn new(shared: Rc<Shared>, ways: Rc<Ways>, number: usize) -> Self {
        let load = &shared.load;
        let schedule = load.rate.map(|rate| Schedule::new(load.started, rate, number, load.lanes()));
        let draw = Draw::new(load.seed.wrapping_add((number as u64) << 32));
        let last_success = load.from;
        Self { shared, ways, schedule, draw, last_success, longest_pause: Duration::ZERO }
    }

    /// Runs until the quota is used up.
    pub(super) async fn run(mut self) {
        let load = self.shared.load.clone();
        let (mut door, mut attempt, mut ops) = (None, 0, Vec::new());
        loop {
            if door.is_none() {
                door = self.open(attempt).await;
                attempt += 1;
            }
            let Some(open) = &mut door else {
                if !self.may_go_on() {
                    break;
                }
                sleep(RECONNECT_PAUSE).await;
                continue;
            };
            self.prepare(&mut ops).await;
            if ops.is_empty() {
                break;
            }
            if !self.batch(open, &ops, load.timeout).await {
                if open.is_lazy() {
                    sleep(RECONNECT_PAUSE).await;
                }
                door = None;
            }
        }
        self.pause_until(Instant::now());
        self.shared.measured.borrow_mut().pauses.push(self.longest_pause);
    }

    async fn open(&self, attempt: usize) -> Option<Door> {
        let opened = match timeout(self.shared.load.timeout, self.ways.open(attempt)).await {
            Ok(opened) => opened,
            Err(_) => Err("no answer in time".to_owned()),
        };
        match opened {
            Ok(door) => {
                self.shared.measured.borrow_mut().reconnects += u64::from(attempt > 0);
                Some(door)
            }
            Err(error) => {
                self.failed(&format!("connect: {error}"), 1, Instant::now());
                None
            }
        }
    }

    /// After a failed attempt to connect, which counts as a command: whether there may be another one.
    fn may_go_on(&self) -> bool {
        let now = Instant::now();
        match (&self.shared.load.quota, &self.schedule) {
            (Quota::Until(end), Some(_)) => now < *end + self.shared.load.timeout,
            (quota, _) => quota.take(1, now) > 0,
        }
    }

    /// What is to be sent next: nothing at the end.
    async fn prepare(&mut self, ops: &mut Vec<Op>) {
        ops.clear();
        match self.schedule.take() {
            None => {
                let (load, now) = (self.shared.load.clone(), Instant::now());
                for _ in 0..load.quota.take(load.batch() as u64, now) {
                    ops.push(self.op(now));
                }
            }
            Some(mut schedule) => {
                self.due(&mut schedule, ops).await;
                self.schedule = Some(schedule);
            }
        }
    }

    /// In an open loop: waits for the next command's moment, and takes with it what is overdue.
    async fn due(&mut self, schedule: &mut Schedule, ops: &mut Vec<Op>) {
        let load = self.shared.load.clone();
        let mut now = Instant::now();
        if let Quota::Until(end) = load.quota
            && now >= end + load.timeout
        {
            return self.leave_unsent(schedule, end);
        }
        let is_idle = schedule.peek() > now;
        if is_idle && load.quota.is_open_at(schedule.peek()) {
            sleep_until(schedule.peek().into()).await;
            now = Instant::now();
        }
        while ops.len() < load.batch() && schedule.peek() <= now && load.quota.take(1, schedule.peek()) > 0 {
            let at = schedule.pop();
            ops.push(self.op(if is_idle && now - at < TIMER_SLACK { now } else { at }));
        }
    }

    /// So long after the end nobody waits for what could not be sent: the server is slower than the rate.
    fn leave_unsent(&self, schedule: &mut Schedule, end: Instant) {
        let mut unsent = 0;
        while schedule.peek() < end {
            unsent += u64::from(schedule.pop() >= self.shared.load.from);
        }
        if unsent > 0 {
            self.shared.measured.borrow_mut().failed("not sent: the server is slower than the rate", unsent);
        }
    }

    fn op(&mut self, begun: Instant) -> Op {
        let load = &self.shared.load;
        let key = match &load.pick {
            Pick::Drawn(distribution) => distribution.draw(&mut self.draw),
            Pick::InOrder(next) => next.fetch_add(1, Ordering::Relaxed),
        };
        Op { is_read: unit(&mut self.draw) < load.ratio, key, begun }
    }

    /// Whether the connection is still there afterwards.
    async fn batch(&mut self, door: &mut Door, ops: &[Op], limit: Duration) -> bool {
        let shared = self.shared.clone();
        let mut answered = 0;
        let mut note = |op: &Op, reply: Reply, now: Instant| {
            answered += 1;
            self.note(op, reply, now);
        };
        let sent = match timeout(limit, door.batch(ops, &shared.words, &mut note)).await {
            Ok(sent) => sent,
            Err(_) => Err("no answer in time".to_owned()),
        };
        shared.load.done.fetch_add(answered as u64, Ordering::Relaxed);
        let Err(error) = sent else { return true };
        let lost = format!("connection: {error}");
        ops[answered..].iter().for_each(|op| self.failed(&lost, 1, op.begun));
        false
    }

    fn note(&mut self, op: &Op, reply: Reply, now: Instant) {
        if let Reply::Refused(kind) = reply {
            return self.failed(&kind, 1, op.begun);
        }
        let from = self.shared.load.from;
        if now < from {
            return;
        }
        if op.begun >= from {
            let mut measured = self.shared.measured.borrow_mut();
            measured.succeeded(op.is_read, now - op.begun, now - from);
            measured.misses += u64::from(reply == Reply::Missing);
        }
        self.pause_until(now);
        self.last_success = now;
    }

    /// Failures of the warm-up don't count.
    fn failed(&self, kind: &str, commands: u64, begun: Instant) {
        if begun >= self.shared.load.from {
            self.shared.measured.borrow_mut().failed(kind, commands);
        }
    }

    fn pause_until(&mut self, now: Instant) {
        self.longest_pause = self.longest_pause.max(now.saturating_duration_since(self.last_success));
    }
}
