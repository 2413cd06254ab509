//! The bytes of the gossip (pure). Every bound on the values that come from outside is here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr}; // tidy: purity because an address is a value here; no socket is opened

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};
use prost::Message as _;

use super::identity::{Id, MAX_GENERATION};
use crate::types::NodeId;

/// A packet's most bytes before it is sealed: with the seal and the headers below it fits an Ethernet frame.
pub(in crate::cluster::discovery) const MAX_PACKET_BYTES: usize = 1_350;
/// What a node may say besides its addresses.
pub(in crate::cluster::discovery) const MAX_META_BYTES: usize = 900;
/// The longest host name of the DNS, and a port.
const MAX_ADDRESS_BYTES: usize = 253 + 6;

/// One datagram's content, as `foca` lays it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) header: Header<Id>,
    /// News of members; some kinds of packets have no room for any.
    pub(super) members: Option<Vec<Member<Id>>>,
    /// What members say, each with its length before it.
    pub(super) said: Vec<u8>,
}

/// What a node says besides its addresses: of two words the one of the later life, and then of the higher stamp, counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) node: NodeId,
    pub(super) generation: u64,
    pub(super) stamp: u64,
    pub(super) text: String,
}

/// Why bytes are no gossip.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cluster::discovery) enum WireError {
    #[error("{0} bytes; {MAX_PACKET_BYTES} are the most")]
    TooLong(usize),
    #[error("no protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("no room: {0}")]
    Room(#[from] prost::EncodeError),
    #[error("wrong {0}")]
    Field(&'static str),
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireId {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    generation: u64,
    /// 16 bytes, IPv4 mapped: as long as any other, so that filling it in changes no length.
    #[prost(bytes = "vec", tag = "3")]
    ip: Vec<u8>,
    #[prost(fixed32, tag = "4")]
    port: u32,
    #[prost(string, tag = "5")]
    raft: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireHeader {
    #[prost(message, optional, tag = "1")]
    src: Option<WireId>,
    #[prost(uint32, tag = "2")]
    src_incarnation: u32,
    /// Node and generation only.
    #[prost(message, optional, tag = "3")]
    dst: Option<WireId>,
    /// 1 ping, 2 ack, 3 ping for me, 4 ping for another, 5 ack for another, 6 ack passed on, 7 announce, 8 feed,
    /// 9 gossip, 10 broadcast, 11 you are dead.
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(uint32, tag = "5")]
    probe: u32,
    #[prost(message, optional, tag = "6")]
    other: Option<WireId>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireMember {
    #[prost(message, optional, tag = "1")]
    id: Option<WireId>,
    #[prost(uint32, tag = "2")]
    incarnation: u32,
    /// 1 alive, 2 suspect, 3 down.
    #[prost(uint32, tag = "3")]
    state: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSaid {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(uint64, tag = "3")]
    stamp: u64,
    #[prost(string, tag = "4")]
    text: String,
}

/// How `foca` reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire;

impl Codec<Id> for Wire {
    type Error = WireError;

    fn encode_header(&mut self, header: &Header<Id>, mut buf: impl BufMut) -> Result<(), WireError> {
        Ok(header_to(header).encode_length_delimited(&mut buf)?)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Id>, WireError> {
        header_from(WireHeader::decode_length_delimited(&mut buf)?)
    }

    fn encode_member(&mut self, member: &Member<Id>, mut buf: impl BufMut) -> Result<(), WireError> {
        let state = match member.state() {
            State::Alive => 1,
            State::Suspect => 2,
            State::Down => 3,
        };
        let wire = WireMember { id: Some(id_to(member.id())), incarnation: member.incarnation().into(), state };
        Ok(wire.encode_length_delimited(&mut buf)?)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Id>, WireError> {
        let WireMember { id, incarnation, state } = WireMember::decode_length_delimited(&mut buf)?;
        let state = match state {
            1 => State::Alive,
            2 => State::Suspect,
            3 => State::Down,
            _ => return Err(WireError::Field("state")),
        };
        let incarnation = incarnation.try_into().map_err(|_| WireError::Field("incarnation"))?;
        Ok(Member::new(id_from(id)?, incarnation, state))
    }
}

impl Packet {
    /// Reads a datagram; whatever the bytes are, the result is within all bounds or an error.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_PACKET_BYTES {
            return Err(WireError::TooLong(bytes.len()));
        }
        let header = Wire.decode_header(&mut bytes)?;
        let mut members = None;
        if bytes.len() >= 2 && header.message != Message::Broadcast {
            let count = bytes.get_u16();
            // Each takes some bytes, so the count is bounded by them.
            members = Some((0..count).map(|_| Wire.decode_member(&mut bytes)).collect::<Result<_, _>>()?);
        }
        Ok(Self { header, members, said: bytes.to_vec() })
    }

    /// The same datagram again, as it is now.
    pub(super) fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut bytes = Vec::new();
        Wire.encode_header(&self.header, &mut bytes)?;
        if let Some(members) = &self.members {
            bytes.put_u16(members.len().try_into().map_err(|_| WireError::Field("count"))?);
            for member in members {
                Wire.encode_member(member, &mut bytes)?;
            }
        }
        bytes.extend_from_slice(&self.said);
        Ok(bytes)
    }
}

impl Said {
    /// What is higher for the newer of two words.
    pub(super) fn version(&self) -> (u64, u64) {
        (self.generation, self.stamp)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { node, generation, stamp, text } = self;
        WireSaid { node: node.0, generation: *generation, stamp: *stamp, text: text.clone() }.encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let WireSaid { node, generation, stamp, text } = WireSaid::decode(bytes)?;
        if text.len() > MAX_META_BYTES {
            return Err(WireError::Field("meta"));
        }
        Ok(Self { node: self::node(node)?, generation: bounded(generation)?, stamp, text })
    }
}

fn header_to(header: &Header<Id>) -> WireHeader {
    let Header { src, src_incarnation, dst, message } = header;
    let (kind, probe, other) = match message {
        Message::Ping(probe) => (1, *probe, None),
        Message::Ack(probe) => (2, *probe, None),
        Message::PingReq { target, probe_number } => (3, *probe_number, Some(target)),
        Message::IndirectPing { origin, probe_number } => (4, *probe_number, Some(origin)),
        Message::IndirectAck { target, probe_number } => (5, *probe_number, Some(target)),
        Message::ForwardedAck { origin, probe_number } => (6, *probe_number, Some(origin)),
        Message::Announce => (7, 0, None),
        Message::Feed => (8, 0, None),
        Message::Gossip => (9, 0, None),
        Message::Broadcast => (10, 0, None),
        Message::TurnUndead => (11, 0, None),
    };
    WireHeader {
        src: Some(id_to(src)),
        src_incarnation: (*src_incarnation).into(),
        dst: Some(WireId { node: dst.node.0, generation: dst.generation, ..WireId::default() }),
        kind,
        probe: probe.into(),
        other: other.map(id_to),
    }
}

fn header_from(wire: WireHeader) -> Result<Header<Id>, WireError> {
    let WireHeader { src, src_incarnation, dst, kind, probe, other } = wire;
    let probe_number = probe.try_into().map_err(|_| WireError::Field("probe"))?;
    let other = || id_from(other.clone());
    let message = match kind {
        1 => Message::Ping(probe_number),
        2 => Message::Ack(probe_number),
        3 => Message::PingReq { target: other()?, probe_number },
        4 => Message::IndirectPing { origin: other()?, probe_number },
        5 => Message::IndirectAck { target: other()?, probe_number },
        6 => Message::ForwardedAck { origin: other()?, probe_number },
        7 => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        _ => return Err(WireError::Field("kind")),
    };
    let WireId { node, generation, .. } = dst.unwrap_or_default();
    let nowhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    Ok(Header {
        src: id_from(src)?,
        src_incarnation: src_incarnation.try_into().map_err(|_| WireError::Field("incarnation"))?,
        dst: Id { node: NodeId(node), generation: bounded(generation)?, ..Id::seed(nowhere) },
        message,
    })
}

fn id_to(id: &Id) -> WireId {
    let ip = match id.gossip.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    WireId {
        node: id.node.0,
        generation: id.generation,
        ip: ip.octets().to_vec(),
        port: id.gossip.port().into(),
        raft: id.raft.clone(),
    }
}

fn id_from(wire: Option<WireId>) -> Result<Id, WireError> {
    let WireId { node: id, generation, ip, port, raft } = wire.ok_or(WireError::Field("node"))?;
    if raft.is_empty() || raft.len() > MAX_ADDRESS_BYTES || raft.contains(|c: char| c.is_control() || c == ' ') {
        return Err(WireError::Field("address"));
    }
    let ip: [u8; 16] = ip.try_into().map_err(|_| WireError::Field("gossip address"))?;
    let port = port.try_into().map_err(|_| WireError::Field("gossip port"))?;
    let gossip = SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port);
    Ok(Id { node: node(id)?, generation: bounded(generation)?, gossip, raft })
}

fn bounded(generation: u64) -> Result<u64, WireError> {
    if generation > MAX_GENERATION { Err(WireError::Field("generation")) } else { Ok(generation) }
}

fn node(id: u64) -> Result<NodeId, WireError> {
    if id == 0 { Err(WireError::Field("node")) } else { Ok(NodeId(id)) }
}
