//! From a key to its slot and shard (pure).
//!
//! Every door and every router asks here; nobody else hashes keys. A slot never depends on the number of shards, and
//! nothing here knows which node holds what.

use std::ops::RangeInclusive;

use crc::{CRC_16_XMODEM, Crc, Table};
use xxhash_rust::xxh64::xxh64;

use crate::{error::Error, types::ShardId};

/// How many slots there are, as in Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// The most shards there can be: one for each slot.
pub const MAX_SHARDS: u32 = SLOTS as u32;

/// How many shards a cluster has, unless set.
pub const DEFAULT_SHARDS: u32 = 16;

/// How the library makes slots, unless set.
pub const LIBRARY_SLOT_HASH: SlotHash = SlotHash::XxHash64;

/// How the node binary makes slots, unless set: cluster-aware Redis clients then find their shard themselves.
pub const NODE_SLOT_HASH: SlotHash = SlotHash::Crc16;

/// 16 bytes a step: 8 KiB of table, made at compile time.
static XMODEM: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// How a key becomes a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotHash {
    /// CRC16 (XMODEM) of the key or its `{tag}`, as Redis Cluster; shards own contiguous ranges.
    Crc16,
    /// XXH64 (seed 0) of the key; shard is `slot mod num_shards`.
    XxHash64,
}

impl SlotHash {
    /// The slot of a key.
    #[must_use]
    pub fn slot(self, key: &[u8]) -> u16 {
        match self {
            Self::Crc16 => XMODEM.checksum(hash_tag(key)) % SLOTS,
            Self::XxHash64 => (xxh64(key, 0) % u64::from(SLOTS)) as u16,
        }
    }
}

/// The part of a key that Redis Cluster hashes: what stands between the first `{` and the first `}` after it, unless
/// that is empty; else the whole key.
#[must_use]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    let inner = &key[open + 1..];
    match inner.iter().position(|&b| b == b'}') {
        None | Some(0) => key,
        Some(close) => &inner[..close],
    }
}

/// Which shard owns which slot; versioned, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    version: u64,
    hash: SlotHash,
    num_shards: u32,
}

impl ShardMap {
    /// The map of a cluster that begins with `num_shards` shards, version 1.
    ///
    /// # Panics
    /// Unless `num_shards` is 1 to [`MAX_SHARDS`]; for numbers from outside there is [`Self::try_new`].
    #[must_use]
    pub fn new(hash: SlotHash, num_shards: u32) -> Self {
        assert!((1..=MAX_SHARDS).contains(&num_shards), "{num_shards} shards; 1 to {MAX_SHARDS} are possible");
        Self { version: 1, hash, num_shards }
    }

    /// [`Self::new`] for a number from outside.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `num_shards` is 1 to [`MAX_SHARDS`].
    pub fn try_new(hash: SlotHash, num_shards: u32) -> Result<Self, Error> {
        if (1..=MAX_SHARDS).contains(&num_shards) {
            return Ok(Self::new(hash, num_shards));
        }
        let reason = format!("{num_shards} is not between 1 and {MAX_SHARDS} (the number of slots)");
        Err(Error::Invalid { field: "num_shards", reason })
    }

    /// This map under another version.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// The version of the map: a higher one replaces a lower one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many shards there are.
    #[must_use]
    pub fn num_shards(&self) -> u32 {
        self.num_shards
    }

    /// How keys become slots.
    #[must_use]
    pub fn hash(&self) -> SlotHash {
        self.hash
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot_of(&self, key: &[u8]) -> u16 {
        self.hash.slot(key)
    }

    /// The shard of a key.
    #[must_use]
    pub fn shard_of(&self, key: &[u8]) -> ShardId {
        self.owner(self.slot_of(key))
    }

    /// The shard that owns a slot.
    ///
    /// # Panics
    /// If there is no such slot ([`SLOTS`] or above).
    #[must_use]
    pub fn owner(&self, slot: u16) -> ShardId {
        assert!(slot < SLOTS, "there is no slot {slot}");
        match self.hash {
            // The last shard whose range begins at or before the slot; the inverse of `first_slot`.
            SlotHash::Crc16 => ((u32::from(slot) + 1) * self.num_shards - 1) / MAX_SHARDS,
            SlotHash::XxHash64 => u32::from(slot) % self.num_shards,
        }
    }

    /// The slots of a shard as ranges, rising: one range for `crc16`, one for each slot for `xxhash64` (unless there
    /// is a single shard). Empty when there is no such shard.
    #[must_use]
    pub fn ranges(&self, shard: ShardId) -> Vec<RangeInclusive<u16>> {
        if shard >= self.num_shards {
            return Vec::new();
        }
        match self.hash {
            SlotHash::XxHash64 if self.num_shards > 1 => {
                (shard..MAX_SHARDS).step_by(self.num_shards as usize).map(|s| s as u16..=s as u16).collect()
            }
            SlotHash::Crc16 | SlotHash::XxHash64 => {
                let (first, next) = (self.first_slot(shard), self.first_slot(shard + 1));
                vec![first as u16..=(next - 1) as u16]
            }
        }
    }

    /// Where the range of a shard begins, when ranges are contiguous.
    fn first_slot(&self, shard: ShardId) -> u32 {
        shard * MAX_SHARDS / self.num_shards
    }
}

#[cfg(test)]
mod tests;
