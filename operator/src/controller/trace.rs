//! What is kept of each cluster between two passes: only what paces the operator, and may be forgotten at any time. Pure: time
//! is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::status::Difference;

/// Progress is written at most that often.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);
/// The nodes of a cluster that something is waited for are asked again after that.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// Passes that wait for the same before the pause doubles.
const ALIKE: u32 = 10;
/// How often it doubles.
const DOUBLINGS: u32 = 3;

/// The pace of one cluster.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// When its status was last written.
    written: Option<Instant>,
    /// What was waited for in the last pass.
    waiting: Vec<String>,
    /// Passes in a row that waited for the same.
    alike: u32,
    /// Passes in a row in which something failed.
    failures: u32,
}

impl Trace {
    /// Something failed; true if it did in the pass before, too. Of two who change an object at once one is refused: that is
    /// no news for people.
    pub(super) fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures > 1
    }

    /// Nothing failed.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether a status that differs so much may be written now; else how long it is to wait.
    pub(super) fn may_write(&self, difference: Difference, now: Instant) -> Result<(), Duration> {
        match (difference, self.written) {
            (Difference::Progress, Some(written)) if now < written + PROGRESS_PAUSE => {
                Err((written + PROGRESS_PAUSE).duration_since(now))
            }
            (Difference::Progress | Difference::Change | Difference::None, _) => Ok(()),
        }
    }

    /// The status was written.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.written = Some(now);
    }

    /// How long to wait before a cluster is looked at again that is not settled: longer, the longer it waits for the same.
    pub(super) fn patience(&mut self, waiting: &[String]) -> Duration {
        if self.waiting == waiting {
            self.alike = self.alike.saturating_add(1);
        } else {
            self.waiting = waiting.to_vec();
            self.alike = 0;
        }
        FIRST_PATIENCE * (1_u32 << (self.alike / ALIKE).min(DOUBLINGS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn progress_is_written_every_few_seconds_and_changes_at_once() {
        let (mut trace, now) = (Trace::default(), Instant::now());
        assert_eq!(trace.may_write(Difference::Progress, now), Ok(()));
        trace.wrote(now);
        let later = now + Duration::from_secs(2);
        assert_eq!(trace.may_write(Difference::Progress, later), Err(Duration::from_secs(3)));
        assert_eq!(trace.may_write(Difference::Change, later), Ok(()));
        assert_eq!(trace.may_write(Difference::Progress, now + PROGRESS_PAUSE), Ok(()));
    }

    #[test]
    fn who_waits_long_is_asked_less_often() {
        let (mut trace, waiting) = (Trace::default(), ["pod 2 to be ready".to_owned()]);
        let pauses: Vec<u64> = (0..50).map(|_| trace.patience(&waiting).as_secs()).collect();
        assert_eq!((pauses[0], pauses[15], pauses[25], pauses[49]), (2, 4, 8, 16));
        assert_eq!(trace.patience(&[]).as_secs(), 2);
    }

    #[test]
    fn one_failure_is_no_news() {
        let mut trace = Trace::default();
        assert!(!trace.failed());
        assert!(trace.failed());
        trace.succeeded();
        assert!(!trace.failed());
    }
}
