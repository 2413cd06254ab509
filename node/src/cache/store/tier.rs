//! The Moka tier of one shard: serves hot reads, and learns which entries are worth keeping.
//!
//! [`super::Store`] alone puts entries in and takes them out; [`super::Reader`] looks up and leaves hints. Moka lets
//! entries go by itself, on whichever thread its maintenance runs, readers included: so the eviction listener
//! only drops a note into a bounded channel (PROTOCOL 7). Notes and hints may be lost; nothing depends on them.
//!
//! Moka's key is the 64-bit seeded hash of ours: it costs Moka no copy of the key, and a hit is checked against the
//! entry's own key. Two keys of one hash share a place and take turns in it, which costs a hit but never an answer.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use moka::{
    notification::RemovalCause,
    policy,
    sync::{Cache, CacheBuilder},
};

use crate::machine::store::{Capacity, Entry, EvictionPolicy, weight};

/// Hints from one `publish` to the next: more would only keep the writer longer.
const HINTS: usize = 128;
/// Notes of let-go entries from one `publish` to the next; Moka evicts at most 384 in one maintenance.
const LET_GO: usize = 512;

/// A mirror of a part of the map.
pub(super) struct Tier {
    cache: Cache<u64, Arc<Entry>, AsIs>,
    /// Entries that Moka has evicted to make room.
    let_go: Receiver<Arc<Entry>>,
    /// Entries that a reader found in the map only.
    hints: (Sender<Arc<Entry>>, Receiver<Arc<Entry>>),
}

impl Tier {
    /// An empty tier for a shard of this capacity; `None` without a limit.
    pub(super) fn new(capacity: Capacity, policy: EvictionPolicy) -> Option<Self> {
        let builder = sized(capacity)?.eviction_policy(match policy {
            EvictionPolicy::TinyLfu => policy::EvictionPolicy::tiny_lfu(),
            EvictionPolicy::Lru => policy::EvictionPolicy::lru(),
        });
        let (notes, let_go) = bounded(LET_GO);
        let cache = builder
            .eviction_listener(move |_, entry, cause| {
                // The writer knows of its own removals and replacements.
                if cause == RemovalCause::Size {
                    let _ = notes.try_send(entry);
                }
            })
            .build_with_hasher(AsIs(0));
        Some(Self { cache, let_go, hints: bounded(HINTS) })
    }

    /// Looks up and records the access, a miss too.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<Arc<Entry>> {
        self.cache.get(&hash).filter(|entry| entry.key() == key)
    }

    /// Asks the writer to mirror this key; dropped when it has enough to do.
    pub(super) fn hint(&self, entry: &Arc<Entry>) {
        let _ = self.hints.0.try_send(Arc::clone(entry));
    }

    /// Whether a key of this hash is mirrored; not an access.
    pub(super) fn holds(&self, hash: u64) -> bool {
        self.cache.contains_key(&hash)
    }

    /// Mirrors an entry that is in the map now. Only for the writer.
    pub(super) fn mirror(&self, hash: u64, entry: &Arc<Entry>) {
        self.cache.insert(hash, Arc::clone(entry));
    }

    /// Drops the mirror of a key. Only for the writer.
    pub(super) fn forget(&self, hash: u64) {
        self.cache.invalidate(&hash);
    }

    /// Lets Moka catch up with what was put in and read, so that [`Self::holds`] and the notes are current.
    pub(super) fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    /// The hints so far; at most as many as the channel holds, however fast readers add more.
    pub(super) fn hints(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.hints.1.try_iter().take(HINTS)
    }

    /// The notes of let-go entries so far; bounded likewise.
    pub(super) fn let_go(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.let_go.try_iter().take(LET_GO)
    }
}

/// A Moka cache in the making.
type Builder = CacheBuilder<u64, Arc<Entry>, Cache<u64, Arc<Entry>>>;

/// A builder with the limit; `None` when there is none.
///
/// Moka may hold a 32nd part less than the shard, so that a full shard always has entries that Moka has let go. The
/// newest 1 % are spared (PROTOCOL 8), so without that margin a full shard would have no others to nominate, each
/// sampled victim would make room in Moka, and Moka would never choose anything. With it, a newcomer that TinyLFU turns
/// down also lives long enough to be read and come back by a hint.
///
/// Moka has one limit. With both of ours an entry weighs at least its share of the bytes, so neither is passed.
fn sized(capacity: Capacity) -> Option<Builder> {
    let Capacity { max_entries, max_bytes } = capacity;
    let limit = if max_bytes == 0 { max_entries } else { max_bytes };
    if limit == 0 {
        return None;
    }
    let builder = Cache::builder().max_capacity(limit - (limit / 32).max(1));
    if max_bytes == 0 {
        return Some(builder);
    }
    let share = if max_entries == 0 { 0 } else { max_bytes.div_ceil(max_entries) };
    // Moka's weights have 32 bits: a share above 4 GiB counts as that.
    let weigher = move |_: &u64, entry: &Arc<Entry>| u32::try_from(weight(entry).max(share)).unwrap_or(u32::MAX);
    Some(builder.weigher(weigher))
}

/// Hashes a number to itself: Moka's keys are hashes already.
#[derive(Clone)]
struct AsIs(u64);

impl BuildHasher for AsIs {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("only u64 keys are hashed, not {} bytes", bytes.len());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
