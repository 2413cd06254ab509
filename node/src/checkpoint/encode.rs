//! Writes a checkpoint, piece by piece, and proves on the way that the entries are those of the head.

use std::{borrow::Cow, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use crema_api::v1::{self as api, checkpoint as pb};
use prost::Message;

use super::{
    BLOCK_HEADER_BYTES, BLOCK_TARGET_BYTES, CRC_BYTES, Compression, ConfState, ENTRY_BYTES, FOOTER_BYTES,
    FORMAT_VERSION, HEADER_BYTES, Head, MAGIC, Peer, TAG_BLOCK, TAG_FOOTER,
};
use crate::{
    machine::{capture::MachineHead, codec, hash::StateHash, store::Entry},
    types::ReplicaId,
};

/// What was written is not what the head says: the capture was not exact, or memory has changed under it. The bytes
/// must not be published (PROTOCOL 18).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the checkpoint's {entries} entries hash to {hash:032x} where its head says {expected_entries} and {expected:032x}"
)]
pub struct HashMismatch {
    /// The state hash by the head.
    pub expected: u128,
    /// The state hash over what was written.
    pub hash: u128,
    /// How many entries the head has.
    pub expected_entries: u64,
    /// How many were written.
    pub entries: u64,
}

/// A checkpoint being written.
#[derive(Debug)]
pub struct Encoder {
    compression: Compression,
    expected: u128,
    expected_entries: u64,
    hash: StateHash,
    blocks: u64,
    entries: u64,
    raw_bytes: u64,
}

impl Encoder {
    /// Begins a checkpoint, compressed: the encoder for the rest, and the header's bytes.
    #[must_use]
    pub fn new(head: &Head) -> (Self, Bytes) {
        Self::with_compression(head, Compression::Lz4)
    }

    /// Begins a checkpoint: the encoder for the rest, and the header's bytes.
    #[must_use]
    pub fn with_compression(head: &Head, compression: Compression) -> (Self, Bytes) {
        let encoder = Self {
            compression,
            expected: head.machine.hash,
            expected_entries: head.machine.entries,
            hash: StateHash::default(),
            blocks: 0,
            entries: 0,
            raw_bytes: 0,
        };
        (encoder, header(head, compression))
    }

    /// The bytes of the next entries; none for none.
    pub fn block(&mut self, entries: &[Arc<Entry>]) -> Bytes {
        let mut out = BytesMut::new();
        let mut raw = Vec::new();
        let mut count = 0;
        for entry in entries {
            self.hash.add(entry);
            put_entry(&mut raw, entry);
            count += 1;
            if raw.len() >= BLOCK_TARGET_BYTES {
                self.close(&mut out, &mut raw, &mut count);
            }
        }
        if count > 0 {
            self.close(&mut out, &mut raw, &mut count);
        }
        out.freeze()
    }

    /// The footer's bytes.
    ///
    /// # Errors
    /// [`HashMismatch`] when what was written is not what the head says.
    pub fn finish(self) -> Result<Bytes, HashMismatch> {
        let Self { compression: _, expected, expected_entries, hash: StateHash(hash), blocks, entries, raw_bytes } =
            self;
        if hash != expected || entries != expected_entries {
            return Err(HashMismatch { expected, hash, expected_entries, entries });
        }
        let mut out = BytesMut::with_capacity(FOOTER_BYTES + CRC_BYTES);
        out.put_u8(TAG_FOOTER);
        out.put_u64_le(blocks);
        out.put_u64_le(entries);
        out.put_u64_le(raw_bytes);
        out.put_u128_le(hash);
        seal(&mut out, 0);
        Ok(out.freeze())
    }

    fn close(&mut self, out: &mut BytesMut, raw: &mut Vec<u8>, count: &mut u32) {
        let packed = match self.compression {
            Compression::Lz4 => Cow::Owned(lz4_flex::block::compress(raw)),
            Compression::Off => Cow::Borrowed(raw.as_slice()),
        };
        let start = out.len();
        out.reserve(BLOCK_HEADER_BYTES + packed.len() + CRC_BYTES);
        out.put_u8(TAG_BLOCK);
        out.put_u32_le(*count);
        out.put_u32_le(raw.len() as u32);
        out.put_u32_le(packed.len() as u32);
        out.put_slice(&packed);
        seal(out, start);
        self.blocks += 1;
        self.entries += u64::from(*count);
        self.raw_bytes += raw.len() as u64;
        raw.clear();
        *count = 0;
    }
}

/// Appends the checksum of what lies behind `start`.
fn seal(out: &mut BytesMut, start: usize) {
    let crc = crc32fast::hash(&out[start..]);
    out.put_u32_le(crc);
}

fn put_entry(raw: &mut Vec<u8>, entry: &Entry) {
    let (key, value, expires_at) = (entry.key(), entry.value(), entry.expires_at());
    raw.reserve(ENTRY_BYTES + key.len() + value.len());
    raw.put_u32_le(key.len() as u32);
    raw.put_u32_le(value.len() as u32);
    raw.put_u64_le(entry.version().0);
    raw.put_u8(u8::from(expires_at.is_some()));
    raw.put_u64_le(expires_at.unwrap_or_default().0);
    raw.put_slice(key);
    raw.put_slice(value);
}

fn header(head: &Head, compression: Compression) -> Bytes {
    let body = head_to_pb(head);
    let len = body.encoded_len();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + len + CRC_BYTES);
    out.put_slice(&MAGIC);
    out.put_u16_le(FORMAT_VERSION);
    out.put_u16_le(compression.flags());
    out.put_u64_le(head.index().0);
    out.put_u64_le(head.term.0);
    out.put_u32_le(len as u32);
    body.encode_raw(&mut out);
    seal(&mut out, 0);
    out.freeze()
}

fn head_to_pb(head: &Head) -> pb::Head {
    // Index and term are in the fixed part.
    let Head { term: _, cluster, group, generation, feature_level, conf, conf_version, peers, machine, map } = head;
    pb::Head {
        cluster_uid: cluster.to_bytes(),
        group: group.0,
        generation: *generation,
        feature_level: u32::from(*feature_level),
        conf: Some(conf_to_pb(conf)),
        conf_version: *conf_version,
        peers: peers.iter().map(peer_to_pb).collect(),
        machine: Some(machine_to_pb(machine)),
        map: map.clone(),
    }
}

fn conf_to_pb(conf: &ConfState) -> api::ConfState {
    let ids = |replicas: &[ReplicaId]| replicas.iter().map(|id| id.0).collect();
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave } = conf;
    api::ConfState {
        voters: ids(voters),
        learners: ids(learners),
        voters_outgoing: ids(voters_outgoing),
        learners_next: ids(learners_next),
        auto_leave: *auto_leave,
    }
}

/// A peer as a message.
pub(crate) fn peer_to_pb(peer: &Peer) -> pb::Peer {
    let Peer { replica, node, incarnation, address } = peer;
    pb::Peer { replica: replica.0, node: node.0, incarnation: incarnation.to_bytes(), address: address.clone() }
}

fn machine_to_pb(machine: &MachineHead) -> pb::Machine {
    let MachineHead { applied: _, log_time, last_version, entries, weight_bytes, hash, settings } = machine;
    pb::Machine {
        log_time: log_time.0,
        last_version: last_version.0,
        entries: *entries,
        weight_bytes: *weight_bytes,
        hash: Bytes::copy_from_slice(&hash.to_le_bytes()),
        settings: Some(codec::settings_to_pb(settings)),
    }
}
