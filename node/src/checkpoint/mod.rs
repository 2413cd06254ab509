//! The checkpoint format `MCRS`: a shard's whole state at one index, as a file or as a Raft snapshot (pure).
//!
//! [`Encoder`] and [`Decoder`] turn captures into bytes and back, piece by piece; `storage` and `network` move the
//! bytes. Nothing here opens a file, and no length from the bytes is believed before it is checked.
//!
//! All numbers are little-endian; each CRC32 covers its part from its first byte on.
//!
//! | part | bytes |
//! |---|---|
//! | header | `MCRS`, version u16, flags u16, Raft index u64, term u64, length u32, `Checkpoint.Head` (protobuf), CRC32 |
//! | block, any number | 1u8, entries u32, raw length u32, packed length u32, packed bytes, CRC32 |
//! | footer | 2u8, blocks u64, entries u64, raw bytes u64, state hash u128, CRC32 |
//!
//! Flag 1 says that the packed bytes are an LZ4 block; without it they are the raw block itself.
//!
//! In a raw block each entry is: key length u32, value length u32, version u64, has a deadline u8, deadline u64, key,
//! value. Entries come in the order (scan hash, key).

mod decode;
mod encode;
mod trigger;

#[cfg(test)]
mod tests;

pub(crate) use self::{decode::peer_from_pb, encode::peer_to_pb};
pub use self::{
    decode::{DecodeError, Decoder, Part, decode_all},
    encode::{Encoder, HashMismatch},
    trigger::{LogGrowth, Trigger, Triggers},
};
use crema_api::v1;

use crate::{
    machine::capture::MachineHead,
    types::{ClusterUid, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Term},
};

/// The first bytes of a checkpoint.
pub const MAGIC: [u8; 4] = *b"MCRS";

/// The format that this build writes, and the only one that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Flag: blocks are LZ4-compressed.
const FLAG_LZ4: u16 = 1;

/// The fixed part of the header, up to the length of its protobuf.
const HEADER_BYTES: usize = 4 + 2 + 2 + 8 + 8 + 4;
/// A block before its packed bytes.
const BLOCK_HEADER_BYTES: usize = 1 + 4 + 4 + 4;
/// The footer without its checksum.
const FOOTER_BYTES: usize = 1 + 8 + 8 + 8 + 16;
/// An entry before its key.
const ENTRY_BYTES: usize = 4 + 4 + 8 + 1 + 8;
const CRC_BYTES: usize = 4;

const TAG_BLOCK: u8 = 1;
const TAG_FOOTER: u8 = 2;

/// The longest protobuf in a header: thousands of peers fit.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// A block is closed once it holds this much: large enough to compress well, small enough to send at once.
const BLOCK_TARGET_BYTES: usize = 256 << 10;
/// The longest raw block: the target and one entry more, which came in a log entry of at most 12 MiB.
const MAX_BLOCK_BYTES: usize = 16 << 20;

/// How blocks are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// By LZ4: a third of the size or less for most data, at more than the speed of a disk.
    #[default]
    Lz4,
    /// Not at all: for values that are compressed already.
    Off,
}

impl Compression {
    fn flags(self) -> u16 {
        match self {
            Self::Lz4 => FLAG_LZ4,
            Self::Off => 0,
        }
    }

    /// What a header's flags say; `None` when one of them is not known to this build.
    fn from_flags(flags: u16) -> Option<Self> {
        match flags {
            FLAG_LZ4 => Some(Self::Lz4),
            0 => Some(Self::Off),
            _ => None,
        }
    }
}

/// Who votes in a group, as Raft has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Voters; in a joint configuration the incoming ones.
    pub voters: Vec<ReplicaId>,
    /// Learners.
    pub learners: Vec<ReplicaId>,
    /// The outgoing voters of a joint configuration.
    pub voters_outgoing: Vec<ReplicaId>,
    /// Outgoing voters that will be learners.
    pub learners_next: Vec<ReplicaId>,
    /// Whether a joint configuration is left without being asked; never set by Crema (PROTOCOL 13).
    pub auto_leave: bool,
}

/// Where a replica of the group lives (PROTOCOL 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The replica.
    pub replica: ReplicaId,
    /// Its node.
    pub node: NodeId,
    /// The life of that node's data which the replica belongs to.
    pub incarnation: Incarnation,
    /// The name of its peer port, resolved at each connect.
    pub address: String,
}

/// Everything that a checkpoint says beside the entries, as of its index (PROTOCOL 17).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The term of the entry at the index.
    pub term: Term,
    /// The cluster that it belongs to.
    pub cluster: ClusterUid,
    /// The group whose state it is.
    pub group: GroupId,
    /// The life of that group.
    pub generation: u64,
    /// The level by which it was made.
    pub feature_level: u8,
    /// Who votes.
    pub conf: ConfState,
    /// The number of the last conf change.
    pub conf_version: u64,
    /// Where the replicas live.
    pub peers: Vec<Peer>,
    /// The machine's scalars, its index included.
    pub machine: MachineHead,
    /// The cluster map, in a snapshot of the meta group; it has no entries.
    pub map: Option<v1::ClusterMap>,
}

impl Head {
    /// The index whose state it is.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.machine.applied
    }
}
