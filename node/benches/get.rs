//! `DistributedCache::get`, and reads and inserts of one shard's store, beside Moka's own: `cargo bench -p crema --bench get`.
//!
//! Prints ns per operation and the ratio to `moka::sync::Cache` in the same run (the goal for `get` is 0.7). With `-- get` no
//! more than the reads.

mod common;

use std::{env, hint::black_box, net::TcpListener, sync::Arc, thread};

use bytes::Bytes;
use common::best;
use crema::{
    CacheConfig, DistributedCache,
    cache::store::{Reader, Store, StoreConfig, entry_store},
    machine::store::{Capacity, Entry, EntryStore, EvictionPolicy},
    types::{Draw, LogIndex, Timestamp, Version},
};
use moka::sync::Cache;

const KEYS: usize = 100_000;
const READS: usize = 1_000_000;
const VALUE: &[u8] = &[7; 256];

fn main() {
    let keys: Vec<Bytes> = (0..KEYS).map(|i| format!("user:{i:08}").into()).collect();
    let picks = picks();
    let moka: Cache<Bytes, Bytes> = Cache::new(3 * KEYS as u64 / 2);
    keys.iter().for_each(|key| moka.insert(key.clone(), Bytes::from_static(VALUE)));
    moka.run_pending_tasks();
    let stores = [("no limit", 0), ("with a tier", 3 * KEYS as u64 / 2), ("full tier", KEYS as u64)]
        .map(|(name, max_entries)| (name, filled(&keys, max_entries)));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let caches = [("no limit", 0), ("with a tier", 3 * KEYS as u64 / 2)]
        .map(|(name, max_entries)| (name, runtime.block_on(cache(&keys, max_entries))));

    for threads in [1, 2] {
        let base = reads(threads, &picks, |i| drop(black_box(moka.get(&keys[i]))));
        println!("get, {threads} thread(s): moka {base:.1} ns");
        for (name, (_, reader)) in &stores {
            let ns = reads(threads, &picks, |i| drop(black_box(reader.get(&keys[i]))));
            println!("get, {threads} thread(s): {name} {ns:.1} ns, {:.2}x of moka's speed", base / ns);
        }
        for (name, cache) in &caches {
            let ns = cache_reads(threads, &picks, cache, &keys);
            let name = format!("DistributedCache::get {name}");
            println!("get, {threads} thread(s): {name} {ns:.1} ns, {:.2}x of moka's speed", base / ns);
        }
    }
    for (_, cache) in caches {
        runtime.block_on(cache.shutdown());
    }

    if env::args().any(|arg| arg == "get") {
        return;
    }

    let base = best(KEYS, || {
        let moka: Cache<Bytes, Bytes> = Cache::new(3 * KEYS as u64 / 2);
        keys.iter().for_each(|key| moka.insert(key.clone(), Bytes::copy_from_slice(VALUE)));
    });
    println!("insert: moka {base:.1} ns");
    for (name, max_entries) in [("no limit", 0), ("with a tier", 3 * KEYS as u64 / 2)] {
        let ns = best(KEYS, || drop(filled(&keys, max_entries)));
        println!("insert: {name} {ns:.1} ns, {:.2}x of moka's speed", base / ns);
    }
    for (name, (mut store, _reader)) in stores {
        let mut version = KEYS as u64;
        let ns = best(READS, || {
            for i in &picks {
                version += 1;
                put(&mut store, &keys[*i], version);
            }
        });
        println!("overwrite: {name} {ns:.1} ns");
    }
}

/// Skewed draws: the smaller of two.
fn picks() -> Vec<usize> {
    let mut draw = Draw::new(1);
    (0..READS).map(|_| draw.below(KEYS as u64).min(draw.below(KEYS as u64)) as usize).collect()
}

fn filled(keys: &[Bytes], max_entries: u64) -> (Store, Reader) {
    let capacity = Capacity { max_entries, max_bytes: 0 };
    let (mut store, reader) = entry_store(StoreConfig { capacity, policy: EvictionPolicy::TinyLfu });
    for (i, key) in keys.iter().enumerate() {
        put(&mut store, key, i as u64 + 1);
    }
    store.publish(LogIndex(1), Timestamp(1));
    (store, reader)
}

/// A node of its own, with all keys.
async fn cache(keys: &[Bytes], max_entries: u64) -> DistributedCache {
    // Free a moment ago; nobody connects to it.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let config = CacheConfig::new(1, free).with_max_capacity(max_entries);
    let cache = DistributedCache::new(config).await.expect("a node");
    for some in keys.chunks(1_000) {
        let puts = some.iter().map(|key| cache.put(key.clone(), Bytes::from_static(VALUE)));
        futures::future::try_join_all(puts).await.expect("puts of a node that is alone");
    }
    cache
}

/// As [`reads`], by a method that is async and never waits.
fn cache_reads(threads: usize, picks: &[usize], cache: &DistributedCache, keys: &[Bytes]) -> f64 {
    best(READS, || {
        let all = || async {
            for i in picks {
                drop(black_box(cache.get(&keys[*i]).await));
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    runtime.block_on(all());
                });
            }
        });
    })
}

/// One write, with a publication after each 64 as group commit makes them.
fn put(store: &mut Store, key: &[u8], version: u64) {
    store.insert(Arc::new(Entry::new(key, VALUE, Version(version), None)));
    if version.is_multiple_of(64) {
        store.publish(LogIndex(version), Timestamp(version));
    }
}

fn reads(threads: usize, picks: &[usize], read: impl Fn(usize) + Sync) -> f64 {
    best(READS, || {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| picks.iter().for_each(|i| read(*i)));
            }
        });
    })
}
