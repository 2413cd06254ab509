//! The bytes of every record (pure): a version, what it says, and a checksum over its kind, its key and both.
//!
//! | record | key | value |
//! |---|---|---|
//! | all | | version u8, the rest, CRC32 of (kind u8, key, version, the rest) |
//! | node | `n` | node u64, incarnation u128, cluster uid u128 or 0 |
//! | birth | `m` | the cluster map that the node began with, as the caller wrote it |
//! | group | `g`, group | state u8 (1 live, 2 gone), replica u64, generation u64 |
//! | bounds | `b`, group, replica | base index u64, base term u64, last index u64, last term u64 |
//! | hard state | group, replica | term u64, vote u64, commit u64 |
//! | entry | group, replica, index | type u8, term u64, context length u32, context, data |
//! | lane's number | `l`, lane | u64 |
//! | lane's count | `c`, lane | u64; a merge adds |
//! | mark | lane | u64 |
//!
//! Numbers in keys (group u32, replica u64, index u64, lane u16) are big-endian, so that they sort; all others are
//! little-endian. The version comes first and the CRC32 last in every version to come.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState};

use super::mark::FORMAT;
use crate::{
    consensus::SnapshotPoint,
    types::{ClusterUid, GroupId, Incarnation, NodeId, ReplicaId},
};

/// The version of every record that this build writes, and the only one that it reads. When it rises, so does
/// [`FORMAT`]: a build that can't read some record must refuse the directory, and not take a sound log for a damaged one.
pub(super) const VERSION: u8 = 1;
const _: () = assert!(VERSION as u64 <= FORMAT);
/// Version and checksum.
const FRAME_BYTES: usize = 1 + 4;

/// What a record is: no record can be taken for one of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Node = 1,
    Group = 2,
    Bounds = 3,
    HardState = 4,
    Entry = 5,
    LaneNumber = 6,
    LaneCount = 7,
    Mark = 8,
    Format = 9,
    Birth = 10,
}

/// Why a record can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRecord {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its version is {0} and this build reads {VERSION}: a newer release wrote it")]
    Newer(u8),
    #[error("what it says makes no sense")]
    Nonsense,
}

/// A record around `body`.
pub(super) fn seal(kind: Kind, key: &[u8], body: &[u8]) -> Vec<u8> {
    sealed_as(VERSION, kind, key, body)
}

/// As a release with that version writes it.
pub(super) fn sealed_as(version: u8, kind: Kind, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + FRAME_BYTES);
    out.push(version);
    out.extend_from_slice(body);
    out.extend_from_slice(&checksum(kind, key, &out).to_le_bytes());
    out
}

/// The body of a record whose checksum is right.
pub(super) fn unseal<'a>(kind: Kind, key: &[u8], record: &'a [u8]) -> Result<&'a [u8], BadRecord> {
    let (content, crc) = record.split_last_chunk::<4>().ok_or(BadRecord::Checksum)?;
    if checksum(kind, key, content) != u32::from_le_bytes(*crc) {
        return Err(BadRecord::Checksum);
    }
    match content.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((&version, _)) if version > VERSION => Err(BadRecord::Newer(version)),
        Some(_) | None => Err(BadRecord::Nonsense),
    }
}

fn checksum(kind: Kind, key: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind as u8]);
    hasher.update(key);
    hasher.update(content);
    hasher.finalize()
}

/// Takes fixed parts off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(BadRecord::Nonsense)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u8(&mut self) -> Result<u8, BadRecord> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, BadRecord> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, BadRecord> {
        self.array().map(u128::from_le_bytes)
    }

    fn point(&mut self) -> Result<SnapshotPoint, BadRecord> {
        Ok(SnapshotPoint { index: self.u64()?, term: self.u64()? })
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], BadRecord> {
        let (first, rest) = self.0.split_at_checked(len).ok_or(BadRecord::Nonsense)?;
        self.0 = rest;
        Ok(first)
    }

    fn end<T>(&self, value: T) -> Result<T, BadRecord> {
        if self.0.is_empty() { Ok(value) } else { Err(BadRecord::Nonsense) }
    }
}

/// The key of the node's own record.
pub(super) const NODE_KEY: &[u8] = b"n";

/// Who this data directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The life of its data.
    pub incarnation: Incarnation,
    /// The cluster that it has entered.
    pub cluster: Option<ClusterUid>,
}

pub(super) fn node_record(identity: &Identity) -> Vec<u8> {
    let Identity { node, incarnation, cluster } = identity;
    let mut body = node.0.to_le_bytes().to_vec();
    body.extend_from_slice(&incarnation.0.to_le_bytes());
    body.extend_from_slice(&cluster.map_or(0, |uid| uid.0).to_le_bytes());
    seal(Kind::Node, NODE_KEY, &body)
}

pub(super) fn read_node(record: &[u8]) -> Result<Identity, BadRecord> {
    let mut body = Reader(unseal(Kind::Node, NODE_KEY, record)?);
    let (node, incarnation, uid) = (NodeId(body.u64()?), Incarnation(body.u128()?), body.u128()?);
    body.end(Identity { node, incarnation, cluster: (uid != 0).then_some(ClusterUid(uid)) })
}

/// The key of the map that the node began with.
pub(super) const BIRTH_KEY: &[u8] = b"m";

pub(super) fn birth_record(birth: &[u8]) -> Vec<u8> {
    seal(Kind::Birth, BIRTH_KEY, birth)
}

pub(super) fn read_birth(record: &[u8]) -> Result<Vec<u8>, BadRecord> {
    unseal(Kind::Birth, BIRTH_KEY, record).map(<[u8]>::to_vec)
}

/// The first byte of a group's key.
pub(super) const GROUP_PREFIX: u8 = b'g';

pub(super) fn group_key(group: GroupId) -> Vec<u8> {
    let mut key = vec![GROUP_PREFIX];
    key.extend_from_slice(&group.0.to_be_bytes());
    key
}

/// The group of a [`group_key`].
pub(super) fn read_group_key(key: &[u8]) -> Option<GroupId> {
    let number = key.strip_prefix(&[GROUP_PREFIX])?;
    Some(GroupId(u32::from_be_bytes(number.try_into().ok()?)))
}

/// Which replica of a group is here, or was the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupRecord {
    Live { replica: ReplicaId, generation: u64 },
    Gone { highest: ReplicaId },
}

pub(super) fn group_record(group: GroupId, says: GroupRecord) -> Vec<u8> {
    let (state, replica, generation) = match says {
        GroupRecord::Live { replica, generation } => (1, replica, generation),
        GroupRecord::Gone { highest } => (2, highest, 0),
    };
    let mut body = vec![state];
    body.extend_from_slice(&replica.0.to_le_bytes());
    body.extend_from_slice(&generation.to_le_bytes());
    seal(Kind::Group, &group_key(group), &body)
}

pub(super) fn read_group(group: GroupId, record: &[u8]) -> Result<GroupRecord, BadRecord> {
    let mut body = Reader(unseal(Kind::Group, &group_key(group), record)?);
    let (state, replica, generation) = (body.u8()?, ReplicaId(body.u64()?), body.u64()?);
    match (state, generation) {
        (1, generation) => body.end(GroupRecord::Live { replica, generation }),
        (2, 0) => body.end(GroupRecord::Gone { highest: replica }),
        _ => Err(BadRecord::Nonsense),
    }
}

/// The key of a replica's hard state, and the beginning of those of its entries.
pub(super) fn replica_key(group: GroupId, replica: ReplicaId) -> Vec<u8> {
    let mut key = group.0.to_be_bytes().to_vec();
    key.extend_from_slice(&replica.0.to_be_bytes());
    key
}

pub(super) fn bounds_key(group: GroupId, replica: ReplicaId) -> Vec<u8> {
    [vec![b'b'], replica_key(group, replica)].concat()
}

/// Where a log begins and ends (PROTOCOL 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The entry before the first.
    pub(super) base: SnapshotPoint,
    /// The last entry; `base` when there is none.
    pub(super) last: SnapshotPoint,
}

pub(super) fn bounds_record(key: &[u8], bounds: Bounds) -> Vec<u8> {
    let Bounds { base, last } = bounds;
    let body: Vec<u8> = [base.index, base.term, last.index, last.term].iter().flat_map(|n| n.to_le_bytes()).collect();
    seal(Kind::Bounds, key, &body)
}

pub(super) fn read_bounds(key: &[u8], record: &[u8]) -> Result<Bounds, BadRecord> {
    let mut body = Reader(unseal(Kind::Bounds, key, record)?);
    let (base, last) = (body.point()?, body.point()?);
    let rises = base.index <= last.index && base.term <= last.term && (base.index < last.index || base == last);
    if rises { body.end(Bounds { base, last }) } else { Err(BadRecord::Nonsense) }
}

pub(super) fn hard_state_record(key: &[u8], hard_state: &HardState) -> Vec<u8> {
    let numbers = [hard_state.term, hard_state.vote, hard_state.commit];
    let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    seal(Kind::HardState, key, &body)
}

pub(super) fn read_hard_state(key: &[u8], record: &[u8]) -> Result<HardState, BadRecord> {
    let mut body = Reader(unseal(Kind::HardState, key, record)?);
    let (term, vote, commit) = (body.u64()?, body.u64()?, body.u64()?);
    body.end(HardState { term, vote, commit, ..Default::default() })
}

pub(super) fn entry_key(group: GroupId, replica: ReplicaId, index: u64) -> Vec<u8> {
    let mut key = replica_key(group, replica);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The index of an [`entry_key`].
pub(super) fn read_entry_index(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|index| u64::from_be_bytes(*index))
}

pub(super) fn entry_record(key: &[u8], entry: &Entry) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + 8 + 4 + entry.context.len() + entry.data.len());
    body.push(entry.get_entry_type() as u8);
    body.extend_from_slice(&entry.term.to_le_bytes());
    body.extend_from_slice(&(entry.context.len() as u32).to_le_bytes());
    body.extend_from_slice(&entry.context);
    body.extend_from_slice(&entry.data);
    seal(Kind::Entry, key, &body)
}

pub(super) fn read_entry(key: &[u8], record: &[u8]) -> Result<Entry, BadRecord> {
    let mut body = Reader(unseal(Kind::Entry, key, record)?);
    let mut entry = Entry::default();
    entry.set_entry_type(match body.u8()? {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(BadRecord::Nonsense),
    });
    entry.index = read_entry_index(key).ok_or(BadRecord::Nonsense)?;
    entry.term = body.u64()?;
    let context = body.u32()? as usize;
    entry.context = Bytes::copy_from_slice(body.slice(context)?);
    entry.data = Bytes::copy_from_slice(body.0);
    Ok(entry)
}

/// The key of a lane's number or count.
pub(super) fn lane_key(kind: Kind, lane: u16) -> Vec<u8> {
    let prefix = if kind == Kind::LaneCount { b'c' } else { b'l' };
    [&[prefix][..], &lane.to_be_bytes()].concat()
}

/// A record of one number.
pub(super) fn number_record(kind: Kind, key: &[u8], number: u64) -> Vec<u8> {
    seal(kind, key, &number.to_le_bytes())
}

pub(super) fn read_number(kind: Kind, key: &[u8], record: &[u8]) -> Result<u64, BadRecord> {
    let mut body = Reader(unseal(kind, key, record)?);
    let number = body.u64()?;
    body.end(number)
}
