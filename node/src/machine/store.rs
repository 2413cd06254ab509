//! Where the machine keeps its entries: a trait with one writer, so that production can read concurrently
//! (`cache::store`) and the simulator can use a plain map.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::types::{Key, LogIndex, Timestamp, Value, Version};

/// One key's state. Immutable: a change makes a new one.
///
/// Key and value share one allocation of their own: an entry never keeps a log entry or a network frame alive, and
/// costs 56 bytes beside them. So the fields are behind methods.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, then the value.
    data: Bytes,
    key_len: u32,
    version: Version,
    /// 0 is never.
    expires_at: Timestamp,
}

impl Entry {
    /// Copies key and value into a new entry. A deadline of 0 becomes 1, which is as long past.
    ///
    /// # Panics
    /// When the key is longer than 4 GiB.
    #[must_use]
    pub fn new(key: &[u8], value: &[u8], version: Version, expires_at: Option<Timestamp>) -> Self {
        let key_len = u32::try_from(key.len()).expect("a key is at most 64 KiB");
        let mut data = Vec::with_capacity(key.len() + value.len());
        data.extend_from_slice(key);
        data.extend_from_slice(value);
        Self { data: data.into(), key_len, version, expires_at: pack(expires_at) }
    }

    /// The same key and value under another version and deadline; nothing is copied.
    #[must_use]
    pub fn revised(&self, version: Version, expires_at: Option<Timestamp>) -> Self {
        Self { data: self.data.clone(), key_len: self.key_len, version, expires_at: pack(expires_at) }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.data[..self.key_len as usize]
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.data[self.key_len as usize..]
    }

    /// The key as a handle that shares the entry's bytes (and keeps the value alive with it).
    #[must_use]
    pub fn key_bytes(&self) -> Key {
        self.data.slice(..self.key_len as usize)
    }

    /// The value as a handle that shares the entry's bytes.
    #[must_use]
    pub fn value_bytes(&self) -> Value {
        self.data.slice(self.key_len as usize..)
    }

    /// The number of its last change.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it stops being visible.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.expires_at.0 != 0).then_some(self.expires_at)
    }
}

fn pack(expires_at: Option<Timestamp>) -> Timestamp {
    expires_at.map_or(Timestamp(0), |at| at.max(Timestamp(1)))
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key_bytes())
            .field("value", &self.value_bytes())
            .field("version", &self.version)
            .field("expires_at", &self.expires_at())
            .finish()
    }
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
    entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES
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
