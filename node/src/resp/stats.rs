//! Counters of the door: cheap to add to from every connection, read by `INFO` and the metrics.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use super::commands;

/// Counters of one door. Create it, give it to [`super::serve`], and read it from elsewhere.
#[derive(Debug)]
pub struct RespStats {
    pub(super) connections_accepted: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) connections_cut_off: AtomicU64,
    pub(super) protocol_errors: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) unknown_commands: AtomicU64,
    commands: Box<[Counters]>,
    /// By prefix. It grows no further than the texts of this door: no prefix comes from a client.
    error_kinds: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
}

/// What was counted for one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandStats {
    /// Its name in lower case.
    pub name: &'static str,
    /// How often it was answered.
    pub calls: u64,
    /// How often the answer was an error.
    pub errors: u64,
    /// The sum of the times from reading it to its answer, in microseconds. In a pipeline that is the pipeline's.
    pub micros: u64,
}

impl Default for RespStats {
    fn default() -> Self {
        Self {
            connections_accepted: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            connections_cut_off: AtomicU64::new(0),
            protocol_errors: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            unknown_commands: AtomicU64::new(0),
            commands: commands::all().iter().map(|_| Counters::default()).collect(),
            error_kinds: Mutex::default(),
        }
    }
}

impl RespStats {
    /// Connections that were accepted so far.
    #[must_use]
    pub fn connections_accepted(&self) -> u64 {
        self.connections_accepted.load(Ordering::Relaxed)
    }

    /// Connections that were refused because there were too many.
    #[must_use]
    pub fn connections_refused(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    /// Connections that were cut off because the client did not read its replies.
    #[must_use]
    pub fn connections_cut_off(&self) -> u64 {
        self.connections_cut_off.load(Ordering::Relaxed)
    }

    /// Connections that were ended because their input was not RESP.
    #[must_use]
    pub fn protocol_errors(&self) -> u64 {
        self.protocol_errors.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Bytes read from clients.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes written to clients.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Commands that don't exist here.
    #[must_use]
    pub fn unknown_commands(&self) -> u64 {
        self.unknown_commands.load(Ordering::Relaxed)
    }

    /// Every command that was called, in the order of the command table.
    #[must_use]
    pub fn commands(&self) -> Vec<CommandStats> {
        let with_counts = commands::all().iter().zip(&self.commands).map(|(spec, counters)| CommandStats {
            name: spec.name,
            calls: counters.calls.load(Ordering::Relaxed),
            errors: counters.errors.load(Ordering::Relaxed),
            micros: counters.micros.load(Ordering::Relaxed),
        });
        with_counts.filter(|stats| stats.calls > 0).collect()
    }

    /// Commands answered so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.commands.iter().map(|counters| counters.calls.load(Ordering::Relaxed)).sum()
    }

    /// How often each kind of error was answered, by its prefix.
    #[must_use]
    pub fn error_kinds(&self) -> Vec<(String, u64)> {
        self.error_kinds.lock().iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    }

    /// Counts an error that was answered.
    pub(super) fn count_error(&self, text: &[u8]) {
        let kind = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let mut kinds = self.error_kinds.lock();
        match kinds.get_mut(&*String::from_utf8_lossy(kind)) {
            Some(count) => *count += 1,
            None => drop(kinds.insert(String::from_utf8_lossy(kind).into_owned(), 1)),
        }
    }

    /// Counts a run of equal commands; `index` is the place in the command table.
    pub(super) fn count_commands(&self, index: usize, calls: u64, errors: u64, each: Duration) {
        let counters = &self.commands[index];
        counters.calls.fetch_add(calls, Ordering::Relaxed);
        let micros = u64::try_from(each.as_micros()).unwrap_or(u64::MAX).saturating_mul(calls);
        counters.micros.fetch_add(micros, Ordering::Relaxed);
        if errors > 0 {
            counters.errors.fetch_add(errors, Ordering::Relaxed);
        }
    }
}

/// Adds to a counter; the order between counters doesn't matter.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
