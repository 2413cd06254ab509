//! The authoritative map of one shard: lock-free reads from any thread, written by one.
//!
//! Used by [`super::Store`] (which alone writes) and [`super::Reader`]. It knows nothing of Moka, order or versions.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::machine::store::Entry;

/// Key to entry. The key of the inner map is the entry itself, so that a key is held once.
///
/// A papaya insert replaces its whole node, so the inner key moves on to the new entry too (a test watches this: if
/// it ceased to hold, each key would keep its first value alive).
pub(super) struct Map(papaya::HashMap<ByKey, Arc<Entry>, KeyHash>);

impl Map {
    pub(super) fn new(hash: KeyHash) -> Self {
        Self(papaya::HashMap::with_hasher(hash))
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.0.pin().get(key).cloned()
    }

    pub(super) fn insert(&self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.0.pin().insert(ByKey(Arc::clone(&entry)), entry).cloned()
    }

    pub(super) fn remove(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.0.pin().remove(key).cloned()
    }
}

/// An entry that compares and hashes as its key.
struct ByKey(Arc<Entry>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

/// XXH3 of a key with a seed drawn for each store, since clients choose the keys. Decides nothing that is replicated.
#[derive(Clone)]
pub(super) struct KeyHash {
    seed: u64,
}

impl KeyHash {
    pub(super) fn random() -> Self {
        Self { seed: RandomState::new().hash_one(0_u8) }
    }

    pub(super) fn of(&self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher { seed: self.seed }
    }
}

/// Hashes one byte string and nothing else; what follows would be chained through the seed.
pub(super) struct KeyHasher {
    seed: u64,
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.seed = xxh3_64_with_seed(bytes, self.seed);
    }

    /// The length prefix of a slice: XXH3 mixes the length in by itself.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.seed
    }
}
