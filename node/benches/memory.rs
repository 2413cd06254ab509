//! Resident memory per small entry beyond its key and value: `cargo bench -p crema --bench memory`.
//!
//! The goal is under 200 bytes. Each case runs in a process of its own, so that none inherits freed memory.

use std::{env, fs, process::Command, sync::Arc};

use crema::{
    cache::store::{StoreConfig, entry_store},
    machine::store::{Capacity, Entry, EntryStore, EvictionPolicy},
    types::{LogIndex, Timestamp, Version},
};

const ENTRIES: u64 = 1_000_000;
const EMPTY_STORES: u64 = 1_000;
const CASES: [&str; 7] =
    ["entries only", "no limit", "no limit, read", "half full", "with a tier", "empty", "empty, with a tier"];

fn main() {
    match env::var("CREMA_BENCH_CASE") {
        Ok(case) => run(&case),
        Err(_) => CASES.iter().for_each(|case| respawn(case)),
    }
}

fn respawn(case: &str) {
    let exe = env::current_exe().expect("the path of this program");
    let status = Command::new(exe).env("CREMA_BENCH_CASE", case).status().expect("this program runs again");
    assert!(status.success(), "the case {case} failed");
}

fn run(case: &str) {
    let max_entries = if case.ends_with("with a tier") { 2 * ENTRIES } else { 0 };
    let config = StoreConfig { capacity: Capacity { max_entries, max_bytes: 0 }, policy: EvictionPolicy::TinyLfu };
    let before = resident_bytes();
    if case.starts_with("empty") {
        let stores: Vec<_> = (0..EMPTY_STORES).map(|_| entry_store(config)).collect();
        println!("{case}: {} bytes per store", (resident_bytes() - before) / stores.len() as u64);
        return;
    }
    let entries = (1..=ENTRIES).map(small);
    if case == "entries only" {
        let kept: Vec<_> = entries.collect();
        return report(case, before, kept.len());
    }
    let (mut store, _reader) = entry_store(config);
    for entry in entries {
        let version = entry.version().0;
        store.insert(entry);
        if version.is_multiple_of(64) {
            store.publish(LogIndex(version), Timestamp(version));
        }
    }
    if case.ends_with("read") {
        // A handle to a value makes its bytes shared, once and for all.
        store.scan(0, usize::MAX).iter().for_each(|entry| drop(entry.value_bytes()));
    }
    report(case, before, store.len());
}

/// A key of 16 bytes and a value of 32.
fn small(i: u64) -> Arc<Entry> {
    Arc::new(Entry::new(format!("user:{i:011}").as_bytes(), &[7; 32], Version(i), None))
}

fn report(case: &str, before: u64, entries: usize) {
    let each = (resident_bytes() - before) / entries as u64;
    println!("{case}: {} bytes per entry beyond key and value", each - 48);
}

/// From `/proc/self/statm`, whose second number counts pages of 4 KiB.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number is the resident size") * 4096
}
