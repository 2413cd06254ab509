//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng;

/// Pauses that double up to a cap, each drawn from the upper half of its range so that clients spread out.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(5);
const CAP: Duration = Duration::from_millis(500);

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = (ceiling * 2).min(CAP);
        rand::rng().random_range(ceiling / 2..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_below_the_cap() {
        let mut backoff = Backoff::new();
        assert!(backoff.pause() <= FIRST);
        let later: Vec<_> = (0..40).map(|_| backoff.pause()).collect();
        assert!(later.iter().all(|&p| p <= CAP));
        assert!(later[20] >= CAP / 2);
    }
}
