//! A plain store for the simulator and the tests: an ordered map, and a *model tier* that stands in for Moka.
//!
//! The tier is a deterministic LRU of whole entries. Readers are modelled too ([`ModelStore::read_through`]): what a
//! reader leaves behind takes effect only in [`ModelStore::settle_reads`], so that a test can put writes in between.
//! In production readers only leave a hint; with [`Fault::ReaderFillsTier`] they bring what they have read.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    faults::{Fault, Faults},
    machine::store::{Capacity, Entry, EntryStore, EvictionPolicy, scan_hash, weight},
    types::{Key, LogIndex, Timestamp, Version},
};

/// What the tier holds when the shard's capacity has no limit.
pub const DEFAULT_TIER_ENTRIES: usize = 64;

/// The map and its model tier.
#[derive(Debug, Default)]
pub struct ModelStore {
    map: BTreeMap<(u64, Key), Arc<Entry>>,
    tier: Tier,
    capacity: Capacity,
    /// What readers have left behind and nobody has looked at yet.
    pending: Vec<Arc<Entry>>,
    applied: LogIndex,
    log_time: Timestamp,
    faults: Faults,
}

impl ModelStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Plants [`Fault::ReaderFillsTier`] (tests only).
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What a reader finds in the tier alone.
    #[must_use]
    pub fn tier_get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.tier.get(key)
    }

    /// A reader: the tier first, then the map. Expired entries are found too. On a miss in the tier something is
    /// left behind for [`Self::settle_reads`].
    pub fn read_through(&mut self, key: &[u8]) -> Option<Arc<Entry>> {
        if let Some(entry) = self.tier.get(key) {
            self.tier.touch(key);
            return Some(entry);
        }
        let entry = self.get(key)?;
        self.pending.push(entry.clone());
        Some(entry)
    }

    /// What readers have left behind takes effect. Rightly it is a hint that the key is wanted; the fault puts the
    /// entry that was read into the tier, even when the map has another by now.
    pub fn settle_reads(&mut self) {
        for read in std::mem::take(&mut self.pending) {
            let entry = if self.faults.has(Fault::ReaderFillsTier) { Some(read) } else { self.get(read.key()) };
            if let Some(entry) = entry {
                self.tier.put(entry);
            }
        }
    }

    /// The index and log time that readers may rely on.
    #[must_use]
    pub fn published(&self) -> (LogIndex, Timestamp) {
        (self.applied, self.log_time)
    }

    /// All entries, in the order of [`EntryStore::scan`].
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.map.values()
    }
}

fn place(key: &[u8]) -> (u64, Key) {
    (scan_hash(key), Key::copy_from_slice(key))
}

/// Oldest version first, the newest ones after all others.
fn by_age(entries: &mut [Arc<Entry>], newest: Version) {
    entries.sort_by_key(|entry| (entry.version() > newest, entry.version()));
}

impl EntryStore for ModelStore {
    fn fresh(&self) -> Self {
        let mut fresh = Self::new();
        fresh.set_faults(self.faults);
        fresh
    }

    fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.map.get(&place(key)).cloned()
    }

    fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let old = self.map.insert(place(entry.key()), entry.clone());
        self.tier.put(entry);
        old
    }

    fn remove(&mut self, key: &[u8]) -> Option<Arc<Entry>> {
        let old = self.map.remove(&place(key));
        self.tier.remove(key);
        old
    }

    fn clear(&mut self) {
        self.map.clear();
        // Hints of readers go with the generation that they came from.
        self.pending.clear();
        self.tier.clear();
    }

    fn len(&self) -> usize {
        self.map.len()
    }

    fn scan(&self, from: u64, limit: usize) -> Vec<Arc<Entry>> {
        let mut page: Vec<Arc<Entry>> = Vec::new();
        let mut last = None;
        for ((hash, _), entry) in self.map.range((from, Key::new())..) {
            if page.len() >= limit && last != Some(hash) {
                break;
            }
            page.push(entry.clone());
            last = Some(hash);
        }
        page
    }

    fn configure(&mut self, capacity: Capacity, _policy: EvictionPolicy) {
        // One policy is enough for a model: nobody may depend on which keys the tier lets go.
        self.capacity = capacity;
        self.tier.limit(capacity);
    }

    fn touch(&mut self, key: &[u8]) {
        if let Some(entry) = self.get(key) {
            self.tier.put(entry);
        }
    }

    fn publish(&mut self, applied: LogIndex, log_time: Timestamp) {
        self.applied = applied;
        self.log_time = log_time;
    }

    fn nominate(&mut self, count: usize, newest: Version) -> Vec<Arc<Entry>> {
        let mut gone: Vec<_> = self.iter().filter(|entry| self.tier.get(entry.key()).is_none()).cloned().collect();
        if gone.is_empty() {
            // The tier holds everything: any sample will do, and the map's own order is as good as a draw.
            gone = self.iter().take(count.saturating_mul(4)).cloned().collect();
        }
        by_age(&mut gone, newest);
        gone.truncate(count);
        gone
    }
}

/// A least-recently-used set of entries, bounded by count and weight.
#[derive(Debug, Default)]
struct Tier {
    /// By key: the entry and when it was last used.
    held: BTreeMap<Key, (Arc<Entry>, u64)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    weight_bytes: u64,
    capacity: Capacity,
}

impl Tier {
    fn limit(&mut self, capacity: Capacity) {
        self.capacity = capacity;
        self.trim();
    }

    fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.held.get(key).map(|(entry, _)| entry.clone())
    }

    fn touch(&mut self, key: &[u8]) {
        if let Some(entry) = self.get(key) {
            self.put(entry);
        }
    }

    fn put(&mut self, entry: Arc<Entry>) {
        self.remove(entry.key());
        self.uses += 1;
        self.weight_bytes += weight(&entry);
        self.by_use.insert(self.uses, entry.key_bytes());
        self.held.insert(entry.key_bytes(), (entry, self.uses));
        self.trim();
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((entry, used)) = self.held.remove(key) {
            self.by_use.remove(&used);
            self.weight_bytes -= weight(&entry);
        }
    }

    fn clear(&mut self) {
        self.held.clear();
        self.by_use.clear();
        self.weight_bytes = 0;
    }

    fn trim(&mut self) {
        while self.is_over() {
            let Some((_, key)) = self.by_use.pop_first() else { return };
            if let Some((entry, _)) = self.held.remove(&key) {
                self.weight_bytes -= weight(&entry);
            }
        }
    }

    fn is_over(&self) -> bool {
        let max_entries = match self.capacity.max_entries {
            0 => DEFAULT_TIER_ENTRIES as u64,
            limit => limit,
        };
        let too_heavy = self.capacity.max_bytes > 0 && self.weight_bytes > self.capacity.max_bytes;
        self.held.len() as u64 > max_entries || too_heavy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, version: u64) -> Arc<Entry> {
        Arc::new(Entry::new(key.as_bytes(), key.as_bytes(), Version(version), None))
    }

    fn full() -> ModelStore {
        let mut store = ModelStore::new();
        store.configure(Capacity { max_entries: 2, max_bytes: 0 }, EvictionPolicy::Lru);
        for (n, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            store.insert(entry(key, n as u64 + 1));
        }
        store
    }

    fn names(entries: &[Arc<Entry>]) -> Vec<&[u8]> {
        entries.iter().map(|entry| entry.key()).collect()
    }

    #[test]
    fn the_tier_nominates_what_it_let_go_oldest_first() {
        let mut store = full();
        assert_eq!(names(&store.nominate(10, Version(4))), [b"a", b"b"]);
        store.touch(b"a");
        assert_eq!(names(&store.nominate(10, Version(4))), [b"b", b"c"]);
        assert_eq!(names(&store.nominate(10, Version(1))), [b"b", b"c"], "all new: by age again");
        assert_eq!(names(&store.nominate(1, Version(2))), [b"b"]);
    }

    #[test]
    fn without_candidates_a_sample_is_nominated_newest_last() {
        let mut store = ModelStore::new();
        for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
            store.insert(entry(key, n as u64 + 1));
        }
        assert_eq!(store.nominate(2, Version(2)).len(), 2);
        assert_eq!(store.nominate(9, Version(2)).last().map(|entry| entry.version()), Some(Version(3)));
    }

    #[test]
    fn a_late_reader_leaves_only_a_hint() {
        let mut store = full();
        assert_eq!(store.read_through(b"a").map(|entry| entry.version()), Some(Version(1)));
        store.insert(entry("a", 9));
        store.insert(entry("x", 10));
        store.insert(entry("y", 11));
        store.settle_reads();
        assert_eq!(store.tier_get(b"a").map(|entry| entry.version()), Some(Version(9)));
    }

    #[cfg(feature = "planted-faults")]
    #[test]
    fn the_fault_brings_a_stale_entry_back() {
        let mut store = full();
        store.set_faults(Faults::none().with(Fault::ReaderFillsTier));
        store.read_through(b"a");
        store.insert(entry("a", 9));
        store.settle_reads();
        assert_eq!(store.tier_get(b"a").map(|entry| entry.version()), Some(Version(1)));
    }
}
