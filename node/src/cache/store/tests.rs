//! The store against a plain ordered map, its read half under concurrency, and its nominations.

mod concurrent;
mod model;
mod nominate;

use std::{
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{Reader, Store, StoreConfig, entry_store};
use crate::{
    machine::store::{Capacity, Entry, EntryStore, EvictionPolicy},
    types::{LogIndex, Timestamp, Version},
};

fn entry(key: &str, version: u64) -> Arc<Entry> {
    Arc::new(Entry::new(key.as_bytes(), format!("v{version}").as_bytes(), Version(version), None))
}

fn capped(max_entries: u64) -> StoreConfig {
    StoreConfig { capacity: Capacity { max_entries, max_bytes: 0 }, policy: EvictionPolicy::TinyLfu }
}

/// A store with the keys `k1` to `kN` under the versions 1 to N, published.
fn filled(config: StoreConfig, n: u64) -> (Store, Reader) {
    let (mut store, reader) = entry_store(config);
    for i in 1..=n {
        store.insert(entry(&format!("k{i}"), i));
    }
    store.publish(LogIndex(n), Timestamp(n));
    (store, reader)
}

fn version(entry: Option<Arc<Entry>>) -> Option<u64> {
    entry.map(|entry| entry.version().0)
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::yield_now();
    }
}

#[test]
fn publication_shows_index_time_and_len_together() {
    let (mut store, reader) = entry_store(StoreConfig::default());
    assert_eq!((reader.published(), reader.len()), ((LogIndex(0), Timestamp(0)), 0));
    store.insert(entry("a", 1));
    store.publish(LogIndex(7), Timestamp(70));
    assert_eq!((reader.published(), reader.len()), ((LogIndex(7), Timestamp(70)), 1));
    assert_eq!(version(reader.get(b"a")), Some(1));
    assert_eq!(version(reader.get(b"b")), None);
}

#[test]
fn a_flush_appears_as_a_whole_with_what_follows_it() {
    for config in [StoreConfig::default(), capped(100)] {
        let (mut store, reader) = filled(config, 10);
        store.clear();
        store.insert(entry("k3", 11));
        assert_eq!(store.len(), 1);
        assert_eq!(version(store.get(b"k3")), Some(11));
        assert_eq!(version(store.get(b"k4")), None);
        // Nothing of it before the publication …
        let seen: Vec<_> = (1..=10).map(|i| version(reader.get(format!("k{i}").as_bytes()))).collect();
        assert_eq!(seen, (1..=10).map(Some).collect::<Vec<_>>());
        // … and all of it after.
        store.publish(LogIndex(11), Timestamp(11));
        let seen: Vec<_> = (1..=10).filter_map(|i| version(reader.get(format!("k{i}").as_bytes()))).collect();
        assert_eq!((seen, reader.len()), (vec![11], 1));
    }
}

#[test]
fn both_limits_hold_for_the_tier_at_once() {
    let capacity = Capacity { max_entries: 100, max_bytes: 100 * 1024 };
    let (mut store, _reader) = filled(StoreConfig { capacity, policy: EvictionPolicy::Lru }, 130);
    assert_eq!(store.nominate(80, Version(130)).len(), 34, "the entries beyond the 96 that Moka may hold");

    let capacity = Capacity { max_entries: 1000, max_bytes: 140 * 20 };
    let (mut store, _reader) = filled(StoreConfig { capacity, policy: EvictionPolicy::Lru }, 80);
    assert!(store.nominate(80, Version(80)).len() >= 60, "an entry weighs more than 128 bytes");
}

#[test]
fn an_overwritten_or_removed_entry_is_freed() {
    for config in [StoreConfig::default(), capped(100)] {
        let (mut store, reader) = entry_store(config);
        let mut old: Vec<Weak<Entry>> = Vec::new();
        for i in 1..=20_000 {
            let new = entry("k", i);
            old.push(Arc::downgrade(&new));
            store.insert(new);
            store.publish(LogIndex(i), Timestamp(i));
            let _ = reader.get(b"k");
        }
        store.remove(b"k");
        let alive = old.iter().filter(|entry| entry.strong_count() > 0).count();
        // What the map's and Moka's batched reclamation still holds.
        assert!(alive < 2_000, "{alive} of 20000 old entries are alive");
    }
}

#[test]
fn a_large_flushed_map_is_freed() {
    let (mut store, reader) = filled(capped(20_000), 20_000);
    let weak = Arc::downgrade(&reader.get(b"k77").expect("present"));
    store.clear();
    store.publish(LogIndex(20_001), Timestamp(1));
    let mut index = 20_001;
    eventually("the old map to be freed", || {
        index += 1;
        store.publish(LogIndex(index), Timestamp(1));
        weak.strong_count() == 0
    });
}
