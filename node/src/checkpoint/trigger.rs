//! When a checkpoint is due (pure).

use std::time::Duration;

/// What a log has grown by since its last checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogGrowth {
    /// Entries applied since then.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long ago it was.
    pub age: Duration,
}

/// Why a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// So many entries came.
    Entries,
    /// So many bytes came.
    Bytes,
    /// So much time has passed.
    Age,
}

/// The bounds on what a restart has to replay. The first that is reached counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggers {
    /// Log entries, at least 1.
    pub log_entries: u64,
    /// Bytes of log entries, at least 1.
    pub log_bytes: u64,
    /// The age of the last checkpoint; `None` is no bound.
    pub interval: Option<Duration>,
}

impl Default for Triggers {
    fn default() -> Self {
        Self { log_entries: 10_000, log_bytes: 64 << 20, interval: Some(Duration::from_secs(3_600)) }
    }
}

impl Triggers {
    /// Whether a checkpoint is due, and why. Never when nothing has changed: the last one is as good.
    #[must_use]
    pub fn due(&self, growth: LogGrowth) -> Option<Trigger> {
        let Self { log_entries, log_bytes, interval } = *self;
        if growth.entries == 0 {
            None
        } else if growth.entries >= log_entries {
            Some(Trigger::Entries)
        } else if growth.bytes >= log_bytes {
            Some(Trigger::Bytes)
        } else if interval.is_some_and(|interval| growth.age >= interval) {
            Some(Trigger::Age)
        } else {
            None
        }
    }
}

#[test]
fn the_first_bound_that_is_reached_counts() {
    let triggers = Triggers { log_entries: 100, log_bytes: 1_000, interval: Some(Duration::from_secs(10)) };
    let due = |entries, bytes, seconds| triggers.due(LogGrowth { entries, bytes, age: Duration::from_secs(seconds) });
    assert_eq!(due(99, 999, 9), None);
    assert_eq!(due(100, 0, 0), Some(Trigger::Entries));
    assert_eq!(due(1, 1_000, 0), Some(Trigger::Bytes));
    assert_eq!(due(1, 0, 10), Some(Trigger::Age));
    assert_eq!(due(0, 0, 1_000), None, "nothing has changed");
    let patient = Triggers { interval: None, ..triggers };
    assert_eq!(patient.due(LogGrowth { entries: 1, bytes: 1, age: Duration::MAX }), None);
}
