//! The read half of a shard's store: what any thread may look up without a lock or a queue.
//!
//! Cloned by the library's `get` and by the doors' local reads. A reader changes nothing: not the map, not Moka
//! (PROTOCOL 7). It sees whole generations, so a FLUSH or a restored snapshot appears at once or not at all.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

use super::{
    map::{KeyHash, Map},
    tier::Tier,
};
use crate::{
    machine::store::Entry,
    types::{LogIndex, Timestamp},
};

/// A map and the tier above it, always replaced together.
pub(super) struct Generation {
    pub(super) map: Arc<Map>,
    /// `None` while a tier would learn nothing.
    pub(super) tier: Option<Tier>,
}

/// What the writer publishes and readers load.
pub(super) struct Shared {
    pub(super) hash: KeyHash,
    pub(super) generation: ArcSwap<Generation>,
    len: AtomicUsize,
    log_time: AtomicU64,
    applied: AtomicU64,
}

impl Shared {
    pub(super) fn new(hash: KeyHash, generation: Arc<Generation>) -> Self {
        Self {
            hash,
            generation: ArcSwap::new(generation),
            len: AtomicUsize::new(0),
            log_time: AtomicU64::new(0),
            applied: AtomicU64::new(0),
        }
    }

    /// The last step of a publication: who sees `applied` sees all that was written before.
    pub(super) fn publish(&self, applied: LogIndex, log_time: Timestamp, len: usize) {
        self.len.store(len, Ordering::Release);
        self.log_time.store(log_time.0, Ordering::Release);
        self.applied.store(applied.0, Ordering::Release);
    }
}

/// Reads one shard's published entries; cheap to clone.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The entry of a key, expired or not (the caller judges that), and an access as far as Moka is concerned.
    ///
    /// At least as new as anything that was published before the call; perhaps from the batch being applied. Two calls
    /// for one key never go back in time, except that what FLUSH removes goes at its publication.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        loop {
            let generation = self.0.generation.load();
            let tier = generation.tier.as_ref().map(|tier| (tier, self.0.hash.of(key)));
            let mirrored = tier.and_then(|(tier, hash)| tier.get(hash, key));
            if mirrored.is_some() {
                return mirrored;
            }
            let found = generation.map.get(key);
            // The map may be ahead of the tier by the change that the writer is at. Has the tier got the key since the
            // first look, or is another tier in force, then the next call would meet what was before that change.
            let mirrored = tier.filter(|(tier, hash)| tier.holds(*hash)).and_then(|(tier, hash)| tier.get(hash, key));
            if mirrored.is_some() {
                return mirrored;
            }
            if !Arc::ptr_eq(&generation, &self.0.generation.load()) {
                continue;
            }
            if let (Some(entry), Some((tier, _))) = (&found, tier) {
                tier.hint(entry);
            }
            return found;
        }
    }

    /// How many entries there were at the last publication, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Acquire)
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index up to which all changes are visible to reads from now on, and a log time of at least that index.
    /// (0, 0) before the first publication.
    #[must_use]
    pub fn published(&self) -> (LogIndex, Timestamp) {
        let applied = self.0.applied.load(Ordering::Acquire);
        (LogIndex(applied), Timestamp(self.0.log_time.load(Ordering::Acquire)))
    }
}
