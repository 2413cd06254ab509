//! Pauses between attempts, and a limit on how often the log hears of the same trouble.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Doubling pauses with a quarter of jitter, so that nodes that lost a peer together don't return together.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::random_range(0.75..1.25));
        self.next = (self.next * 2).min(self.max);
        pause
    }
}

/// Lets one line through per interval and counts the others.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new((None, 0)) }
    }

    /// `Some(n)`: say it, and that `n` were left out since the last time.
    pub(super) fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.0.is_some_and(|last| now.duration_since(last) < self.interval) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Throttle};
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for expect in [100, 200, 400, 400] {
            let pause = backoff.pause().as_millis();
            assert!((expect * 3 / 4..=expect * 5 / 4).contains(&pause), "{pause} is not about {expect}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(125));
    }

    #[test]
    fn the_first_passes_and_the_rest_are_counted() {
        let throttle = Throttle::new(Duration::from_secs(3600));
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!(throttle.pass(), None);
        assert_eq!(Throttle::new(Duration::ZERO).pass(), Some(0));
    }
}
