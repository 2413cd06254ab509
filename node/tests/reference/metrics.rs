//! "Metrics": the registry, every name of the list, and the statistics of shards.

use crema::{
    CacheConfig, DistributedCache, MultiRaftCacheConfig,
    metrics::{Counter, Gauge, Histogram, MetricsRegistry, Reading},
};

use crate::rig::{Sample, ports, until};

const COUNTER: &str = "Counter";
const GAUGE: &str = "Gauge";
const HISTOGRAM: &str = "Histogram";

/// The reference's list.
const AVAILABLE: [(&str, &str); 11] = [
    ("cache_hits_total", COUNTER),
    ("cache_misses_total", COUNTER),
    ("cache_entries", GAUGE),
    ("cache_size_bytes", GAUGE),
    ("raft_proposals_total", COUNTER),
    ("raft_proposal_latency_seconds", HISTOGRAM),
    ("raft_leader_changes_total", COUNTER),
    ("memberlist_nodes", GAUGE),
    ("shard_entries", GAUGE), // per-shard
    ("shard_leader_changes_total", COUNTER),
    ("migration_duration_seconds", HISTOGRAM),
];

async fn cache(num_shards: u32) -> Result<DistributedCache, crema::Error> {
    let [address] = ports();
    let multiraft = MultiRaftCacheConfig { enabled: num_shards > 1, num_shards, ..Default::default() };
    DistributedCache::new(CacheConfig::new(1, address).with_multiraft_config(multiraft)).await
}

fn kind(reading: &Reading) -> &'static str {
    match reading {
        Reading::Counter(_) => COUNTER,
        Reading::Gauge(_) => GAUGE,
        Reading::Histogram { .. } => HISTOGRAM,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn available_metrics() -> Sample {
    for num_shards in [1, 4] {
        let cache = cache(num_shards).await?;

        // Access the metrics registry
        let metrics = cache.metrics();

        // Not in the reference: every name of its list is there, of its kind, for Prometheus and for programs; those of
        // a shard once it has said how it is and has a leader.
        for of_shard in ["shard_entries", "shard_leader_changes_total"] {
            let there = || metrics.series().iter().filter(|series| series.name == of_shard).count();
            until(of_shard, || there() == num_shards as usize).await;
        }
        let (series, text) = (metrics.series(), metrics.encode());
        for (name, wanted) in AVAILABLE {
            let of_name: Vec<_> = series.iter().filter(|series| series.name == name).collect();
            assert!(!of_name.is_empty(), "{name} is not there");
            assert!(of_name.iter().all(|series| kind(&series.value) == wanted), "{name}: {of_name:?}");
            assert!(text.contains(&format!("# TYPE {name} {}\n", wanted.to_lowercase())), "{name}");
        }
        cache.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn they_count() -> Sample {
    let cache = cache(1).await?;
    let read = |name: &str| cache.metrics().read(name, &[]).map(|reading| reading.number());
    cache.put("key", "value").await?;
    let (hits, misses) = (read("cache_hits_total"), read("cache_misses_total"));
    assert!(cache.consistent_get(b"key").await?.is_some());
    assert!(cache.get(b"no such key").await.is_none());
    assert_eq!(read("cache_hits_total"), hits.map(|hits| hits + 1.0));
    assert_eq!(read("cache_misses_total"), misses.map(|misses| misses + 1.0));
    until("the proposal is counted", || read("raft_proposals_total") >= Some(1.0)).await;
    assert!(read("raft_proposal_latency_seconds") >= Some(1.0));
    until("the entry is counted", || read("cache_entries") == Some(1.0)).await;
    assert!(read("cache_size_bytes") > Some(0.0));
    let of_shard = cache.metrics().read("shard_entries", &[("shard", "0")]);
    assert_eq!(of_shard, Some(Reading::Gauge(1.0)));
    cache.shutdown().await;
    Ok(())
}

/// The types that the sample imports: a program may count things of its own beside the node's.
#[test]
fn a_programs_own_series() {
    let metrics = MetricsRegistry::new();
    let counter: Counter = metrics.counter("own_total", "Of this program", &[]);
    let gauge: Gauge = metrics.gauge("own", "Of this program", &[("kind", "a")]);
    let histogram: Histogram = metrics.histogram("own_seconds", "Of this program", &[]);
    counter.inc();
    gauge.set(3);
    histogram.observe(std::time::Duration::from_millis(2));
    assert_eq!((counter.get(), gauge.get(), histogram.count()), (1, 3, 1));
    assert_eq!(metrics.read("own", &[("kind", "a")]), Some(Reading::Gauge(3.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_statistics() -> Sample {
    let cache = cache(16).await?;
    cache.put("key", "value").await?;

    if let Some(coordinator) = cache.multiraft_coordinator() {
        let stats = coordinator.stats();

        println!("Total shards: {}", stats.total_shards);
        println!("Active shards: {}", stats.active_shards);
        println!("Local leader shards: {}", stats.local_leader_shards);
        println!("Total entries: {}", stats.total_entries);
        println!("Operations/sec: {:.2}", stats.operations_per_sec);
    }

    // Not in the reference: what they come to.
    let coordinator = cache.multiraft_coordinator().expect("it is sharded");
    until("all is counted", || {
        let stats = coordinator.stats();
        (stats.total_shards, stats.active_shards, stats.local_leader_shards, stats.total_entries) == (16, 16, 16, 1)
    })
    .await;
    cache.shutdown().await;
    Ok(())
}
