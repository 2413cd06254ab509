//! Numbers for Prometheus, of the operator itself: what clusters do is told by their own nodes.
//!
//! Labels are kinds, outcomes, and the clusters there are: what belongs to a cluster goes when the cluster goes.

use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds in seconds of one pass: from a quiet one to one that waits for silent nodes.
const PASS_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

/// All numbers of one operator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    passes: IntCounterVec,
    pass_seconds: Histogram,
    actions: IntCounterVec,
    watch_errors: IntCounterVec,
    failing: IntGaugeVec,
    waiting: IntGaugeVec,
    leading: IntGauge,
    clusters: IntGauge,
}

/// How a pass over a cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOutcome {
    /// All that was planned is done.
    Done,
    /// Something failed, and is tried again.
    Failed,
    /// The object is gone or going.
    Gone,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with everything in it.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "the names are constants, and each is registered once")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("constant names")
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("constant names")
        };
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect("constant names");
        let pass_opts = HistogramOpts::new("crema_operator_pass_seconds", "How long a pass over a cluster took.")
            .buckets(PASS_BUCKETS.to_vec());
        let metrics = Self {
            passes: counters("crema_operator_passes_total", "Passes over clusters, by how they ended.", &["outcome"]),
            pass_seconds: Histogram::with_opts(pass_opts).expect("constant names"),
            actions: counters("crema_operator_actions_total", "What was done to clusters.", &["action", "outcome"]),
            watch_errors: counters(
                "crema_operator_watch_errors_total",
                "Watches that failed and were begun anew.",
                &["namespace", "kind"],
            ),
            failing: gauges(
                "crema_operator_cluster_failing",
                "1 while the last pass over the cluster failed.",
                &["namespace", "cluster"],
            ),
            waiting: gauges(
                "crema_operator_cluster_waiting",
                "How many things the operator waits for before it goes on with the cluster.",
                &["namespace", "cluster"],
            ),
            leading: gauge("crema_operator_leading", "1 on the replica that holds the lease."),
            clusters: gauge("crema_operator_clusters", "Clusters that this replica looks after."),
            registry,
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let Self { registry, passes, pass_seconds, actions, watch_errors, failing, waiting, leading, clusters } =
            self;
        let all: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(passes.clone()),
            Box::new(pass_seconds.clone()),
            Box::new(actions.clone()),
            Box::new(watch_errors.clone()),
            Box::new(failing.clone()),
            Box::new(waiting.clone()),
            Box::new(leading.clone()),
            Box::new(clusters.clone()),
            Box::new(prometheus::process_collector::ProcessCollector::for_self()),
        ];
        for collector in all {
            registry.register(collector).expect("each name is registered once");
        }
    }

    /// Counts a pass over a cluster.
    pub fn passed(&self, namespace: &str, cluster: &str, outcome: PassOutcome, took: Duration) {
        let word = match outcome {
            PassOutcome::Done => "done",
            PassOutcome::Failed => "failed",
            PassOutcome::Gone => "gone",
        };
        self.passes.with_label_values(&[word]).inc();
        self.pass_seconds.observe(took.as_secs_f64());
        let labels = [namespace, cluster];
        match outcome {
            PassOutcome::Done => self.failing.with_label_values(&labels).set(0),
            PassOutcome::Failed => self.failing.with_label_values(&labels).set(1),
            PassOutcome::Gone => {
                // Not there when it was never set.
                self.failing.remove_label_values(&labels).ok();
                self.waiting.remove_label_values(&labels).ok();
            }
        }
    }

    /// How many things a cluster waits for.
    pub fn waits(&self, namespace: &str, cluster: &str, reasons: usize) {
        let reasons = i64::try_from(reasons).unwrap_or(i64::MAX);
        self.waiting.with_label_values(&[namespace, cluster]).set(reasons);
    }

    /// Counts something done to a cluster, or attempted.
    pub fn acted(&self, action: &str, done: bool) {
        self.actions.with_label_values(&[action, if done { "done" } else { "failed" }]).inc();
    }

    /// Counts a watch that failed.
    pub fn watch_failed(&self, namespace: &str, kind: &str) {
        self.watch_errors.with_label_values(&[namespace, kind]).inc();
    }

    /// Whether this replica leads.
    pub fn set_leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// How many clusters there are.
    pub fn set_clusters(&self, clusters: usize) {
        self.clusters.set(i64::try_from(clusters).unwrap_or(i64::MAX));
    }

    /// In Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "write the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_goes_leaves_no_series() {
        let metrics = Metrics::new();
        metrics.passed("shop", "cart", PassOutcome::Failed, Duration::from_millis(3));
        metrics.waits("shop", "cart", 2);
        let text = metrics.render();
        assert!(text.contains(r#"crema_operator_cluster_failing{cluster="cart",namespace="shop"} 1"#), "{text}");
        assert!(text.contains(r#"crema_operator_cluster_waiting{cluster="cart",namespace="shop"} 2"#), "{text}");
        metrics.passed("shop", "cart", PassOutcome::Gone, Duration::ZERO);
        let text = metrics.render();
        assert!(!text.contains("cart"), "{text}");
        assert!(text.contains(r#"crema_operator_passes_total{outcome="gone"} 1"#), "{text}");
    }
}
