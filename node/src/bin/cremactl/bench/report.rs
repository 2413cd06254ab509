//! What all clients measured together, as a table or JSON.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{Bench, Draws, measured::Measured, run::Ran};
use crate::table::table;

/// The quantiles that are printed, by their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// A measurement and what it was of.
pub(super) struct Report {
    /// In words.
    setup: String,
    /// For programs.
    asked: Value,
    ran: Ran,
}

impl Report {
    pub(super) fn new(bench: &Bench, mut ran: Ran) -> Self {
        ran.measured.pauses.sort();
        Self { setup: setup(bench), asked: asked(bench), ran }
    }

    /// Commands that were answered without an error.
    pub(super) fn succeeded(&self) -> u64 {
        self.ran.measured.reads.len() + self.ran.measured.writes.len()
    }

    fn longest_pause_ms(&self) -> f64 {
        self.ran.measured.pauses.last().map_or(0.0, |longest| longest.as_secs_f64() * 1e3)
    }

    fn rate(&self, commands: u64) -> f64 {
        commands as f64 / self.ran.took.as_secs_f64().max(1e-6)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let Ran { measured, took } = &self.ran;
        let Measured { reads, writes, misses, errors, reconnects, pauses: _, per_second: _ } = measured;
        let mut header = vec!["".to_owned(), "ops".to_owned(), "ops/s".to_owned()];
        header.extend(QUANTILES.iter().map(|(name, _)| format!("{name} ms")));
        header.push("max ms".to_owned());
        let kinds = [("reads", reads), ("writes", writes)];
        let rows: Vec<Vec<String>> = kinds.iter().map(|(name, histogram)| self.row(name, histogram)).collect();
        let mut text = format!("{}, {:.1} s\n{}", self.setup, took.as_secs_f64(), table(&header, &rows));
        text += &format!("total {:.0} ops/s, {misses} misses\n", self.rate(self.succeeded()));
        text += &format!("longest pause of a client {:.1} ms", self.longest_pause_ms());
        text += &format!(", {reconnects} reconnects, {} errors\n", errors.values().sum::<u64>());
        for (kind, count) in errors {
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
        let Ran { measured, took } = &self.ran;
        let Measured { reads, writes, misses, errors, reconnects, pauses, per_second } = measured;
        let mut report = self.asked.clone();
        let found = json!({
            "seconds": took.as_secs_f64(),
            "ops": self.succeeded(),
            "ops_per_second": self.rate(self.succeeded()),
            "reads": self.summary(reads),
            "writes": self.summary(writes),
            "misses": misses,
            "longest_pause_ms": self.longest_pause_ms(),
            "pauses_ms": pauses.iter().map(|pause| pause.as_secs_f64() * 1e3).collect::<Vec<_>>(),
            "reconnects": reconnects,
            "errors": errors,
            "per_second": per_second,
        });
        if let (Value::Object(report), Value::Object(found)) = (&mut report, found) {
            report.extend(found);
        }
        report
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

fn setup(bench: &Bench) -> String {
    let Bench { target, clients, pipeline, ratio, keys, value_size, .. } = bench;
    let loop_ = bench.rate.map_or_else(String::new, |rate| format!(", {rate} to start a second"));
    let zipf = if bench.distribution == Draws::Zipf { format!(" by zipf {}", bench.zipf) } else { String::new() };
    format!(
        "{}: {clients} clients, pipeline {pipeline}{loop_}, {:.0}% reads, {keys} keys{zipf}, values of {value_size} bytes",
        target.name(),
        ratio * 100.0
    )
}

fn asked(bench: &Bench) -> Value {
    json!({
        "target": bench.target.name(),
        "clients": bench.clients,
        "pipeline": bench.pipeline,
        "rate": bench.rate,
        "read_ratio": bench.ratio,
        "keys": bench.keys,
        "zipf": (bench.distribution == Draws::Zipf).then_some(bench.zipf),
        "value_bytes": bench.value_size,
    })
}
