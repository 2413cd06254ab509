//! Who is there, by gossip (pure): the crate `foca` speaks the SWIM protocol (Das, Gupta, Motivala 2002) with suspicion
//! and refutation; this module is what it leaves to others.
//!
//! [`Swim`] takes packets and ticks and returns packets; `memberlist` owns the socket, the seal and the clock. `foca`
//! believes what it is told and has no bounds of its own, and without a key anybody can tell it anything. So each packet
//! is read first (`wire`, `guard`): values out of bounds, members beyond [`MAX_MEMBERS`] and probes on behalf of strangers never get to
//! it, and its timers are kept by purpose (`desk`). What a node says of itself beside its addresses travels as a
//! broadcast (`ears`), repeated now and then for those that came later.
//!
//! What is learned here is a hint. A member of the gossip need not be a member of the cluster, nor the reverse.

use std::{
    collections::BTreeSet,
    net::SocketAddr, // tidy: purity because an address is a value here; no socket is opened
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use foca::{Config, Foca, PeriodicParams, State};
use parking_lot::Mutex;
use tracing::{debug, warn};

use crate::types::{Draw, NodeId};

mod desk;
mod ears;
mod guard;
mod identity;
mod wire;

pub(super) use desk::Outgoing;
pub(super) use identity::Id;
pub(super) use wire::{MAX_META_BYTES, MAX_PACKET_BYTES};

use desk::Desk;
use ears::{Ears, Heard};
use identity::{Dice, MAX_GENERATION};
use wire::{Packet, Said, Wire, WireError};

/// How fast things go. The defaults notice a death in about five seconds in a small cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// One member is probed in each.
    pub(super) probe_interval_ms: u64,
    /// A direct answer is waited for so long, then others are asked to try; less than half of `probe_interval_ms`.
    pub(super) probe_timeout_ms: u64,
    /// News is sent, if there is any, so often.
    pub(super) gossip_interval_ms: u64,
    /// Members, the dead too, are asked for what they know, and own words are repeated, so often: it heals what gossip
    /// missed, partitions included.
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
            probe_timeout_ms: 450,
            gossip_interval_ms: 200,
            sync_interval_ms: 10_000,
            seed_interval_ms: 2_000,
            suspicion_intervals: 4,
            reap_after_ms: 600_000,
        }
    }
}

/// Nodes that one view holds; more is no cluster of ours, and would only fill the memory.
const MAX_MEMBERS: usize = 1_024;
/// Members that news is sent to in each gossip interval, and that are asked to probe on one's behalf.
const FANOUT: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// Members that are asked for what they know in each sync interval.
const SYNC_FANOUT: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// How a node is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    /// It answers.
    Alive,
    /// It did not answer somebody, and may still object.
    Suspect,
    /// It did not object, or said that it goes.
    Dead,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Which node.
    pub(super) node: NodeId,
    /// How it is said to be.
    pub(super) life: Life,
    /// Where it gossips.
    pub(super) gossip: SocketAddr,
    /// Where its gRPC door is.
    pub(super) raft: String,
    /// Its leader hints.
    pub(super) meta: String,
}

/// Why a packet is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{MAX_MEMBERS} nodes are known already")]
    Full,
    #[error("the protocol refuses it: {0}")]
    Protocol(String),
}

/// One node's view of the gossip.
pub(super) struct Swim {
    settings: Settings,
    foca: Foca<Id, Wire, Dice, Ears>,
    desk: Desk,
    heard: Arc<Mutex<Heard>>,
    seeds: Vec<SocketAddr>,
    meta: String,
    /// The stamp of the last own word.
    stamp: u64,
    digits: u64,
    next_sync: u64,
    next_seeds: u64,
    /// How often this node was heard of with another door.
    contested: u32,
}

impl Swim {
    /// A node that knows its seeds and nobody else. `me.generation` should be higher than in its earlier life (a wall
    /// clock does); if it is not, it is raised as soon as the earlier one is heard of.
    pub(super) fn new(settings: Settings, me: Id, seeds: Vec<SocketAddr>, seed: u64) -> Self {
        let ears = Ears::default();
        let heard = ears.0.clone();
        heard.lock().own = me.node;
        let digits = 1;
        let foca = Foca::with_custom_broadcast(me, config(settings, digits), Dice(Draw::new(seed)), Wire, ears);
        Self {
            settings,
            foca,
            desk: Desk::default(),
            heard,
            seeds,
            meta: String::new(),
            stamp: 0,
            digits,
            next_sync: 0,
            next_seeds: 0,
            contested: 0,
        }
    }

    /// Time passes. To be called several times in each of the settings' intervals.
    pub(super) fn on_tick(&mut self, now_ms: u64) -> Vec<Outgoing> {
        self.desk.now_ms = now_ms;
        while let Some(timer) = self.desk.pop_due() {
            if let Err(error) = self.foca.handle_timer(timer, &mut self.desk) {
                // A clock that stood still, as in a process that was paused; it goes on by itself.
                debug!(%error, "gossip is out of step");
            }
        }
        self.adapt();
        if due(&mut self.next_seeds, now_ms, self.settings.seed_interval_ms) {
            self.ask_seeds();
        }
        if due(&mut self.next_sync, now_ms, self.settings.sync_interval_ms) {
            self.forget_words();
            if !self.meta.is_empty() {
                self.say();
            }
        }
        self.answer_for_myself();
        std::mem::take(&mut self.desk.out)
    }

    /// A packet has come.
    pub(super) fn on_packet(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<Vec<Outgoing>, Refused> {
        self.desk.now_ms = now_ms;
        let mut packet = Packet::decode(bytes)?;
        if packet.header.src.node == self.me().node {
            // Its own, through a seed list that names it.
            return Ok(Vec::new());
        }
        self.complete(&mut packet, from);
        self.outbid(&packet);
        if self.guard(&mut packet)? {
            let taken = self.foca.handle_data(&packet.encode()?, &mut self.desk);
            taken.map_err(|error| Refused::Protocol(error.to_string()))?;
        }
        Ok(std::mem::take(&mut self.desk.out))
    }

    /// This node has something else to say about itself.
    pub(super) fn set_meta(&mut self, meta: String) {
        if self.meta != meta {
            self.meta = meta;
            self.say();
        }
    }

    /// Says goodbye to some members, who tell the others. Nothing else should be called afterwards.
    pub(super) fn leave(&mut self) -> Vec<Outgoing> {
        if let Err(error) = self.foca.leave_cluster(&mut self.desk) {
            debug!(%error, "say goodbye");
        }
        std::mem::take(&mut self.desk.out)
    }

    /// The others, ascending by node; those that died or left lately included.
    pub(super) fn members(&self) -> Vec<Record> {
        let heard = self.heard.lock();
        // Its own earlier lives are members to the protocol.
        let others = self.foca.iter_membership_state().filter(|member| member.id().node != self.me().node);
        let mut all: Vec<_> = others.map(|member| record(member, &heard)).collect();
        all.sort_by_key(|record| record.node);
        all
    }

    /// Whether [`Self::members`] changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        let said = std::mem::take(&mut self.heard.lock().changed);
        std::mem::take(&mut self.desk.changed) || said
    }

    fn me(&self) -> &Id {
        self.foca.identity()
    }

    /// An earlier life that had a higher generation, or a lie about this one, is outlived.
    fn outbid(&mut self, packet: &Packet) {
        let me = self.me();
        let told = packet.members.iter().flatten().map(foca::Member::id).chain([&packet.header.dst]);
        let above = told.filter(|id| id.node == me.node && id.generation > me.generation);
        let Some(heard) = above.max_by_key(|id| id.generation) else { return };
        let (generation, raft) = (heard.generation, &heard.raft);
        if !raft.is_empty() && *raft != me.raft {
            self.contested += 1;
            // Once is an earlier life of this node.
            if self.contested == 3 {
                warn!(node = %heard.node, other = raft, "another process gossips under this node's number");
            }
        }
        self.begin_life_above(generation);
    }

    fn begin_life_above(&mut self, generation: u64) {
        let next = self.me().above(generation);
        if next.generation > MAX_GENERATION {
            return;
        }
        if let Err(error) = self.foca.change_identity(next, &mut self.desk) {
            debug!(%error, "outlive an earlier life");
        }
        if !self.meta.is_empty() {
            self.say();
        }
    }

    /// Suspects get more time, and news is told more often, in a larger cluster.
    fn adapt(&mut self) {
        let digits = u64::from((self.foca.num_members() + 1).ilog10()) + 1;
        if digits != self.digits {
            self.digits = digits;
            if let Err(error) = self.foca.set_config(config(self.settings, digits)) {
                debug!(%error, "adapt to the cluster's size");
            }
        }
    }

    /// A living seed needs no question: what it knows arrives as gossip.
    fn ask_seeds(&mut self) {
        let known: Vec<SocketAddr> =
            self.foca.iter_members().map(|member| member.id().gossip).chain([self.me().gossip]).collect();
        for seed in self.seeds.iter().filter(|seed| !known.contains(seed)) {
            if let Err(error) = self.foca.announce(Id::seed(*seed), &mut self.desk) {
                debug!(%seed, %error, "ask a seed");
            }
        }
    }

    /// Who is no member any more is not remembered.
    fn forget_words(&mut self) {
        let members: BTreeSet<_> = self.foca.iter_membership_state().map(|member| member.id().node).collect();
        self.heard.lock().words.retain(|node, _| members.contains(node));
    }

    /// Somebody has heard words of this node that it did not say.
    fn answer_for_myself(&mut self) {
        let foreign = self.heard.lock().foreign.take();
        if let Some((generation, _)) = foreign {
            self.begin_life_above(generation);
        }
    }

    fn say(&mut self) {
        self.stamp += 1;
        let (node, generation) = (self.me().node, self.me().generation);
        let said = Said { node, generation, stamp: self.stamp, text: self.meta.clone() };
        if let Err(error) = self.foca.add_broadcast(&said.encode()) {
            debug!(%error, "say something");
        }
    }
}

fn record(member: &foca::Member<Id>, heard: &Heard) -> Record {
    let Id { node, gossip, raft, .. } = member.id();
    let life = match member.state() {
        State::Alive => Life::Alive,
        State::Suspect => Life::Suspect,
        State::Down => Life::Dead,
    };
    let meta = heard.words.get(node).map(|said| said.text.clone()).unwrap_or_default();
    Record { node: *node, life, gossip: *gossip, raft: raft.clone(), meta }
}

fn config(settings: Settings, digits: u64) -> Config {
    let Settings { probe_interval_ms, probe_timeout_ms, gossip_interval_ms, sync_interval_ms, .. } = settings;
    let every = |ms, num_members| Some(PeriodicParams { frequency: Duration::from_millis(ms), num_members });
    Config {
        probe_period: Duration::from_millis(probe_interval_ms),
        probe_rtt: Duration::from_millis(probe_timeout_ms),
        num_indirect_probes: FANOUT,
        max_transmissions: NonZeroU8::new((digits * 4).min(40) as u8).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: Duration::from_millis(settings.suspicion_intervals * probe_interval_ms * digits),
        remove_down_after: Some(Duration::from_millis(settings.reap_after_ms)),
        max_packet_size: NonZeroUsize::new(MAX_PACKET_BYTES).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: every(sync_interval_ms, SYNC_FANOUT),
        periodic_announce_to_down_members: every(sync_interval_ms, SYNC_FANOUT),
        periodic_gossip: every(gossip_interval_ms, FANOUT),
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
