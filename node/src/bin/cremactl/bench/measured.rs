//! What lanes measure: those of one thread share it, threads add theirs up.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// Latencies are kept in microseconds up to this; beyond it they count as this.
const LONGEST_US: u64 = 120_000_000;

/// More kinds of errors than a person reads; what comes after them is counted together.
const MOST_KINDS: usize = 64;

/// The sum of some lanes.
pub(super) struct Measured {
    /// Latencies of reads, in microseconds.
    pub(super) reads: Histogram<u64>,
    /// Latencies of writes, in microseconds.
    pub(super) writes: Histogram<u64>,
    /// Reads that found no key.
    pub(super) misses: u64,
    /// How many commands failed, by what the error says.
    pub(super) errors: BTreeMap<String, u64>,
    /// Connections opened after the first.
    pub(super) reconnects: u64,
    /// Of each lane the longest time between two successes, or between the start or the end and one.
    pub(super) pauses: Vec<Duration>,
    /// Successes in each second since it was begun to measure.
    pub(super) per_second: Vec<u64>,
}

impl Measured {
    pub(super) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that HdrHistogram takes");
        Self {
            reads: histogram(),
            writes: histogram(),
            misses: 0,
            errors: BTreeMap::new(),
            reconnects: 0,
            pauses: Vec::new(),
            per_second: Vec::new(),
        }
    }

    /// A command that succeeded, so long after the start.
    pub(super) fn succeeded(&mut self, is_read: bool, latency: Duration, after: Duration) {
        let histogram = if is_read { &mut self.reads } else { &mut self.writes };
        histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US));
        let second = after.as_secs() as usize;
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        self.per_second[second] += 1;
    }

    /// Commands that failed in the same way.
    pub(super) fn failed(&mut self, kind: &str, commands: u64) {
        let known = self.errors.contains_key(kind) || self.errors.len() < MOST_KINDS;
        *self.errors.entry(if known { kind } else { "others" }.to_owned()).or_default() += commands;
    }

    /// Adds what another thread's lanes have measured.
    pub(super) fn add(&mut self, other: Self) {
        let Self { reads, writes, misses, errors, reconnects, pauses, per_second } = other;
        // Histograms of the same bounds always add.
        self.reads.add(reads).expect("the same bounds");
        self.writes.add(writes).expect("the same bounds");
        self.misses += misses;
        errors.iter().for_each(|(kind, count)| self.failed(kind, *count));
        self.reconnects += reconnects;
        self.pauses.extend(pauses);
        self.per_second.resize(self.per_second.len().max(per_second.len()), 0);
        for (sum, count) in self.per_second.iter_mut().zip(per_second) {
            *sum += count;
        }
    }
}

#[test]
fn errors_of_many_kinds_are_bounded() {
    let mut measured = Measured::new();
    (0..1_000).for_each(|number| measured.failed(&format!("error {number}"), 2));
    assert_eq!(measured.errors.len(), MOST_KINDS + 1);
    assert_eq!(measured.errors.values().sum::<u64>(), 2_000);
}
