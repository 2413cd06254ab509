//! When which cluster is looked at. Pure: time is an argument.
//!
//! A cluster is never looked at twice at once, however often it is woken, and not again before a moment has passed; after
//! failures the pauses grow. There is one entry for each cluster, so nothing here grows with the number of events.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::Instant;

/// The least pause between two passes over a cluster: events come in bursts.
const BREATH: Duration = Duration::from_millis(500);
/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How a pass ended, and when the next is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// As it should; the next is due after so long.
    Again(Duration),
    /// It failed: the pauses grow.
    Failed,
    /// There is no such cluster any more.
    Gone,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Look at this cluster now; it counts as running until [`Schedule::done`].
    Run(Key),
    /// Nothing is due before then.
    Wait(Instant),
    /// Nothing is due at all.
    Idle,
}

/// All clusters that were heard of.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: BTreeMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Passes that failed in a row.
    failures: u32,
}

#[derive(Debug)]
enum State {
    Waiting { due: Instant, not_before: Instant },
    Running { woken: bool },
}

impl Schedule {
    /// Something about a cluster has changed.
    pub(super) fn wake(&mut self, key: Key, now: Instant) {
        let new = || Entry { state: State::Waiting { due: now, not_before: now }, failures: 0 };
        match &mut self.entries.entry(key).or_insert_with(new).state {
            State::Waiting { due, not_before } => *due = (*due).min(now.max(*not_before)),
            State::Running { woken } => *woken = true,
        }
    }

    /// The cluster that is due the longest.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let waiting = self.entries.iter_mut().filter_map(|(key, entry)| match entry.state {
            State::Waiting { due, .. } => Some((due, key, entry)),
            State::Running { .. } => None,
        });
        match waiting.min_by_key(|(due, ..)| *due) {
            None => Next::Idle,
            Some((due, ..)) if due > now => Next::Wait(due),
            Some((_, key, entry)) => {
                entry.state = State::Running { woken: false };
                Next::Run(key.clone())
            }
        }
    }

    /// A pass has ended.
    pub(super) fn done(&mut self, key: &Key, how: Done, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let woken = matches!(entry.state, State::Running { woken: true });
        let pause = match how {
            // It was made again while the pass saw it go.
            Done::Gone if woken => BREATH,
            Done::Gone => {
                self.entries.remove(key);
                return;
            }
            Done::Again(pause) => {
                entry.failures = 0;
                if woken { BREATH } else { pause.max(BREATH) }
            }
            Done::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                pause_after(entry.failures)
            }
        };
        entry.state = State::Waiting { due: now + pause, not_before: now + BREATH };
    }

    /// How many clusters there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Doubles from failure to failure, up to a bound.
fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn a_cluster_runs_once_at_a_time() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        assert_eq!(schedule.next(now), Next::Idle);
        schedule.wake(key("a"), now);
        schedule.wake(key("a"), now);
        assert_eq!(schedule.next(now), Next::Run(key("a")));
        schedule.wake(key("a"), now);
        assert_eq!(schedule.next(now), Next::Idle);
        // What happened meanwhile is looked at soon, not after the pause.
        schedule.done(&key("a"), Done::Again(seconds(60)), now);
        assert_eq!(schedule.next(now), Next::Wait(now + BREATH));
        assert_eq!(schedule.next(now + BREATH), Next::Run(key("a")));
        schedule.done(&key("a"), Done::Again(seconds(60)), now);
        assert_eq!(schedule.next(now), Next::Wait(now + seconds(60)));
    }

    #[tokio::test]
    async fn failures_make_pauses_grow_and_a_change_ends_them() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.wake(key("a"), now);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let Next::Run(_) = schedule.next(now + seconds(100)) else { panic!("it is due") };
            schedule.done(&key("a"), Done::Failed, now);
            assert_eq!(schedule.next(now), Next::Wait(now + seconds(pause)));
        }
        schedule.wake(key("a"), now);
        assert_eq!(schedule.next(now), Next::Wait(now + BREATH), "a burst of events is no burst of passes");
        assert_eq!(schedule.next(now + BREATH), Next::Run(key("a")));
    }

    #[tokio::test]
    async fn the_longest_due_comes_first_and_the_gone_are_forgotten() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.wake(key("b"), now);
        schedule.wake(key("a"), now + seconds(1));
        assert_eq!(schedule.next(now + seconds(2)), Next::Run(key("b")));
        assert_eq!(schedule.next(now + seconds(2)), Next::Run(key("a")));
        schedule.done(&key("b"), Done::Gone, now);
        schedule.wake(key("a"), now);
        schedule.done(&key("a"), Done::Gone, now);
        assert_eq!(schedule.len(), 1, "it was made again");
    }
}
