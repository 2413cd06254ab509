//! What all clients measured together, as a table or JSON.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{
    Bench,
    worker::{LONGEST_US, Measured},
};
use crate::table::table;

/// The quantiles that are printed, by their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The sum of all clients.
pub(super) struct Report {
    setup: String,
    clients: u16,
    pipeline: u16,
    took: Duration,
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    misses: u64,
    errors: BTreeMap<String, u64>,
    reconnects: u64,
    longest_pause: Duration,
    per_second: Vec<u64>,
}

impl Report {
    pub(super) fn new(bench: &Bench) -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that HdrHistogram takes");
        let Bench { clients, pipeline, ratio, keys, value_size, .. } = bench;
        let setup = format!(
            "{clients} clients, pipeline {pipeline}, {:.0}% reads, {keys} keys, values of {value_size} bytes",
            ratio * 100.0
        );
        Self {
            setup,
            clients: *clients,
            pipeline: *pipeline,
            took: Duration::ZERO,
            reads: histogram(),
            writes: histogram(),
            misses: 0,
            errors: BTreeMap::new(),
            reconnects: 0,
            longest_pause: Duration::ZERO,
            per_second: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, one: Measured) -> anyhow::Result<()> {
        let Measured { reads, writes, misses, errors, reconnects, longest_pause, per_second } = one;
        self.reads.add(reads).context("add up the latencies of reads")?;
        self.writes.add(writes).context("add up the latencies of writes")?;
        self.misses += misses;
        for (kind, count) in errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.reconnects += reconnects;
        self.longest_pause = self.longest_pause.max(longest_pause);
        self.per_second.resize(self.per_second.len().max(per_second.len()), 0);
        for (sum, count) in self.per_second.iter_mut().zip(per_second) {
            *sum += count;
        }
        Ok(())
    }

    /// How long the whole run took.
    pub(super) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// Commands that were answered without an error.
    pub(super) fn succeeded(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    fn rate(&self, commands: u64) -> f64 {
        commands as f64 / self.took.as_secs_f64().max(1e-6)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut header = vec!["".to_owned(), "ops".to_owned(), "ops/s".to_owned()];
        header.extend(QUANTILES.iter().map(|(name, _)| format!("{name} ms")));
        header.push("max ms".to_owned());
        let kinds = [("reads", &self.reads), ("writes", &self.writes)];
        let rows: Vec<Vec<String>> = kinds.iter().map(|(name, histogram)| self.row(name, histogram)).collect();
        let mut text = format!("{}, {:.1} s\n{}", self.setup, self.took.as_secs_f64(), table(&header, &rows));
        text += &format!("total {:.0} ops/s, {} misses\n", self.rate(self.succeeded()), self.misses);
        text += &format!("longest pause of a client {:.1} ms", self.longest_pause.as_secs_f64() * 1e3);
        text += &format!(", {} reconnects, {} errors\n", self.reconnects, self.errors.values().sum::<u64>());
        for (kind, count) in &self.errors {
            text += &format!("  {count} x {kind}\n");
        }
        text
    }

    fn row(&self, name: &str, histogram: &Histogram<u64>) -> Vec<String> {
        let ms = |us: u64| format!("{:.3}", us as f64 / 1e3);
        let mut row =
            vec![name.to_owned(), histogram.len().to_string(), format!("{:.0}", self.rate(histogram.len()))];
        row.extend(QUANTILES.iter().map(|(_, quantile)| ms(histogram.value_at_quantile(*quantile))));
        row.push(ms(histogram.max()));
        row
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "seconds": self.took.as_secs_f64(),
            "clients": self.clients,
            "pipeline": self.pipeline,
            "ops": self.succeeded(),
            "ops_per_second": self.rate(self.succeeded()),
            "reads": self.summary(&self.reads),
            "writes": self.summary(&self.writes),
            "misses": self.misses,
            "longest_pause_ms": self.longest_pause.as_secs_f64() * 1e3,
            "reconnects": self.reconnects,
            "errors": self.errors,
            "per_second": self.per_second,
        })
    }

    fn summary(&self, histogram: &Histogram<u64>) -> Value {
        let mut summary = json!({
            "ops": histogram.len(),
            "ops_per_second": self.rate(histogram.len()),
            "max_us": histogram.max(),
        });
        for (name, quantile) in QUANTILES {
            summary[format!("{name}_us")] = histogram.value_at_quantile(quantile).into();
        }
        summary
    }
}
