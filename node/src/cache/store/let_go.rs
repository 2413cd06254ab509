//! Which entries Moka has let go and the map still has: the candidates for eviction (PROTOCOL 8).
//!
//! Owned by [`super::Store`]. Derived state: what is lost here is found again by walking the map, so it is bounded and
//! never replicated. It proposes and never removes anything.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use crate::{machine::store::Entry, types::Version};

/// Far more than one eviction batch; a shard at 110 % of 600,000 entries fits.
const MAX_TRACKED: usize = 65_536;

/// Candidates by version. Every one is in the map; the owner says so with [`Self::forget`].
#[derive(Default)]
pub(super) struct LetGo {
    /// Not yet nominated.
    waiting: BTreeMap<Version, Arc<Entry>>,
    /// Nominated since they came in: their evictions may be in flight, or lost.
    offered: BTreeMap<Version, Arc<Entry>>,
}

impl LetGo {
    /// Tracks an entry of the map. When full the newest go: they would be nominated last.
    pub(super) fn add(&mut self, entry: Arc<Entry>) {
        if !self.offered.contains_key(&entry.version()) {
            self.waiting.insert(entry.version(), entry);
        }
        if self.waiting.len() + self.offered.len() > MAX_TRACKED && self.waiting.pop_last().is_none() {
            self.offered.pop_last();
        }
    }

    /// The entry of this version has left the map, or is mirrored again.
    pub(super) fn forget(&mut self, version: Version) {
        self.waiting.remove(&version);
        self.offered.remove(&version);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Up to `count` entries with versions in the range, oldest first. Those offered before come only when there are
    /// no others: their evictions may be in flight. Stops tracking what `mirrored` says Moka has again.
    pub(super) fn offer(
        &mut self,
        count: usize,
        versions: RangeInclusive<Version>,
        mirrored: impl Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        let picked = pick(&mut self.waiting, count, &versions, &mirrored);
        if picked.is_empty() {
            return pick(&mut self.offered, count, &versions, &mirrored);
        }
        for entry in &picked {
            self.waiting.remove(&entry.version());
            self.offered.insert(entry.version(), Arc::clone(entry));
        }
        picked
    }
}

fn pick(
    from: &mut BTreeMap<Version, Arc<Entry>>,
    count: usize,
    versions: &RangeInclusive<Version>,
    mirrored: impl Fn(&Entry) -> bool,
) -> Vec<Arc<Entry>> {
    let (mut picked, mut wrong) = (Vec::new(), Vec::new());
    for (version, entry) in from.range(versions.clone()) {
        match mirrored(entry) {
            true => wrong.push(*version),
            false => picked.push(Arc::clone(entry)),
        }
        if picked.len() == count {
            break;
        }
    }
    for version in wrong {
        from.remove(&version);
    }
    picked
}
