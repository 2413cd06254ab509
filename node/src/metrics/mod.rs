//! Numbers for Prometheus: a registry, and handles that the hot paths raise without a lookup.
//!
//! A handle is resolved once (at start, or when a replica is made) and is then one atomic. What the node can be
//! asked for is not counted here: `scrape` reads it from `Introspect` when Prometheus asks. Labels never come from
//! clients, so the number of series is bounded by shards, doors and known commands.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, proto::MetricFamily,
};

mod node;
mod read;
mod scrape;

pub use node::{CommandMetrics, DoorMetrics, NodeMetrics, ShardMetrics};
pub use read::{Reading, Series};
pub(crate) use scrape::gauges;
pub use scrape::render;

/// Upper bounds in seconds, from a local hit to a call that waits for an election.
const LATENCY_BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A number that only rises.
#[derive(Clone, Debug)]
pub struct Counter(IntCounter);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Adds `n`.
    pub fn inc_by(&self, n: u64) {
        self.0.inc_by(n);
    }

    /// What it stands at.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number that rises and falls.
#[derive(Clone, Debug)]
pub struct Gauge(IntGauge);

impl Gauge {
    /// Sets it; a number beyond `i64` counts as the largest.
    pub fn set(&self, value: u64) {
        self.0.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.0.dec();
    }

    /// What it stands at.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

/// A distribution of durations, in seconds.
#[derive(Clone, Debug)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, elapsed: Duration) {
        self.0.observe(elapsed.as_secs_f64());
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}

/// All series of one node. Cheap to clone; clones share their series. [`Self::read`] has one of them,
/// [`Self::series`] all, [`Self::encode`] the text that Prometheus reads.
///
/// Asking twice for a name with the same labels gives the same series. A name must always come with the same
/// kind and the same label names: anything else is a mistake in this program, and panics.
#[derive(Clone, Debug, Default)]
pub struct MetricsRegistry {
    inner: Arc<Inner>,
    /// What is asked for its numbers whenever this handle is read.
    live: Option<Live>,
}

/// Makes gauges anew at each look. Belongs to one handle and its clones, not to the series.
#[derive(Clone)]
struct Live(Arc<dyn Fn() -> Vec<MetricFamily> + Send + Sync>);

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

#[derive(Debug, Default)]
struct Inner {
    registry: Registry,
    families: Mutex<HashMap<&'static str, Family>>,
}

#[derive(Clone, Debug)]
enum Family {
    Counters(IntCounterVec),
    Gauges(IntGaugeVec),
    Histograms(HistogramVec),
}

/// Label names and their values.
type Labels<'a> = [(&'static str, &'a str)];

impl MetricsRegistry {
    /// A registry with the series of the process itself.
    #[must_use]
    pub fn new() -> Self {
        let registry = Self::default();
        #[cfg(target_os = "linux")]
        registry.register(prometheus::process_collector::ProcessCollector::for_self());
        registry
    }

    /// This registry with gauges beside it that are asked for at each look; their names must be none of its own.
    pub(crate) fn with_live(mut self, live: impl Fn() -> Vec<MetricFamily> + Send + Sync + 'static) -> Self {
        self.live = Some(Live(Arc::new(live)));
        self
    }

    /// The counter of this name and these labels.
    #[must_use]
    pub fn counter(&self, name: &'static str, help: &str, labels: &Labels<'_>) -> Counter {
        let make = || IntCounterVec::new(Opts::new(name, help), &names(labels)).map(Family::Counters);
        match self.family(name, make) {
            Family::Counters(family) => Counter(family.with_label_values(&values(labels))),
            Family::Gauges(_) | Family::Histograms(_) => panic!("{name} is not a counter"),
        }
    }

    /// The gauge of this name and these labels.
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &str, labels: &Labels<'_>) -> Gauge {
        let make = || IntGaugeVec::new(Opts::new(name, help), &names(labels)).map(Family::Gauges);
        match self.family(name, make) {
            Family::Gauges(family) => Gauge(family.with_label_values(&values(labels))),
            Family::Counters(_) | Family::Histograms(_) => panic!("{name} is not a gauge"),
        }
    }

    /// The histogram of this name and these labels.
    #[must_use]
    pub fn histogram(&self, name: &'static str, help: &str, labels: &Labels<'_>) -> Histogram {
        self.histogram_in(name, help, labels, &LATENCY_BUCKETS)
    }

    /// The histogram of this name and these labels, with upper bounds in seconds of its own.
    #[must_use]
    pub fn histogram_in(&self, name: &'static str, help: &str, labels: &Labels<'_>, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let make = || HistogramVec::new(opts, &names(labels)).map(Family::Histograms);
        match self.family(name, make) {
            Family::Histograms(family) => Histogram(family.with_label_values(&values(labels))),
            Family::Counters(_) | Family::Gauges(_) => panic!("{name} is not a histogram"),
        }
    }

    /// All series in the text format of Prometheus.
    #[must_use]
    pub fn encode(&self) -> String {
        encode(&self.gather())
    }

    /// Every family, by name.
    fn gather(&self) -> Vec<MetricFamily> {
        let mut families = self.inner.registry.gather();
        if let Some(Live(live)) = &self.live {
            families.extend(live());
            families.sort_by(|a, b| a.name().cmp(b.name()));
        }
        families
    }

    fn family(&self, name: &'static str, make: impl FnOnce() -> prometheus::Result<Family>) -> Family {
        let mut families = self.inner.families.lock();
        let family = families.entry(name).or_insert_with(|| {
            let family = make().unwrap_or_else(|e| panic!("{name} is no name for a series: {e}"));
            match family.clone() {
                Family::Counters(vec) => self.register(vec),
                Family::Gauges(vec) => self.register(vec),
                Family::Histograms(vec) => self.register(vec),
            }
            family
        });
        family.clone()
    }

    fn register(&self, collector: impl prometheus::core::Collector + 'static) {
        self.inner.registry.register(Box::new(collector)).expect("each name is registered once, under a lock");
    }
}

fn names(labels: &Labels<'_>) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

fn values<'a>(labels: &Labels<'a>) -> Vec<&'a str> {
    labels.iter().map(|(_, value)| *value).collect()
}

fn encode(families: &[MetricFamily]) -> String {
    let mut text = Vec::new();
    TextEncoder::new().encode(families, &mut text).expect("gathered families are whole, and memory takes all bytes");
    String::from_utf8(text).expect("the text format is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_labels_are_one_series() {
        let registry = MetricsRegistry::new();
        registry.counter("c_total", "help", &[("shard", "1")]).inc();
        registry.counter("c_total", "help", &[("shard", "1")]).inc_by(2);
        registry.counter("c_total", "help", &[("shard", "2")]).inc();
        let text = registry.encode();
        assert!(text.contains("c_total{shard=\"1\"} 3\n"), "{text}");
        assert!(text.contains("c_total{shard=\"2\"} 1\n"), "{text}");
    }

    #[test]
    #[should_panic(expected = "is not a gauge")]
    fn a_name_keeps_its_kind() {
        let registry = MetricsRegistry::new();
        let _ = registry.counter("c_total", "help", &[]);
        let _ = registry.gauge("c_total", "help", &[]);
    }
}
