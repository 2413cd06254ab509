//! The state hash: equal states have equal hashes, in whatever order they came about (PROTOCOL 9).
//!
//! The wrapping sum of one 128-bit XXH3 for each entry, so that a change costs two hashes and no walk. Kept by
//! the machine, computed again by the checkpoint writer and by whoever restores.

use std::collections::VecDeque;

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::{machine::store::Entry, types::LogIndex};

const SEED: u64 = 0x6372_656d_615f_6831;
/// Version, whether there is a deadline, deadline, length of the key.
const FRAME_BYTES: usize = 8 + 1 + 8 + 8;
/// Up to here an entry is hashed in one call, from the stack.
const SMALL_BYTES: usize = 512;

/// The hash of one entry. The frame has a fixed size and holds the key's length, so no two entries look alike.
#[must_use]
pub fn entry_hash(entry: &Entry) -> u128 {
    let mut frame = [0_u8; FRAME_BYTES];
    frame[..8].copy_from_slice(&entry.version().0.to_le_bytes());
    frame[8] = u8::from(entry.expires_at().is_some());
    frame[9..17].copy_from_slice(&entry.expires_at().unwrap_or_default().0.to_le_bytes());
    frame[17..].copy_from_slice(&(entry.key().len() as u64).to_le_bytes());

    let key_end = FRAME_BYTES + entry.key().len();
    let end = key_end + entry.value().len();
    if end <= SMALL_BYTES {
        let mut whole = [0_u8; SMALL_BYTES];
        whole[..FRAME_BYTES].copy_from_slice(&frame);
        whole[FRAME_BYTES..key_end].copy_from_slice(entry.key());
        whole[key_end..end].copy_from_slice(entry.value());
        return xxh3_128_with_seed(&whole[..end], SEED);
    }
    let mut stream = Xxh3::with_seed(SEED);
    stream.update(&frame);
    stream.update(entry.key());
    stream.update(entry.value());
    stream.digest128()
}

/// The hash of a set of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateHash(pub u128);

impl StateHash {
    /// With one entry more.
    pub fn add(&mut self, entry: &Entry) {
        self.0 = self.0.wrapping_add(entry_hash(entry));
    }

    /// With one entry less.
    pub fn subtract(&mut self, entry: &Entry) {
        self.0 = self.0.wrapping_sub(entry_hash(entry));
    }
}

/// How many past hashes are kept: reports of slower replicas must find theirs.
const KEPT: usize = 16;

/// The hashes at recent multiples of an interval.
#[derive(Clone, Debug)]
pub(super) struct RecentHashes {
    interval: u64,
    kept: VecDeque<(LogIndex, u128)>,
}

impl RecentHashes {
    pub(super) fn new(interval: u64) -> Self {
        Self { interval: interval.max(1), kept: VecDeque::with_capacity(KEPT) }
    }

    pub(super) fn record(&mut self, index: LogIndex, hash: u128) {
        if !index.0.is_multiple_of(self.interval) {
            return;
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((index, hash));
    }

    pub(super) fn at(&self, index: LogIndex) -> Option<u128> {
        self.iter().find(|(kept, _)| *kept == index).map(|(_, hash)| hash)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (LogIndex, u128)> + '_ {
        self.kept.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Timestamp, Version};

    fn entry(key: &str, value: &str, version: u64, expires_at: Option<u64>) -> Entry {
        Entry::new(key.as_bytes(), value.as_bytes(), Version(version), expires_at.map(Timestamp))
    }

    #[test]
    fn entries_that_differ_anywhere_hash_differently() {
        let all = [
            entry("ab", "c", 1, None),
            entry("a", "bc", 1, None),
            entry("ab", "c", 2, None),
            entry("ab", "c", 1, Some(2)),
            entry("ab", "c", 1, Some(1)),
            entry("ab", "", 1, None),
            entry("", "ab", 1, None),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(entry_hash(a), entry_hash(b), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn the_stack_and_the_stream_agree() {
        let value = "x".repeat(SMALL_BYTES);
        let long = entry("k", &value, 7, Some(9));
        let mut whole = Vec::new();
        whole.extend_from_slice(&7_u64.to_le_bytes());
        whole.push(1);
        whole.extend_from_slice(&9_u64.to_le_bytes());
        whole.extend_from_slice(&1_u64.to_le_bytes());
        whole.extend_from_slice(b"k");
        whole.extend_from_slice(value.as_bytes());
        assert_eq!(entry_hash(&long), xxh3_128_with_seed(&whole, SEED));
    }

    /// A changed number here is a changed format: replicas of two releases would call each other corrupt.
    #[test]
    fn the_hash_is_pinned() {
        let hash = entry_hash(&entry("key", "value", 3, Some(1_000)));
        assert_eq!(format!("{hash:032x}"), "0161b530e32f472d9ed6c90b5f4f45b0");
    }

    #[test]
    fn only_multiples_are_kept_and_only_so_many() {
        let mut recent = RecentHashes::new(4);
        for index in 1..=1_000 {
            recent.record(LogIndex(index), u128::from(index));
        }
        assert_eq!(recent.at(LogIndex(1_000)), Some(1_000));
        assert_eq!(recent.at(LogIndex(999)), None);
        assert_eq!(recent.at(LogIndex(4)), None);
        assert_eq!(recent.iter().count(), KEPT);
    }
}
