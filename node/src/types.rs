//! The vocabulary: ids, indexes and times that must not be mixed up.
//!
//! Every module may use this one; it uses none of them. Numbers that mean different things have different
//! types, so that a term can't be passed where an index is due.

use std::fmt;

use bytes::Bytes;

/// A user's key: 1 byte to [`MAX_KEY_BYTES`].
pub type Key = Bytes;
/// A user's value: up to [`MAX_VALUE_BYTES`].
pub type Value = Bytes;
/// A shard's number, counted from 0.
pub type ShardId = u32;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 64 * 1024;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// A cluster member as the user names it (pod ordinal + 1 on Kubernetes); never 0.
    NodeId
}
number! {
    /// A Raft peer: one replica of one group. Allocated by the cluster map, never reused; never 0.
    ReplicaId
}
number! {
    /// A Raft term.
    Term
}
number! {
    /// A position in a Raft log; the first entry has 1.
    LogIndex
}
number! {
    /// A migration's number; rises with each, never reused. 0 is none.
    MigrationId
}
number! {
    /// Milliseconds since the Unix epoch.
    Timestamp
}
number! {
    /// The number of a change within a shard: rises with every change, never reused. 0 is no version.
    Version
}

impl LogIndex {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Timestamp {
    /// This moment and `ms` milliseconds; stays at the largest moment rather than wrap.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// A Raft group: 0 is the meta group, shard `s` is group `s + 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group that holds the cluster map.
    pub const META: Self = Self(0);

    /// The group of a shard.
    #[must_use]
    pub fn of_shard(shard: ShardId) -> Self {
        Self(shard + 1)
    }

    /// The shard of this group; `None` for the meta group.
    #[must_use]
    pub fn shard(self) -> Option<ShardId> {
        self.0.checked_sub(1)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard() {
            Some(shard) => write!(f, "shard {shard}"),
            None => f.write_str("meta group"),
        }
    }
}

macro_rules! wide_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// The id as 16 bytes, big-endian: its form on the wire and on disk.
            #[must_use]
            pub fn to_bytes(self) -> Bytes {
                Bytes::copy_from_slice(&self.0.to_be_bytes())
            }

            /// Reads [`Self::to_bytes`]; `None` unless it is 16 bytes.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
            }

            /// Reads what [`fmt::Display`] writes; `None` unless it is 32 hex digits.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if is_hex { u128::from_str_radix(text, 16).ok().map(Self) } else { None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

wide_id! {
    /// One life of a node's data: made with a data directory, or at each start in memory mode.
    Incarnation
}
wide_id! {
    /// One formation of a cluster; random, so two clusters never share it.
    ClusterUid
}

/// The time as an input: pure code never asks a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: may jump, differs between machines.
    pub wall: Timestamp,
    /// Milliseconds of this process's monotonic clock, from an arbitrary start.
    pub mono_ms: u64,
}

/// A small deterministic generator (SplitMix64, Steele et al. 2014) for draws that must replay from a seed.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// A generator whose draws are all decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next draw, uniform over `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A draw from `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }
}
