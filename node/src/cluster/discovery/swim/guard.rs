//! What stands before the protocol, which believes and keeps whatever it is told (pure).
//!
//! Each packet passes here once it is read. Nothing in it may make this node hold more than [`MAX_MEMBERS`] others, or
//! send to an address that no member is known to have.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr, // tidy: purity because an address is a value here; no socket is opened
};

use foca::{Member, Message, State};

use super::{Id, MAX_MEMBERS, Refused, Swim, wire::Packet};
use crate::types::NodeId;

type Known<'a> = BTreeMap<NodeId, &'a Member<Id>>;

impl Swim {
    /// Fills in what only the receiver knows: the sender's host, and who it is that was called by address.
    pub(super) fn complete(&self, packet: &mut Packet, from: SocketAddr) {
        if packet.header.src.gossip.ip().is_unspecified() {
            packet.header.src.gossip.set_ip(from.ip());
        }
        if packet.header.message == Message::Announce && packet.header.dst.node == NodeId(0) {
            packet.header.dst = self.me().clone();
        }
    }

    /// Takes out of a packet what must not get to the protocol; whether anything is left.
    pub(super) fn guard(&self, packet: &mut Packet) -> Result<bool, Refused> {
        let known: Known<'_> = self.foca.iter_membership_state().map(|member| (member.id().node, member)).collect();
        let backlog = self.foca.updates_backlog().max(self.foca.custom_broadcast_backlog());
        let is_full = known.len() >= MAX_MEMBERS || backlog > 2 * MAX_MEMBERS;
        if is_full && !known.contains_key(&packet.header.src.node) {
            return Err(Refused::Full);
        }
        let mut members: BTreeSet<NodeId> = known.keys().copied().chain([packet.header.src.node]).collect();
        let own = self.me().node;
        if let Some(told) = &mut packet.members {
            told.retain(|member| member.id().node == own || is_welcome(member, &known, &mut members));
            told.iter_mut().for_each(|member| place(member, &known));
        }
        // Words are taken from the same.
        self.heard.lock().members = members;
        Ok(is_answerable(&mut packet.header.message, &known))
    }
}

/// Whether news of a member is taken: of those that are known, and of new ones that live and can be reached, while there
/// is room.
fn is_welcome(member: &Member<Id>, known: &Known<'_>, members: &mut BTreeSet<NodeId>) -> bool {
    let id = member.id();
    if known.contains_key(&id.node) {
        return true;
    }
    let sound = !id.gossip.ip().is_unspecified() && member.state() != State::Down;
    let room = members.contains(&id.node) || members.len() < MAX_MEMBERS;
    if sound && room {
        members.insert(id.node);
    }
    sound && room
}

/// A node that does not know its own host stays where it is known to be.
fn place(member: &mut Member<Id>, known: &Known<'_>) {
    let id = member.id();
    if let Some(known) = known.get(&id.node).filter(|_| id.gossip.ip().is_unspecified()) {
        let id = Id { gossip: known.id().gossip, ..id.clone() };
        *member = Member::new(id, member.incarnation(), member.state());
    }
}

/// Only members are probed on behalf of others, at the address that is known here.
fn is_answerable(message: &mut Message<Id>, known: &Known<'_>) -> bool {
    let (Message::PingReq { target, .. } | Message::IndirectAck { target, .. }) = message else { return true };
    match known.get(&target.node).filter(|member| member.id() == target) {
        Some(member) => {
            *target = member.id().clone();
            true
        }
        None => false,
    }
}
