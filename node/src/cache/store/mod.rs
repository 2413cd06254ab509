//! The production [`EntryStore`] of one shard: an authoritative map that any thread reads, one writer, and a Moka tier.
//!
//! [`entry_store`] makes the two halves. The [`Store`] goes to the shard's machine, on the worker that applies; the
//! [`Reader`] to everyone who reads locally. The rules are PROTOCOL 7 and 8:
//!
//! - Only the writer changes anything, in the order map, Moka, published index.
//! - Readers never fill Moka. They leave hints; the writer mirrors what the map holds by then, so no old
//!   value returns.
//! - {map, tier} is one `Generation` behind one atomic pointer. `clear` and `configure` begin a new one, which only the
//!   writer sees until `publish`: a FLUSH, or a restore (clear, insert everything, publish), appears as a whole.
//! - There is a tier only while it can learn something. Without a capacity limit nothing is ever chosen; and Moka's
//!   TinyLFU counts no access before it is half full. Until then the map alone is faster, and a third of the size.

mod let_go;
mod map;
mod order;
mod reader;
mod tier;

#[cfg(test)]
mod tests;

use std::{ops::RangeInclusive, sync::Arc, thread};

use let_go::LetGo;
use map::{KeyHash, Map};
use order::HashOrder;
pub use reader::Reader;
use reader::{Generation, Shared};
use tier::Tier;

use crate::{
    machine::store::{Capacity, Entry, EntryStore, EvictionPolicy, scan_hash, weight},
    types::{LogIndex, Timestamp, Version},
};

/// Entries mirrored per publication while a new tier fills: some 0.1 ms of the worker.
const FILL_BATCH: usize = 128;
/// The smallest and the largest sample of the map for one nomination of up to as many.
const SAMPLE: RangeInclusive<usize> = 64..=4096;
/// Freeing more entries than this takes longer than a worker may pause.
const FREE_INLINE: usize = 10_000;

/// What a store begins with; [`EntryStore::configure`] changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreConfig {
    /// When the shard is full.
    pub capacity: Capacity,
    /// What goes then.
    pub policy: EvictionPolicy,
}

/// An empty store and its read half.
#[must_use]
pub fn entry_store(config: StoreConfig) -> (Store, Reader) {
    let hash = KeyHash::random();
    let map = Arc::new(Map::new(hash.clone()));
    let current = Arc::new(Generation { map, tier: Usage::default().tier(config) });
    let shared = Arc::new(Shared::new(hash, Arc::clone(&current)));
    let store = Store {
        current,
        staged: false,
        order: HashOrder::new(),
        usage: Usage::default(),
        let_go: LetGo::default(),
        filling: None,
        sample_at: 0,
        retired: Vec::new(),
        config,
        shared: Arc::clone(&shared),
    };
    (store, Reader::new(shared))
}

/// The writing half; owned by the machine of the shard.
pub struct Store {
    /// What the writer reads and changes.
    current: Arc<Generation>,
    /// `current` is not yet what readers see.
    staged: bool,
    order: HashOrder,
    usage: Usage,
    let_go: LetGo,
    /// The hash from which the map is yet to be mirrored in a new tier.
    filling: Option<u64>,
    /// The hash where the next sample begins.
    sample_at: u64,
    retired: Vec<Retired>,
    config: StoreConfig,
    shared: Arc<Shared>,
}

impl EntryStore for Store {
    fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.current.map.get(key)
    }

    fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let old = self.current.map.insert(Arc::clone(&entry));
        match &old {
            Some(old) => {
                self.usage.less(old);
                self.let_go.forget(old.version());
                self.order.replace(old, Arc::clone(&entry));
            }
            None => self.order.insert(Arc::clone(&entry)),
        }
        self.usage.more(&entry);
        if self.current.tier.is_none() && self.usage.deserves_tier(self.config) {
            self.begin_tier();
        }
        self.mirror(&entry);
        old
    }

    fn remove(&mut self, key: &[u8]) -> Option<Arc<Entry>> {
        let old = self.current.map.remove(key)?;
        if let Some(tier) = &self.current.tier {
            tier.forget(self.shared.hash.of(key));
        }
        self.usage.less(&old);
        self.let_go.forget(old.version());
        self.order.remove(&old);
        Some(old)
    }

    fn fresh(&self) -> Self {
        let hash = self.shared.hash.clone();
        let usage = Usage::default();
        let tier = usage.tier(self.config);
        Self {
            current: Arc::new(Generation { map: Arc::new(Map::new(hash)), tier }),
            usage,
            staged: true,
            order: HashOrder::new(),
            let_go: LetGo::default(),
            filling: None,
            sample_at: 0,
            retired: Vec::new(),
            config: self.config,
            shared: Arc::clone(&self.shared),
        }
    }

    fn clear(&mut self) {
        let map = Arc::new(Map::new(self.shared.hash.clone()));
        let order = std::mem::replace(&mut self.order, HashOrder::new());
        self.usage = Usage::default();
        let entries = order.len();
        let generation = self.begin(map);
        self.filling = None;
        self.retired.push(Retired { generation, order, entries });
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn scan(&self, from: u64, limit: usize) -> Vec<Arc<Entry>> {
        self.order.scan(from, limit)
    }

    fn configure(&mut self, capacity: Capacity, policy: EvictionPolicy) {
        let config = StoreConfig { capacity, policy };
        if config == self.config {
            return;
        }
        self.config = config;
        self.begin_tier();
    }

    fn touch(&mut self, key: &[u8]) {
        let Some(tier) = &self.current.tier else { return };
        if tier.get(self.shared.hash.of(key), key).is_none()
            && let Some(entry) = self.current.map.get(key)
        {
            self.mirror(&entry);
        }
    }

    fn publish(&mut self, applied: LogIndex, log_time: Timestamp) {
        if std::mem::take(&mut self.staged) {
            self.shared.generation.store(Arc::clone(&self.current));
        }
        self.shared.publish(applied, log_time, self.order.len());
        // Readers may go on; what follows only keeps the tier in shape.
        self.heed_hints();
        self.collect_let_go();
        self.fill(FILL_BATCH);
        self.free_retired();
    }

    fn nominate(&mut self, count: usize, newest: Version) -> Vec<Arc<Entry>> {
        if count == 0 {
            return Vec::new();
        }
        self.fill(*SAMPLE.end());
        if let Some(tier) = &self.current.tier {
            tier.settle();
        }
        self.collect_let_go();
        let seasoned = Version(0)..=newest;
        let fresh = Version(newest.0.saturating_add(1))..=Version(u64::MAX);
        for versions in [seasoned, fresh] {
            let nominated = self.nominate_among(count, &versions);
            if !nominated.is_empty() {
                return nominated;
            }
        }
        Vec::new()
    }
}

impl Store {
    /// Puts an entry of the map in the tier.
    fn mirror(&mut self, entry: &Arc<Entry>) {
        if let Some(tier) = &self.current.tier {
            tier.mirror(self.shared.hash.of(entry.key()), entry);
            self.let_go.forget(entry.version());
        }
    }

    /// Begins a generation with this map and, if one is due, an empty tier; visible from the next publication on. Returns
    /// the one before.
    fn begin(&mut self, map: Arc<Map>) -> Arc<Generation> {
        self.staged = true;
        self.let_go.clear();
        let next = Generation { map, tier: self.usage.tier(self.config) };
        std::mem::replace(&mut self.current, Arc::new(next))
    }

    /// Begins a tier above the same map, by the present settings. Publications fill it bit by bit.
    fn begin_tier(&mut self) {
        let generation = self.begin(Arc::clone(&self.current.map));
        self.filling = self.current.tier.is_some().then_some(0);
        let entries = if generation.tier.is_some() { self.order.len() } else { 0 };
        self.retired.push(Retired { generation, order: HashOrder::new(), entries });
    }

    /// Mirrors what readers missed, as the map has it now.
    fn heed_hints(&mut self) {
        let Some(tier) = &self.current.tier else { return };
        let hints: Vec<_> = tier.hints().collect();
        for hint in hints {
            let key = hint.key();
            if !self.mirrored(&hint)
                && let Some(entry) = self.current.map.get(key)
            {
                self.mirror(&entry);
            }
        }
    }

    /// Takes note of what Moka has let go and the map still has in that version.
    fn collect_let_go(&mut self) {
        let Some(tier) = &self.current.tier else { return };
        for entry in tier.let_go() {
            let current = self.current.map.get(entry.key());
            if current.is_some_and(|current| current.version() == entry.version()) {
                self.let_go.add(entry);
            }
        }
    }

    /// Goes on mirroring the map in a tier that began empty.
    fn fill(&mut self, limit: usize) {
        let Some(from) = self.filling else { return };
        let entries = self.order.scan(from, limit);
        let last = entries.last().filter(|_| entries.len() >= limit);
        self.filling = last.and_then(|entry| scan_hash(entry.key()).checked_add(1));
        for entry in &entries {
            if !self.mirrored(entry) {
                self.mirror(entry);
            }
        }
    }

    fn mirrored(&self, entry: &Entry) -> bool {
        let tier = self.current.tier.as_ref();
        tier.is_some_and(|tier| tier.holds(self.shared.hash.of(entry.key())))
    }

    /// Candidates in a range of versions: those known to be let go, else those that a sample of the map shows to be,
    /// else the sample as it is.
    fn nominate_among(&mut self, count: usize, versions: &RangeInclusive<Version>) -> Vec<Arc<Entry>> {
        let (hash, tier) = (&self.shared.hash, self.current.tier.as_ref());
        let mirrored = |entry: &Entry| tier.is_some_and(|tier| tier.holds(hash.of(entry.key())));
        let known = self.let_go.offer(count, versions.clone(), mirrored);
        if !known.is_empty() {
            return known;
        }
        let mut sample = self.sample(count);
        sample.retain(|entry| versions.contains(&entry.version()));
        if sample.iter().any(|entry| !self.mirrored(entry)) {
            sample.retain(|entry| !self.mirrored(entry));
            sample.sort_unstable_by_key(|entry| entry.version());
        }
        sample.truncate(count);
        sample
    }

    /// Some entries from where the last sample ended, in the order of their hash: as good as at random. Not by age,
    /// which would pick the popular keys that are only read.
    fn sample(&mut self, count: usize) -> Vec<Arc<Entry>> {
        let size = count.saturating_mul(4).clamp(*SAMPLE.start(), *SAMPLE.end()).max(count);
        let mut sample = self.order.scan(self.sample_at, size);
        if sample.len() < size {
            let from_start = self.order.scan(0, size - sample.len());
            sample.extend(from_start.into_iter().take_while(|entry| scan_hash(entry.key()) < self.sample_at));
        }
        let last = sample.last().map_or(0, |entry| scan_hash(entry.key()));
        self.sample_at = last.wrapping_add(1);
        sample
    }

    /// Frees the generations that no reader is in any more. The writer holds each until then, so that no reader ever
    /// pays for the release of a whole map.
    fn free_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let (free, busy) = std::mem::take(&mut self.retired)
            .into_iter()
            .partition(|retired: &Retired| Arc::strong_count(&retired.generation) == 1);
        self.retired = busy;
        for retired in free {
            retired.free();
        }
    }
}

/// How full the map is.
#[derive(Clone, Copy, Default)]
struct Usage {
    entries: u64,
    bytes: u64,
}

impl Usage {
    fn more(&mut self, entry: &Entry) {
        self.entries += 1;
        self.bytes += weight(entry);
    }

    fn less(&mut self, entry: &Entry) {
        self.entries -= 1;
        self.bytes -= weight(entry);
    }

    /// Whether a tier would learn from accesses now. LRU does from the first one on; TinyLFU from half of a limit on.
    fn deserves_tier(self, config: StoreConfig) -> bool {
        let Capacity { max_entries, max_bytes } = config.capacity;
        let half = |used: u64, limit: u64| limit > 0 && used >= limit / 2;
        match config.policy {
            EvictionPolicy::Lru => max_entries > 0 || max_bytes > 0,
            EvictionPolicy::TinyLfu => half(self.entries, max_entries) || half(self.bytes, max_bytes),
        }
    }

    fn tier(self, config: StoreConfig) -> Option<Tier> {
        self.deserves_tier(config).then(|| Tier::new(config.capacity, config.policy)).flatten()
    }
}

/// A generation that was replaced, with the order of its map if that went too.
struct Retired {
    generation: Arc<Generation>,
    order: HashOrder,
    entries: usize,
}

impl Retired {
    fn free(self) {
        let Self { generation, order, entries } = self;
        let free = move || drop((order, generation));
        if entries <= FREE_INLINE {
            free();
        } else {
            // If there is no thread to be had, the closure is dropped right here, which frees all just the same.
            let _ = thread::Builder::new().name("crema-free".into()).spawn(free);
        }
    }
}
