//! What a thousand shards cost while nobody uses them.

use std::{
    thread,
    time::{Duration, Instant},
};

use crema_tests::{dev::Dev, load::connect, wait_for};
use serde_json::Value;

const SHARDS: usize = 1000;
/// How long the processor time is watched. Nothing is awaited here: it is the length of a measurement.
const WATCHED: Duration = Duration::from_secs(20);
/// Of one core, for three nodes. The goal is far below; this only notices that groups no longer sleep.
const MOST_PERCENT: f64 = 25.0;

/// The replicas on one node that hibernate.
fn asleep(page: &Value) -> usize {
    let shards = page["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
    shards.iter().filter(|shard| shard["role"] != "none" && shard["asleep"] == true).count()
}

#[test]
fn a_thousand_idle_shards_sleep_and_wake() {
    let mut dev = Dev::start("idle", &["--shards", &SHARDS.to_string()]);
    let started = Instant::now();
    wait_for("every replica of every shard to sleep", || {
        assert!(dev.process.is_running(), "it ended: {}", dev.process.output());
        // Each page lists 1,000 shards: asked all the time, that would be the load.
        thread::sleep(Duration::from_millis(500));
        dev.status()?.iter().all(|page| asleep(page) == SHARDS).then_some(())
    });
    println!("{SHARDS} shards on three nodes sleep after {:.1} s", started.elapsed().as_secs_f64());

    let (watched, before) = (Instant::now(), dev.process.cpu_time());
    thread::sleep(WATCHED);
    let used = dev.process.cpu_time() - before;
    let percent = 100.0 * used.as_secs_f64() / watched.elapsed().as_secs_f64();
    let still = dev.status().unwrap_or_default().iter().map(asleep).sum::<usize>();
    println!("{SHARDS} idle shards, three nodes in one process: {percent:.1} % of one core");
    println!("{still} of {} replicas still sleep afterwards", 3 * SHARDS);
    assert!(percent < MOST_PERCENT, "{percent:.1} % of one core");

    for (number, addr) in dev.resp().into_iter().enumerate() {
        let mut connection = connect(addr).expect("connect");
        let set: String = redis::cmd("SET").arg(number).arg(1).query(&mut connection).expect("a write that wakes");
        assert_eq!(set, "OK");
    }
}
