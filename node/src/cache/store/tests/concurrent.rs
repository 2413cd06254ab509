//! One writer, several readers: no reader ever meets an older value than was published before it looked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::types::Draw;

const KEYS: usize = 64;
const ROUNDS: u64 = 60_000;

/// What has been published, as far as readers may rely on it.
struct Published {
    /// The version of each key's last published insert.
    inserted: Vec<AtomicU64>,
    /// The version counter at each key's last *begun* removal, and at the last *published* flush.
    removed: Vec<AtomicU64>,
    flushed: AtomicU64,
    done: AtomicBool,
}

fn key(i: usize) -> Vec<u8> {
    format!("key{i}").into_bytes()
}

/// Writes at random and publishes in batches, noting afterwards what readers may rely on.
fn write(mut store: Store, published: &Published) {
    let mut draw = Draw::new(7);
    let (mut version, mut batch, mut flushed) = (0, Vec::new(), 0);
    for round in 1..=ROUNDS {
        let i = draw.below(KEYS as u64) as usize;
        version += 1;
        match draw.below(1000) {
            0 => {
                store.clear();
                (flushed, batch) = (version, Vec::new());
                // From here on any key may be missing.
                published.removed.iter().for_each(|removed| removed.store(version, Ordering::SeqCst));
            }
            1 => {
                let max_entries = draw.below(KEYS as u64);
                store.configure(Capacity { max_entries, max_bytes: 0 }, EvictionPolicy::TinyLfu);
            }
            2..100 => {
                published.removed[i].store(version, Ordering::SeqCst);
                store.remove(&key(i));
            }
            100..200 => store.touch(&key(i)),
            _ => {
                store.insert(Arc::new(Entry::new(&key(i), b"v", Version(version), None)));
                batch.push((i, version));
            }
        }
        if draw.below(4) == 0 {
            store.publish(LogIndex(round), Timestamp(round));
            published.flushed.store(flushed, Ordering::SeqCst);
            batch.drain(..).for_each(|(i, version)| published.inserted[i].store(version, Ordering::SeqCst));
        }
    }
    published.done.store(true, Ordering::SeqCst);
}

fn read(reader: &Reader, published: &Published, seed: u64) {
    let mut draw = Draw::new(seed);
    let mut seen = vec![0; KEYS];
    let mut last = (LogIndex(0), Timestamp(0));
    while !published.done.load(Ordering::SeqCst) {
        let now = reader.published();
        assert!(now.0 >= last.0 && now.1.0 >= now.0.0, "the publication went back from {last:?} to {now:?}");
        last = now;
        // A few hot keys, so that Moka has something to learn.
        let i = draw.below(KEYS as u64).min(draw.below(KEYS as u64)) as usize;
        let inserted = published.inserted[i].load(Ordering::SeqCst);
        let flushed = published.flushed.load(Ordering::SeqCst);
        match version(reader.get(&key(i))) {
            Some(version) => {
                assert!(version >= inserted, "key{i}: {version} is older than the published {inserted}");
                assert!(version > flushed, "key{i}: {version} came back after the flush at {flushed}");
                assert!(version >= seen[i], "key{i}: {version} after {}", seen[i]);
                seen[i] = version;
            }
            None => {
                let removed = published.removed[i].load(Ordering::SeqCst);
                assert!(removed > inserted || inserted == 0, "key{i}: {inserted} was published and is missing");
            }
        }
    }
}

#[test]
fn readers_never_see_less_than_was_published() {
    for max_entries in [0, 20, 1000] {
        let (store, reader) = entry_store(capped(max_entries));
        let published = Published {
            inserted: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            removed: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            flushed: AtomicU64::new(0),
            done: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            for seed in 0..3 {
                let (reader, published) = (reader.clone(), &published);
                scope.spawn(move || read(&reader, published, seed));
            }
            // A writer that panics must not leave the readers waiting for it.
            let writer = scope.spawn(|| write(store, &published));
            let ended = writer.join();
            published.done.store(true, Ordering::SeqCst);
            ended.expect("the writer");
        });
    }
}
