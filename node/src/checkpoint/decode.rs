//! Reads a checkpoint from chunks of any size. What it holds back is at most one block and one chunk; it never
//! panics, whatever the bytes.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use crema_api::v1::{self as api, checkpoint as pb};

use super::{
    BLOCK_HEADER_BYTES, CRC_BYTES, Compression, ConfState, ENTRY_BYTES, FOOTER_BYTES, FORMAT_VERSION, HEADER_BYTES,
    Head, MAGIC, MAX_BLOCK_BYTES, MAX_HEAD_BYTES, Peer, TAG_BLOCK, TAG_FOOTER,
};
use crate::{
    machine::{
        capture::MachineHead,
        codec::{self, FEATURE_LEVEL},
        hash::StateHash,
        store::Entry,
    },
    types::{ClusterUid, GroupId, Incarnation, LogIndex, NodeId, ReplicaId, Term, Timestamp, Version},
};

/// Why bytes are not a checkpoint that this build can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The magic bytes are others.
    #[error("not a checkpoint: it does not begin with MCRS")]
    NotACheckpoint,
    /// Of another release.
    #[error(
        "checkpoint format {found} is not the one this build reads ({FORMAT_VERSION}); use the release that wrote it, or a newer one"
    )]
    Format {
        /// Its format version.
        found: u16,
    },
    /// Made by a newer release at a level that this build does not know.
    #[error("checkpoint of feature level {found}; this build reads 1 to {FEATURE_LEVEL}")]
    Level {
        /// Its level.
        found: u32,
    },
    /// A flag that this build does not know.
    #[error("checkpoint flags {found:#06x} are not known to this build")]
    Flags {
        /// All its flags.
        found: u16,
    },
    /// Bytes have changed since they were written.
    #[error("the checkpoint is damaged: wrong checksum of {part}")]
    Checksum {
        /// Where.
        part: &'static str,
    },
    /// A length that no checkpoint has.
    #[error("the checkpoint is damaged: {part} of {bytes} bytes")]
    Length {
        /// Of what.
        part: &'static str,
        /// The length.
        bytes: u64,
    },
    /// The bytes don't form what they should.
    #[error("the checkpoint is damaged: {part} is malformed")]
    Malformed {
        /// What.
        part: &'static str,
    },
    /// The head's message can't be read.
    #[error("read the head of the checkpoint")]
    Head(#[source] codec::DecodeError),
    /// Head, blocks and footer contradict one another.
    #[error("the checkpoint is damaged: its {what} does not agree with its blocks")]
    Disagrees {
        /// What.
        what: &'static str,
    },
    /// The end is missing.
    #[error("the checkpoint ends too early")]
    Truncated,
    /// There is more behind the end.
    #[error("the checkpoint goes on behind its end")]
    Trailing,
}

/// A piece of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The head: always the first part.
    Head(Box<Head>),
    /// Entries of one block, each in allocations of its own.
    Entries(Vec<Entry>),
    /// The end: counts and state hash were right.
    End,
}

#[derive(Debug)]
enum State {
    Header,
    Blocks,
    Ended,
}

/// A checkpoint being read: [`feed`](Self::feed) a chunk, take [`part`](Self::part)s until there is none, repeat;
/// then [`finish`](Self::finish). After an error it is of no more use.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    compression: Compression,
    buffer: BytesMut,
    expected: u128,
    expected_entries: u64,
    hash: StateHash,
    blocks: u64,
    entries: u64,
    raw_bytes: u64,
}

impl DecodeError {
    /// Whether a newer release wrote this, as far as one can tell: nothing is broken, but this build can't read it.
    #[must_use]
    pub fn is_of_newer_release(&self) -> bool {
        match self {
            Self::Format { .. } | Self::Level { .. } | Self::Flags { .. } => true,
            Self::NotACheckpoint
            | Self::Checksum { .. }
            | Self::Length { .. }
            | Self::Malformed { .. }
            | Self::Head(_)
            | Self::Disagrees { .. }
            | Self::Truncated
            | Self::Trailing => false,
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder before the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Header,
            compression: Compression::default(),
            buffer: BytesMut::new(),
            expected: 0,
            expected_entries: 0,
            hash: StateHash::default(),
            blocks: 0,
            entries: 0,
            raw_bytes: 0,
        }
    }

    /// Takes the next bytes. Take all parts before the next chunk, or they pile up here.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next part, if all its bytes are here.
    ///
    /// # Errors
    /// When the bytes are not a checkpoint, or not a sound one.
    pub fn part(&mut self) -> Result<Option<Part>, DecodeError> {
        match self.state {
            State::Header => self.header(),
            State::Blocks => match self.buffer.first() {
                None => Ok(None),
                Some(&TAG_BLOCK) => self.block(),
                Some(&TAG_FOOTER) => self.footer(),
                Some(_) => Err(DecodeError::Malformed { part: "a block's tag" }),
            },
            State::Ended if self.buffer.is_empty() => Ok(None),
            State::Ended => Err(DecodeError::Trailing),
        }
    }

    /// No more bytes will come.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] unless [`Part::End`] was reached; [`DecodeError::Trailing`] if there is more.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.state {
            State::Header | State::Blocks => Err(DecodeError::Truncated),
            State::Ended if self.buffer.is_empty() => Ok(()),
            State::Ended => Err(DecodeError::Trailing),
        }
    }

    fn header(&mut self) -> Result<Option<Part>, DecodeError> {
        let begin = self.buffer.len().min(MAGIC.len());
        if self.buffer[..begin] != MAGIC[..begin] {
            return Err(DecodeError::NotACheckpoint);
        }
        // Before the checksum: a newer format may have it elsewhere.
        if let Some(version) = self.buffer.get(4..6) {
            let found = u16::from_le_bytes([version[0], version[1]]);
            if found != FORMAT_VERSION {
                return Err(DecodeError::Format { found });
            }
        }
        let Some(mut fixed) = self.buffer.get(MAGIC.len() + 2..HEADER_BYTES) else { return Ok(None) };
        let (flags, index, term) = (fixed.get_u16_le(), fixed.get_u64_le(), fixed.get_u64_le());
        let len = checked_len("its head", fixed.get_u32_le(), MAX_HEAD_BYTES)?;
        let Some(mut part) = self.sealed(HEADER_BYTES + len, "its header")? else { return Ok(None) };
        let compression = Compression::from_flags(flags).ok_or(DecodeError::Flags { found: flags })?;
        let body =
            codec::parse("the head of a checkpoint", part.split_off(HEADER_BYTES)).map_err(DecodeError::Head)?;
        let head = head_from_pb(body, LogIndex(index), Term(term))?;
        self.compression = compression;
        self.expected = head.machine.hash;
        self.expected_entries = head.machine.entries;
        self.state = State::Blocks;
        Ok(Some(Part::Head(Box::new(head))))
    }

    fn block(&mut self) -> Result<Option<Part>, DecodeError> {
        let Some(mut fixed) = self.buffer.get(1..BLOCK_HEADER_BYTES) else { return Ok(None) };
        let count = fixed.get_u32_le();
        let raw_len = checked_len("a block", fixed.get_u32_le(), MAX_BLOCK_BYTES)?;
        let max_packed = match self.compression {
            Compression::Lz4 => lz4_flex::block::get_maximum_output_size(raw_len),
            Compression::Off => raw_len,
        };
        let packed_len = checked_len("a packed block", fixed.get_u32_le(), max_packed)?;
        let Some(part) = self.sealed(BLOCK_HEADER_BYTES + packed_len, "a block")? else { return Ok(None) };
        let raw = unpack(self.compression, &part[BLOCK_HEADER_BYTES..], raw_len)?;
        let entries = entries(&raw, count).ok_or(DecodeError::Malformed { part: "an entry" })?;
        entries.iter().for_each(|entry| self.hash.add(entry));
        self.blocks += 1;
        self.entries += u64::from(count);
        self.raw_bytes += raw_len as u64;
        Ok(Some(Part::Entries(entries)))
    }

    fn footer(&mut self) -> Result<Option<Part>, DecodeError> {
        let Some(mut part) = self.sealed(FOOTER_BYTES, "its footer")? else { return Ok(None) };
        part.advance(1);
        let counts = [part.get_u64_le(), part.get_u64_le(), part.get_u64_le()];
        if counts != [self.blocks, self.entries, self.raw_bytes] || self.entries != self.expected_entries {
            return Err(DecodeError::Disagrees { what: "count" });
        }
        if part.get_u128_le() != self.hash.0 || self.hash.0 != self.expected {
            return Err(DecodeError::Disagrees { what: "state hash" });
        }
        self.state = State::Ended;
        Ok(Some(Part::End))
    }

    /// The next `len` bytes without the checksum behind them, which must be right; `None` when not all are here.
    fn sealed(&mut self, len: usize, part: &'static str) -> Result<Option<Bytes>, DecodeError> {
        if self.buffer.len() < len + CRC_BYTES {
            return Ok(None);
        }
        let bytes = self.buffer.split_to(len).freeze();
        if self.buffer.get_u32_le() != crc32fast::hash(&bytes) {
            return Err(DecodeError::Checksum { part });
        }
        Ok(Some(bytes))
    }
}

/// Reads a whole checkpoint from memory.
///
/// # Errors
/// As [`Decoder`].
pub fn decode_all(bytes: &[u8]) -> Result<(Head, Vec<Entry>), DecodeError> {
    let mut decoder = Decoder::new();
    decoder.feed(bytes);
    let Some(Part::Head(head)) = decoder.part()? else { return Err(DecodeError::Truncated) };
    let mut all = Vec::new();
    while let Some(part) = decoder.part()? {
        match part {
            Part::Entries(entries) => all.extend(entries),
            Part::Head(_) | Part::End => (),
        }
    }
    decoder.finish()?;
    Ok((*head, all))
}

fn unpack(compression: Compression, packed: &[u8], raw_len: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    let raw = match compression {
        Compression::Lz4 => lz4_flex::block::decompress(packed, raw_len).ok().map(Cow::Owned),
        Compression::Off => Some(Cow::Borrowed(packed)),
    };
    raw.filter(|raw| raw.len() == raw_len).ok_or(DecodeError::Malformed { part: "a packed block" })
}

fn checked_len(part: &'static str, len: u32, max: usize) -> Result<usize, DecodeError> {
    if len as usize > max { Err(DecodeError::Length { part, bytes: u64::from(len) }) } else { Ok(len as usize) }
}

/// The entries of a raw block: exactly so many, with nothing behind them.
fn entries(mut raw: &[u8], count: u32) -> Option<Vec<Entry>> {
    // An entry is never smaller than its fixed part, so a wrong count can't ask for more than the block's size.
    if count as usize > raw.len() / ENTRY_BYTES {
        return None;
    }
    let mut entries = Vec::with_capacity(count as usize);
    for _ in 0..count {
        entries.push(entry(&mut raw)?);
    }
    raw.is_empty().then_some(entries)
}

fn entry(raw: &mut &[u8]) -> Option<Entry> {
    let key_len = raw.try_get_u32_le().ok()? as usize;
    let value_len = raw.try_get_u32_le().ok()? as usize;
    let version = Version(raw.try_get_u64_le().ok()?);
    let expires_at = match (raw.try_get_u8().ok()?, raw.try_get_u64_le().ok()?) {
        (0, 0) => None,
        (1, at) => Some(Timestamp(at)),
        _ => return None,
    };
    let (key, rest) = raw.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    *raw = rest;
    Some(Entry::new(key, value, version, expires_at))
}

fn head_from_pb(head: pb::Head, index: LogIndex, term: Term) -> Result<Head, DecodeError> {
    let malformed = |part| DecodeError::Malformed { part };
    let pb::Head { cluster_uid, group, generation, feature_level, conf, conf_version, peers, machine, map } = head;
    let level = u8::try_from(feature_level).ok().filter(|level| (1..=FEATURE_LEVEL).contains(level));
    Ok(Head {
        term,
        cluster: ClusterUid::from_bytes(&cluster_uid).ok_or(malformed("its cluster uid"))?,
        group: GroupId(group),
        generation,
        feature_level: level.ok_or(DecodeError::Level { found: feature_level })?,
        conf: conf_from_pb(conf.ok_or(malformed("its configuration"))?),
        conf_version,
        peers: peers.into_iter().map(peer_from_pb).collect::<Option<_>>().ok_or(malformed("its peer table"))?,
        machine: machine_from_pb(machine.ok_or(malformed("its machine"))?, index)?,
        map,
    })
}

fn conf_from_pb(conf: api::ConfState) -> ConfState {
    let ids = |replicas: Vec<u64>| replicas.into_iter().map(ReplicaId).collect();
    let api::ConfState { voters, learners, voters_outgoing, learners_next, auto_leave } = conf;
    ConfState {
        voters: ids(voters),
        learners: ids(learners),
        voters_outgoing: ids(voters_outgoing),
        learners_next: ids(learners_next),
        auto_leave,
    }
}

/// Reads `peer_to_pb`.
pub(crate) fn peer_from_pb(peer: pb::Peer) -> Option<Peer> {
    let pb::Peer { replica, node, incarnation, address } = peer;
    let incarnation = Incarnation::from_bytes(&incarnation)?;
    Some(Peer { replica: ReplicaId(replica), node: NodeId(node), incarnation, address })
}

fn machine_from_pb(machine: pb::Machine, applied: LogIndex) -> Result<MachineHead, DecodeError> {
    let malformed = DecodeError::Malformed { part: "its machine" };
    let pb::Machine { log_time, last_version, entries, weight_bytes, hash, settings } = machine;
    let hash = <[u8; 16]>::try_from(&hash[..]).map_err(|_| malformed.clone())?;
    Ok(MachineHead {
        applied,
        log_time: Timestamp(log_time),
        last_version: Version(last_version),
        entries,
        weight_bytes,
        hash: u128::from_le_bytes(hash),
        settings: codec::settings_from_pb(settings.ok_or(malformed)?).map_err(DecodeError::Head)?,
    })
}
