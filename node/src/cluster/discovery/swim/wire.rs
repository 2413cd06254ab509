//! The packets of gossip and their bytes (pure). Every bound on what comes from outside is here.

use prost::Message;

use super::{Life, Record};
use crate::types::NodeId;

/// A packet's most bytes before it is sealed: with the seal and the headers below it fits an Ethernet frame.
pub(in crate::cluster::discovery) const MAX_PACKET_BYTES: usize = 1_350;
/// What a node may say besides its addresses.
pub(in crate::cluster::discovery) const MAX_META_BYTES: usize = 900;
/// The longest host name of the DNS, and a port.
const MAX_ADDRESS_BYTES: usize = 253 + 6;

/// One datagram's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster::discovery) struct Packet {
    /// Who sends it.
    pub(super) sender: NodeId,
    /// What it is for.
    pub(super) kind: Kind,
    /// News, whatever it is for.
    pub(super) records: Vec<Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answer with `Ack`, if you are `to`.
    Ping { seq: u64, to: NodeId },
    /// Probe `to` for me.
    PingFor { seq: u64, to: NodeId },
    /// To a `Ping`, or passed on to who asked for one.
    Ack { seq: u64 },
    /// Here I am; tell me everything.
    Join,
    /// News only.
    Gossip,
}

/// Why bytes are no packet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cluster::discovery) enum WireError {
    #[error("{0} bytes; {MAX_PACKET_BYTES} are the most")]
    TooLong(usize),
    #[error("no protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("wrong {0}")]
    Field(&'static str),
}

#[derive(Clone, PartialEq, Message)]
struct WirePacket {
    #[prost(uint64, tag = "1")]
    sender: u64,
    /// 1 ping, 2 ping for, 3 ack, 4 join, 5 gossip.
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(uint64, tag = "4")]
    to: u64,
    #[prost(message, repeated, tag = "5")]
    records: Vec<WireRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct WireRecord {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    /// 1 alive, 2 suspect, 3 dead, 4 left.
    #[prost(uint32, tag = "3")]
    life: u32,
    #[prost(string, tag = "4")]
    gossip: String,
    #[prost(string, tag = "5")]
    raft: String,
    #[prost(string, tag = "6")]
    meta: String,
}

impl Packet {
    pub(super) fn new(sender: NodeId, kind: Kind, records: Vec<Record>) -> Self {
        Self { sender, kind, records }
    }

    /// As many packets as the records need.
    pub(super) fn gossip_of(sender: NodeId, records: impl Iterator<Item = Record>) -> Vec<Self> {
        let mut packets = vec![Self::new(sender, Kind::Gossip, Vec::new())];
        for record in records {
            if packets.last_mut().is_none_or(|packet| !packet.try_add(&record)) {
                packets.push(Self::new(sender, Kind::Gossip, vec![record]));
            }
        }
        packets
    }

    /// Adds a record unless it is in already or does not fit; says whether it is in now.
    pub(super) fn try_add(&mut self, record: &Record) -> bool {
        if self.records.iter().any(|one| one.node == record.node) {
            return true;
        }
        self.records.push(record.clone());
        let fits = self.to_wire().encoded_len() <= MAX_PACKET_BYTES;
        if !fits {
            self.records.pop();
        }
        fits
    }

    pub(in crate::cluster::discovery) fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// Reads [`Self::encode`]; whatever the bytes are, the result is within all bounds or an error.
    pub(in crate::cluster::discovery) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_PACKET_BYTES {
            return Err(WireError::TooLong(bytes.len()));
        }
        let WirePacket { sender, kind, seq, to, records } = WirePacket::decode(bytes)?;
        let kind = match kind {
            1 => Kind::Ping { seq, to: node(to, "to")? },
            2 => Kind::PingFor { seq, to: node(to, "to")? },
            3 => Kind::Ack { seq },
            4 => Kind::Join,
            5 => Kind::Gossip,
            _ => return Err(WireError::Field("kind")),
        };
        let records = records.into_iter().map(Record::try_from).collect::<Result<_, _>>()?;
        Ok(Self { sender: node(sender, "sender")?, kind, records })
    }

    fn to_wire(&self) -> WirePacket {
        let (kind, seq, to) = match self.kind {
            Kind::Ping { seq, to } => (1, seq, to.0),
            Kind::PingFor { seq, to } => (2, seq, to.0),
            Kind::Ack { seq } => (3, seq, 0),
            Kind::Join => (4, 0, 0),
            Kind::Gossip => (5, 0, 0),
        };
        WirePacket { sender: self.sender.0, kind, seq, to, records: self.records.iter().map(to_wire).collect() }
    }
}

fn to_wire(record: &Record) -> WireRecord {
    let Record { node, incarnation, life, gossip, raft, meta } = record;
    let life = match life {
        Life::Alive => 1,
        Life::Suspect => 2,
        Life::Dead => 3,
        Life::Left => 4,
    };
    let gossip = gossip.to_string();
    WireRecord { node: node.0, incarnation: *incarnation, life, gossip, raft: raft.clone(), meta: meta.clone() }
}

impl TryFrom<WireRecord> for Record {
    type Error = WireError;

    fn try_from(wire: WireRecord) -> Result<Self, WireError> {
        let WireRecord { node: id, incarnation, life, gossip, raft, meta } = wire;
        let life = match life {
            1 => Life::Alive,
            2 => Life::Suspect,
            3 => Life::Dead,
            4 => Life::Left,
            _ => return Err(WireError::Field("life")),
        };
        if raft.is_empty() || raft.len() > MAX_ADDRESS_BYTES || raft.contains(|c: char| c.is_control() || c == ' ') {
            return Err(WireError::Field("address"));
        }
        if meta.len() > MAX_META_BYTES {
            return Err(WireError::Field("meta"));
        }
        let gossip = gossip.parse().map_err(|_| WireError::Field("gossip address"))?;
        Ok(Self { node: node(id, "node")?, incarnation, life, gossip, raft, meta })
    }
}

fn node(id: u64, field: &'static str) -> Result<NodeId, WireError> {
    if id == 0 { Err(WireError::Field(field)) } else { Ok(NodeId(id)) }
}
