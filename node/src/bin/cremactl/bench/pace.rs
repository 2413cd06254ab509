//! When a lane sends, and when it stops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// When to stop.
#[derive(Clone, Debug)]
pub(super) enum Quota {
    /// At a moment.
    Until(Instant),
    /// When these are used up; before the moment they are not touched.
    Requests {
        /// When it is begun to count.
        from: Instant,
        /// What is left.
        left: Arc<AtomicU64>,
    },
}

impl Quota {
    /// So many, from now on.
    pub(super) fn requests(count: u64, from: Instant) -> Self {
        Self::Requests { from, left: Arc::new(AtomicU64::new(count)) }
    }

    /// How many of `wanted` commands that begin now may still be sent; 0 is the end.
    pub(super) fn take(&self, wanted: u64, now: Instant) -> u64 {
        match self {
            Self::Until(end) => u64::from(now < *end) * wanted,
            Self::Requests { from, .. } if now < *from => wanted,
            Self::Requests { left, .. } => {
                let taken =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(wanted)));
                taken.map_or(0, |before| before.min(wanted))
            }
        }
    }

    /// Whether a command of this moment is still within the time.
    pub(super) fn is_open_at(&self, at: Instant) -> bool {
        match self {
            Self::Until(end) => at < *end,
            Self::Requests { .. } => true,
        }
    }
}

/// The moments at which one lane's commands are to start.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: Instant,
    interval: Duration,
    /// The number of the next command.
    next: u32,
}

impl Schedule {
    /// Lane `lane` of `lanes`, which take turns so that all together start `rate` commands a second.
    pub(super) fn new(start: Instant, rate: f64, lane: usize, lanes: usize) -> Self {
        let turn = Duration::from_secs_f64(lane as f64 / rate);
        Self { start: start + turn, interval: Duration::from_secs_f64(lanes as f64 / rate), next: 0 }
    }

    /// When the next command is to start.
    pub(super) fn peek(&self) -> Instant {
        self.start + self.interval * self.next
    }

    /// The same, and goes on to the one after it.
    pub(super) fn pop(&mut self) -> Instant {
        let at = self.peek();
        self.next += 1;
        if self.next == u32::MAX {
            (self.start, self.next) = (self.peek(), 0);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_end() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let quota = Quota::requests(10, now);
        assert_eq!([quota.take(8, now), quota.take(8, now), quota.take(8, later)], [8, 2, 0]);
        assert_eq!([Quota::Until(later).take(8, now), Quota::Until(later).take(8, later)], [8, 0]);
    }

    #[test]
    fn a_warm_up_uses_nothing_up() {
        let now = Instant::now();
        let quota = Quota::requests(10, now + Duration::from_secs(1));
        assert_eq!([quota.take(64, now), quota.take(64, now + Duration::from_secs(2))], [64, 10]);
    }

    #[test]
    fn lanes_take_turns() {
        let start = Instant::now();
        let mut lanes: Vec<Schedule> = (0..4).map(|lane| Schedule::new(start, 1_000.0, lane, 4)).collect();
        let mut starts: Vec<Instant> =
            lanes.iter_mut().flat_map(|lane| [lane.pop(), lane.pop(), lane.pop()]).collect();
        starts.sort();
        let ms: Vec<u128> = starts.iter().map(|at| (*at - start).as_micros()).collect();
        assert_eq!(ms, (0..12).map(|turn| turn * 1_000).collect::<Vec<_>>());
    }
}
