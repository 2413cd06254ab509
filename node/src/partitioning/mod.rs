//! From a key to its slot and shard (pure).

use crate::types::ShardId;

/// How many slots there are, as in Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// How a key becomes a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotHash {
    /// CRC16 (XMODEM) of the key or its `{tag}`, as Redis Cluster; shards own contiguous ranges.
    Crc16,
    /// XXH64 (seed 0) of the key; shard is `slot mod num_shards`.
    XxHash64,
}

/// Which shard owns which slot; versioned, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    version: u64,
    hash: SlotHash,
    num_shards: u32,
}

impl ShardMap {
    /// The map of a cluster that begins with `num_shards` shards (1 to 16,384), version 1.
    #[must_use]
    pub fn new(hash: SlotHash, num_shards: u32) -> Self {
        Self { version: 1, hash, num_shards }
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
        let _ = key;
        0
    }

    /// The shard of a key.
    #[must_use]
    pub fn shard_of(&self, key: &[u8]) -> ShardId {
        u32::from(self.slot_of(key)) % self.num_shards
    }
}
