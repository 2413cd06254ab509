//! The writer's index of one shard in the order of `SCAN`: (`scan_hash`, key).
//!
//! Owned by [`super::Store`]; readers never see it. It exists to walk from a hash position at about 10 bytes an
//! entry, where a B-tree of (hash, key) would take 40 and more.
//!
//! It is a linear hash table (Litwin 1980) over the *reversed* bits of the scan hash. So a bucket holds all entries
//! with some prefix of the hash and buckets are walked in prefix order, while growth still splits one bucket
//! at a time and appends the new one at the end: no insert ever pays for the whole table. Buckets are unsorted lists of
//! pointers; an entry leaves by the identity of its pointer, which touches no entry's memory.

use std::{cmp::Ordering, sync::Arc};

use crate::machine::store::{Entry, scan_hash};

/// Entries per bucket on average when one is split: few enough to sort for a scan of ten keys.
const SPLIT_AT: usize = 24;
/// Entries per bucket on average when two are joined; far below half of [`SPLIT_AT`], so that they don't flap.
const JOIN_AT: usize = 6;
/// How many places a bucket grows by: the slack is at most 7 of about 20.
const GROW_BY: usize = 8;

/// All entries, by prefix of the scan hash.
pub(super) struct HashOrder {
    /// Never empty. With `n` buckets and `2^level <= n < 2^(level + 1)`, those below `n - 2^level` and their twins at
    /// the end are told apart by `level + 1` bits, the others by `level`.
    buckets: Vec<Vec<Arc<Entry>>>,
    len: usize,
}

impl HashOrder {
    pub(super) fn new() -> Self {
        Self { buckets: vec![Vec::new()], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry whose key is not in.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let at = self.bucket_of(scan_hash(entry.key())).0;
        push(&mut self.buckets[at], entry);
        self.len += 1;
        if self.len > self.buckets.len() * SPLIT_AT {
            self.split();
        }
    }

    /// Puts `new` in the place of `old`, which is in and has the same key.
    pub(super) fn replace(&mut self, old: &Arc<Entry>, new: Arc<Entry>) {
        let (bucket, at) = self.find(old);
        self.buckets[bucket][at] = new;
    }

    /// Takes out an entry that is in.
    pub(super) fn remove(&mut self, entry: &Arc<Entry>) {
        let (bucket, at) = self.find(entry);
        self.buckets[bucket].swap_remove(at);
        self.len -= 1;
        if self.buckets.len() > 1 && self.len < self.buckets.len() * JOIN_AT {
            self.join();
        }
    }

    /// As [`crate::machine::store::EntryStore::scan`].
    pub(super) fn scan(&self, from: u64, limit: usize) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        let mut position = Some(from);
        while let Some(start) = position
            && found.len() < limit
        {
            let (bucket, last) = self.bucket_of(start);
            let mut part: Vec<(u64, &Arc<Entry>)> = self.buckets[bucket]
                .iter()
                .map(|entry| (scan_hash(entry.key()), entry))
                .filter(|(hash, _)| *hash >= start)
                .collect();
            part.sort_unstable_by(by_position);
            let take = cut(&part, limit - found.len());
            found.extend(part[..take].iter().map(|(_, entry)| Arc::clone(entry)));
            position = last.checked_add(1);
        }
        found
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The bucket for a hash, and the last hash that it is for.
    fn bucket_of(&self, hash: u64) -> (usize, u64) {
        let level = self.buckets.len().ilog2();
        let turned = hash.reverse_bits() as usize;
        let coarse = turned & ((1 << level) - 1);
        let (bucket, bits) =
            if coarse < self.split_buckets() { (turned & ((2 << level) - 1), level + 1) } else { (coarse, level) };
        (bucket, hash | u64::MAX.checked_shr(bits).unwrap_or(0))
    }

    /// How many buckets of the present level have been split.
    fn split_buckets(&self) -> usize {
        self.buckets.len() - (1 << self.buckets.len().ilog2())
    }

    fn find(&self, entry: &Arc<Entry>) -> (usize, usize) {
        let bucket = self.bucket_of(scan_hash(entry.key())).0;
        let at = self.buckets[bucket].iter().position(|other| Arc::ptr_eq(other, entry));
        (bucket, at.expect("every entry of the map is in the order"))
    }

    /// Parts the next bucket in two; the second half becomes the last bucket.
    fn split(&mut self) {
        let level = self.buckets.len().ilog2();
        let from = self.split_buckets();
        let (upper, lower) = std::mem::take(&mut self.buckets[from])
            .into_iter()
            .partition(|entry| (scan_hash(entry.key()).reverse_bits() >> level) & 1 == 1);
        self.buckets[from] = lower;
        self.buckets.push(upper);
    }

    /// Takes the last split back.
    fn join(&mut self) {
        let Some(last) = self.buckets.pop() else { return };
        let twin = self.split_buckets();
        self.buckets[twin].extend(last);
        self.buckets[twin].shrink_to(SPLIT_AT);
    }
}

fn push(bucket: &mut Vec<Arc<Entry>>, entry: Arc<Entry>) {
    if bucket.len() == bucket.capacity() {
        bucket.reserve_exact(GROW_BY);
    }
    bucket.push(entry);
}

fn by_position(a: &(u64, &Arc<Entry>), b: &(u64, &Arc<Entry>)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| a.1.key().cmp(b.1.key()))
}

/// How many of a sorted bucket to take for `limit`: all that share the last one's hash too.
fn cut(sorted: &[(u64, &Arc<Entry>)], limit: usize) -> usize {
    let Some((last, _)) = limit.checked_sub(1).and_then(|at| sorted.get(at)) else {
        return limit.min(sorted.len());
    };
    limit + sorted[limit..].iter().take_while(|(hash, _)| hash == last).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Version;

    #[test]
    fn all_that_share_the_last_hash_are_taken() {
        let entry = Arc::new(Entry::new(b"k", b"", Version(1), None));
        let sorted: Vec<_> = [1, 5, 5, 5, 9].into_iter().map(|hash| (hash, &entry)).collect();
        let taken: Vec<_> = (0..=6).map(|limit| cut(&sorted, limit)).collect();
        assert_eq!(taken, [0, 1, 4, 4, 4, 5, 5]);
    }
}
