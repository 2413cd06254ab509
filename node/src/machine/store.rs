//! Where the machine keeps its entries: a trait with one writer, so that production can read concurrently
//! (`cache::store`) and the simulator can use a plain map.

use std::sync::Arc;

use crate::types::{Key, LogIndex, Timestamp, Value, Version};

/// One key's state. Immutable: a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// The number of its last change.
    pub version: Version,
    /// When it stops being visible.
    pub expires_at: Option<Timestamp>,
}

/// How a full shard chooses what goes; a shared setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// TinyLFU: frequency of access, with LRU admission (Moka's default).
    #[default]
    TinyLfu,
    /// Least recently used.
    Lru,
}

/// What a shard may hold; 0 is no limit. A shared setting, so it is the same on every replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Entries.
    pub max_entries: u64,
    /// Bytes, as [`weight`] counts them.
    pub max_bytes: u64,
}

/// Bytes that count for one entry beyond its key and value.
pub const ENTRY_OVERHEAD_BYTES: u64 = 128;

/// What an entry counts against [`Capacity::max_bytes`].
#[must_use]
pub fn weight(entry: &Entry) -> u64 {
    entry.key.len() as u64 + entry.value.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// The fixed hash that orders `SCAN` and captures: XXH64 of the key with seed 0.
#[must_use]
pub fn scan_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(key, 0)
}

/// The entries of one shard. One owner calls the `&mut` methods; nobody else changes anything.
pub trait EntryStore {
    /// The entry of a key, expired or not. Doesn't count as an access.
    fn get(&self, key: &[u8]) -> Option<Arc<Entry>>;

    /// Puts an entry in the place of the one with its key, and returns that one.
    fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>>;

    /// Removes a key and returns its entry.
    fn remove(&mut self, key: &[u8]) -> Option<Arc<Entry>>;

    /// An empty store for the state that will take this one's place (a snapshot that is being restored). What is
    /// read concurrently stays as it is until the new store's first [`Self::publish`], then changes all at once.
    fn fresh(&self) -> Self
    where
        Self: Sized;

    /// Removes everything; readers see all or nothing of it.
    fn clear(&mut self);

    /// How many entries there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `limit` entries in the order ([`scan_hash`], key), beginning at the hash `from`, and all that share
    /// the hash of the last one (so that a hash is a complete cursor).
    fn scan(&self, from: u64, limit: usize) -> Vec<Arc<Entry>>;

    /// The shared settings that concern the tier above the map.
    fn configure(&mut self, capacity: Capacity, policy: EvictionPolicy);

    /// A linearizable read or a write touched the key: the tier may learn from it.
    fn touch(&mut self, key: &[u8]);

    /// All changes up to `applied` are in; readers may rely on them from now on (PROTOCOL 7).
    fn publish(&mut self, applied: LogIndex, log_time: Timestamp);

    /// Up to `count` entries that should go first, by PROTOCOL 8: those the tier has let go, oldest version
    /// first, else a sample; the newest 1 % of versions (above `newest`) last. Only a proposal: nothing changes.
    fn nominate(&mut self, count: usize, newest: Version) -> Vec<Arc<Entry>>;
}
