//! Whether the worker threads turn, from counters that they raise.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::multiraft::introspect::Fact;

/// Remembers when each worker's counter was last seen to have changed. Looked at by `/livez`, so a stall is
/// noticed at the second look at the earliest.
#[derive(Debug)]
pub(super) struct Watchdog {
    stall: Duration,
    seen: Mutex<Vec<(u64, Instant)>>,
}

impl Watchdog {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, seen: Mutex::default() }
    }

    /// One fact about all workers; not ok when one has stood still for too long.
    pub(super) fn look(&self, turns: &[u64], now: Instant) -> Vec<Fact> {
        let mut seen = self.seen.lock();
        seen.resize(turns.len(), (u64::MAX, now));
        let mut stuck = Vec::new();
        for (worker, (&count, (last, turned_at))) in turns.iter().zip(seen.iter_mut()).enumerate() {
            if count != *last {
                (*last, *turned_at) = (count, now);
            }
            let still = now.duration_since(*turned_at);
            if still > self.stall {
                stuck.push(format!("worker {worker} has not turned for {} ms", still.as_millis()));
            }
        }
        let ok = stuck.is_empty();
        let detail = if ok { format!("{} turn", turns.len()) } else { stuck.join(", ") };
        vec![Fact { name: "workers", ok, detail }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_named() {
        let (watchdog, start) = (Watchdog::new(Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(watchdog.look(&[5, 5], at(0))[0].ok, "the first look knows nothing");
        assert!(watchdog.look(&[6, 5], at(10))[0].ok, "10 s are allowed");
        let facts = watchdog.look(&[7, 5], at(11));
        assert!(!facts[0].ok);
        assert_eq!(facts[0].detail, "worker 1 has not turned for 11000 ms");
        assert!(watchdog.look(&[7, 6], at(12))[0].ok, "it turns again");
    }

    #[test]
    fn a_pause_between_looks_is_no_stall() {
        let (watchdog, start) = (Watchdog::new(Duration::from_secs(10)), Instant::now());
        watchdog.look(&[1], start);
        assert!(watchdog.look(&[2], start + Duration::from_secs(3600))[0].ok);
    }
}
