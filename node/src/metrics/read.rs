//! Reading the numbers inside the program: what Prometheus would be told, as values.
//!
//! Called by programs that embed a node, through [`MetricsRegistry::series`] and [`MetricsRegistry::read`].

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::MetricsRegistry;

/// One series: a name, its labels, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name, as Prometheus sees it: `cache_hits_total`.
    pub name: String,
    /// Names and values of its labels, by name.
    pub labels: Vec<(String, String)>,
    /// Where it stands.
    pub value: Reading,
}

/// Where a series stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Of a number that only rises.
    Counter(f64),
    /// Of a number that rises and falls.
    Gauge(f64),
    /// Of a distribution.
    Histogram {
        /// How many were counted.
        count: u64,
        /// Their sum; seconds, where the name ends in `_seconds`.
        sum: f64,
        /// Upper bounds, ascending, each with how many were not above it.
        buckets: Vec<(f64, u64)>,
    },
}

impl Reading {
    /// The number of a counter or gauge; how many a histogram has counted.
    #[must_use]
    pub fn number(&self) -> f64 {
        match self {
            Self::Counter(value) | Self::Gauge(value) => *value,
            Self::Histogram { count, .. } => *count as f64,
        }
    }
}

impl MetricsRegistry {
    /// Every series there is now, by name and labels.
    #[must_use]
    pub fn series(&self) -> Vec<Series> {
        let families = self.gather();
        families.iter().flat_map(|family| family.get_metric().iter().filter_map(|one| series(family, one))).collect()
    }

    /// One series by its name and all of its labels, in any order; `None` when there is none.
    ///
    /// ```
    /// use crema::metrics::{MetricsRegistry, Reading};
    ///
    /// let metrics = MetricsRegistry::new();
    /// metrics.counter("tries_total", "Tries", &[("what", "all")]).inc();
    /// assert_eq!(metrics.read("tries_total", &[("what", "all")]), Some(Reading::Counter(1.0)));
    /// assert_eq!(metrics.read("tries_total", &[]), None);
    /// ```
    #[must_use]
    pub fn read(&self, name: &str, labels: &[(&str, &str)]) -> Option<Reading> {
        let family = self.gather().into_iter().find(|family| family.name() == name)?;
        let found = family.get_metric().iter().find(|metric| has_labels(metric, labels))?;
        Some(series(&family, found)?.value)
    }
}

fn has_labels(metric: &Metric, labels: &[(&str, &str)]) -> bool {
    let own = metric.get_label();
    own.len() == labels.len() && own.iter().all(|pair| labels.contains(&(pair.name(), pair.value())))
}

/// `None` for a kind that nobody registers here.
fn series(family: &MetricFamily, metric: &Metric) -> Option<Series> {
    let value = match family.get_field_type() {
        MetricType::COUNTER => Reading::Counter(metric.get_counter().get_value()),
        MetricType::GAUGE => Reading::Gauge(metric.get_gauge().get_value()),
        MetricType::HISTOGRAM => {
            let found = metric.get_histogram();
            let buckets = found.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
            Reading::Histogram {
                count: found.get_sample_count(),
                sum: found.get_sample_sum(),
                buckets: buckets.collect(),
            }
        }
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let labels = metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect();
    Some(Series { name: family.name().to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_kind_is_read() {
        let registry = MetricsRegistry::default();
        registry.counter("c_total", "help", &[("shard", "1"), ("door", "resp")]).inc_by(3);
        registry.gauge("g", "help", &[]).set(7);
        registry.histogram_in("h_seconds", "help", &[], &[1.0, 2.0]).observe(Duration::from_millis(1_500));
        assert_eq!(registry.read("c_total", &[("shard", "1"), ("door", "resp")]), Some(Reading::Counter(3.0)));
        assert_eq!(registry.read("c_total", &[("door", "resp"), ("shard", "1")]), Some(Reading::Counter(3.0)));
        assert_eq!(registry.read("c_total", &[("shard", "1")]), None);
        assert_eq!(registry.read("g", &[]).map(|reading| reading.number()), Some(7.0));
        assert_eq!(registry.read("nothing", &[]), None);
        let buckets = vec![(1.0, 0), (2.0, 1)];
        let histogram = Reading::Histogram { count: 1, sum: 1.5, buckets };
        assert_eq!(registry.read("h_seconds", &[]), Some(histogram.clone()));
        let all = registry.series();
        let names: Vec<_> = all.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["c_total", "g", "h_seconds"]);
        assert_eq!(all[2].value, histogram);
        assert_eq!(all[0].labels, [("door".to_owned(), "resp".to_owned()), ("shard".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_is_asked_live_is_read_too() {
        let registry = MetricsRegistry::default();
        registry.counter("c_total", "help", &[]).inc();
        let other = MetricsRegistry::default();
        other.gauge("a_live_one", "help", &[]).set(2);
        let live = registry.clone().with_live(move || other.gather());
        assert_eq!(live.read("a_live_one", &[]), Some(Reading::Gauge(2.0)));
        assert!(live.encode().starts_with("# HELP a_live_one"), "{}", live.encode());
        assert_eq!(registry.read("a_live_one", &[]), None);
    }
}
