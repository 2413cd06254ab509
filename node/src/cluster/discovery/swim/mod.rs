//! Who is there, by gossip (pure): the SWIM protocol (Das, Gupta, Motivala 2002) with suspicion and refutation.
//!
//! [`Swim`] takes packets and ticks and returns packets; `memberlist` owns the socket and the clock. Each round it
//! probes one member; who does not answer, not through others either, is suspected, and dead when it does not object
//! in time. News travels on the packets that are sent anyway. Of two records of a node the one with the higher
//! (incarnation, life) is right, so that the order of arrival does not matter.
//!
//! What is learned here is a hint. A member of the gossip need not be a member of the cluster, nor the reverse.

use std::{
    collections::BTreeMap,
    net::SocketAddr, // tidy: purity because an address is a value here; no socket is opened
};

use crate::types::{Draw, NodeId};

mod probe;
mod records;
mod rumours;
mod wire;

#[cfg(test)]
pub(super) use wire::MAX_PACKET_BYTES;
pub(super) use wire::{MAX_META_BYTES, Packet};

use probe::Probing;
use records::Member;
use rumours::Rumours;
use wire::Kind;

/// How fast things go. The defaults notice a death in about five seconds in a small cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// One member is probed in each.
    pub(super) probe_interval_ms: u64,
    /// A direct answer is waited for so long, then others are asked to try; less than `probe_interval_ms`.
    pub(super) probe_timeout_ms: u64,
    /// News is sent, if there is any, so often.
    pub(super) gossip_interval_ms: u64,
    /// One member is asked for everything it knows so often; it heals what gossip missed, partitions included.
    pub(super) sync_interval_ms: u64,
    /// Seeds that are not known to live are asked so often.
    pub(super) seed_interval_ms: u64,
    /// A suspect dies after so many probe intervals, times the digits of the cluster's size.
    pub(super) suspicion_intervals: u64,
    /// The dead are forgotten after this long.
    pub(super) reap_after_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe_interval_ms: 1_000,
            probe_timeout_ms: 500,
            gossip_interval_ms: 200,
            sync_interval_ms: 10_000,
            seed_interval_ms: 2_000,
            suspicion_intervals: 4,
            reap_after_ms: 600_000,
        }
    }
}

/// Members that news is sent to in each gossip interval, and that are asked to probe on one's behalf.
const FANOUT: usize = 3;

/// How a node is said to be; of one incarnation the later word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// It answers.
    Alive,
    /// It did not answer somebody, and may still object.
    Suspect,
    /// It did not object.
    Dead,
    /// It said that it goes.
    Left,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Which node.
    pub(super) node: NodeId,
    /// Raised by the node itself with each change of its own record, and to object to a suspicion.
    pub(super) incarnation: u64,
    /// How it is said to be.
    pub(super) life: Life,
    /// Where it gossips.
    pub(super) gossip: SocketAddr,
    /// Where its gRPC door is.
    pub(super) raft: String,
    /// Its leader hints.
    pub(super) meta: String,
}

/// A packet and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) to: SocketAddr,
    pub(super) packet: Packet,
}

/// One node's view of the gossip.
#[derive(Debug)]
pub(super) struct Swim {
    settings: Settings,
    draw: Draw,
    me: Record,
    seeds: Vec<SocketAddr>,
    members: BTreeMap<NodeId, Member>,
    rumours: Rumours,
    probing: Probing,
    next_gossip: u64,
    next_sync: u64,
    next_seeds: u64,
    changed: bool,
    /// How often a record of this node came with another door in it.
    contested: u32,
    out: Vec<Outgoing>,
}

impl Swim {
    /// A node that knows its seeds and nobody else. `me.incarnation` should be higher than in its earlier life (a
    /// wall clock does); if it is not, it is raised as soon as the earlier one is heard of.
    pub(super) fn new(settings: Settings, me: Record, seeds: Vec<SocketAddr>, seed: u64) -> Self {
        Self {
            settings,
            draw: Draw::new(seed),
            me,
            seeds,
            members: BTreeMap::new(),
            rumours: Rumours::default(),
            probing: Probing::default(),
            next_gossip: 0,
            next_sync: 0,
            next_seeds: 0,
            changed: false,
            contested: 0,
            out: Vec::new(),
        }
    }

    /// Time passes. To be called several times in each of the settings' intervals.
    pub(super) fn on_tick(&mut self, now_ms: u64) -> Vec<Outgoing> {
        self.probe(now_ms);
        self.bury(now_ms);
        if due(&mut self.next_seeds, now_ms, self.settings.seed_interval_ms) {
            self.ask_seeds();
        }
        if due(&mut self.next_sync, now_ms, self.settings.sync_interval_ms) {
            self.ask_somebody();
        }
        if due(&mut self.next_gossip, now_ms, self.settings.gossip_interval_ms) && !self.rumours.is_empty() {
            for to in self.some_living(FANOUT, None) {
                self.send(to, Kind::Gossip);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// A packet has come. What is in it was checked for its form only.
    pub(super) fn on_packet(&mut self, from: SocketAddr, packet: Packet, now_ms: u64) -> Vec<Outgoing> {
        let Packet { sender, kind, records } = packet;
        if sender == self.me.node {
            // Its own, through a seed list that names it.
            return Vec::new();
        }
        for mut record in records {
            if record.node == sender && record.gossip.ip().is_unspecified() {
                record.gossip.set_ip(from.ip());
            }
            if !record.gossip.ip().is_unspecified() {
                self.learn(record, now_ms);
            }
        }
        match kind {
            Kind::Ping { seq, to } if to == self.me.node => self.send(from, Kind::Ack { seq }),
            // The address had another node before.
            Kind::Ping { .. } => {}
            Kind::PingFor { seq, to } => self.relay(seq, to, from, now_ms),
            Kind::Ack { seq } => self.on_ack(seq),
            Kind::Join => self.tell_everything(from),
            Kind::Gossip => {}
        }
        self.meet(sender, from, kind);
        std::mem::take(&mut self.out)
    }

    /// This node has something else to say about itself.
    pub(super) fn set_meta(&mut self, meta: String) {
        if self.me.meta != meta {
            self.me.meta = meta;
            self.reassert(self.me.incarnation);
        }
    }

    /// Says goodbye to some members, who tell the others. Nothing else should be called afterwards.
    pub(super) fn leave(&mut self) -> Vec<Outgoing> {
        self.me.life = Life::Left;
        self.rumours.add(self.me.node);
        for to in self.some_living(2 * FANOUT, None) {
            self.send(to, Kind::Gossip);
        }
        std::mem::take(&mut self.out)
    }

    /// The others, ascending by node; those that died or left lately included.
    pub(super) fn members(&self) -> impl Iterator<Item = &Record> {
        self.members.values().map(|member| &member.record)
    }

    /// Whether [`Self::members`] changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// A living seed needs no question: what it knows arrives as gossip.
    fn ask_seeds(&mut self) {
        let known = |seed: &SocketAddr| {
            self.members().any(|record| record.gossip == *seed && record.life == Life::Alive)
                || *seed == self.me.gossip
        };
        let ask: Vec<_> = self.seeds.iter().filter(|seed| !known(seed)).copied().collect();
        for seed in ask {
            self.send(seed, Kind::Join);
        }
    }

    /// The dead are asked too: after a partition each side holds the other for dead.
    fn ask_somebody(&mut self) {
        let there: Vec<_> = self.members().filter(|record| record.life != Life::Left).map(|one| one.gossip).collect();
        if let Some(to) = there.get(self.draw.below(there.len() as u64) as usize) {
            self.send(*to, Kind::Join);
        }
    }

    /// All records, in as many packets as it takes, this node's first.
    fn tell_everything(&mut self, to: SocketAddr) {
        let all = std::iter::once(self.me.clone()).chain(self.members().cloned());
        for packet in Packet::gossip_of(self.me.node, all) {
            self.out.push(Outgoing { to, packet });
        }
    }

    /// Whoever speaks and is unknown here is asked who it is; whoever is thought to be gone hears of it, and objects.
    fn meet(&mut self, sender: NodeId, from: SocketAddr, kind: Kind) {
        let me = self.me.clone();
        let say = match self.members.get(&sender) {
            // An answer to a Join tells who it is; asking again would not end.
            None if kind == Kind::Gossip => return,
            None => vec![Packet::new(me.node, Kind::Join, vec![me])],
            Some(member) if member.record.life > Life::Alive => {
                // With this node's own record: should the other hold it for dead, that ends with this packet.
                Packet::gossip_of(me.node, [me, member.record.clone()].into_iter())
            }
            Some(_) => return,
        };
        self.out.extend(say.into_iter().map(|packet| Outgoing { to: from, packet }));
    }

    /// A packet with as much news as fits.
    fn send(&mut self, to: SocketAddr, kind: Kind) {
        let mut packet = Packet::new(self.me.node, kind, Vec::new());
        if kind == Kind::Join {
            packet.records.push(self.me.clone());
        }
        let copies = rumours::copies(self.members.len() + 1);
        let (me, members) = (&self.me, &self.members);
        let find = |node: NodeId| if node == me.node { Some(me) } else { members.get(&node).map(|one| &one.record) };
        self.rumours.fill(&mut packet, copies, find);
        self.out.push(Outgoing { to, packet });
    }

    /// Up to `count` living members, at random.
    fn some_living(&mut self, count: usize, except: Option<NodeId>) -> Vec<SocketAddr> {
        let living = self.members().filter(|record| record.life <= Life::Suspect && Some(record.node) != except);
        let mut living: Vec<_> = living.map(|record| record.gossip).collect();
        let mut chosen = Vec::new();
        while chosen.len() < count && !living.is_empty() {
            chosen.push(living.swap_remove(self.draw.below(living.len() as u64) as usize));
        }
        chosen
    }
}

/// Whether a periodic piece of work is due; notes when it is next.
fn due(next: &mut u64, now_ms: u64, interval_ms: u64) -> bool {
    let due = now_ms >= *next;
    if due {
        *next = now_ms + interval_ms;
    }
    due
}

#[cfg(test)]
mod tests;
