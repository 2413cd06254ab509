//! One member is asked for a sign of life in each round, by this node and then by others for it (pure).

use std::{
    collections::BTreeMap,
    net::SocketAddr, // tidy: purity because an address is a value here; no socket is opened
};

use super::{FANOUT, Life, Swim, due, wire::Kind};
use crate::types::NodeId;

/// Probes that this node does for others at once; more are left to those others.
const MAX_RELAYS: usize = 256;

/// The present probe, the order of the next ones, and those done for others.
#[derive(Debug, Default)]
pub(super) struct Probing {
    next_round: u64,
    last_seq: u64,
    current: Option<Probe>,
    /// Members still to be probed in this pass over all of them.
    order: Vec<NodeId>,
    relays: BTreeMap<u64, Relay>,
}

#[derive(Debug)]
struct Probe {
    node: NodeId,
    seq: u64,
    /// When others are asked; `None` once they are.
    ask_others: Option<u64>,
}

/// A probe for another node: its answer goes back under the asker's number.
#[derive(Debug)]
struct Relay {
    asker: SocketAddr,
    seq: u64,
    until_ms: u64,
}

impl Swim {
    /// Goes on with the present probe, and begins the next one when its time is over.
    pub(super) fn probe(&mut self, now_ms: u64) {
        self.probing.relays.retain(|_, relay| now_ms < relay.until_ms);
        if due(&mut self.probing.next_round, now_ms, self.settings.probe_interval_ms) {
            if let Some(unanswered) = self.probing.current.take() {
                self.accuse(unanswered.node, Life::Suspect, now_ms);
            }
            self.begin_probe(now_ms);
            return;
        }
        let Some(probe) = &mut self.probing.current else { return };
        if probe.ask_others.take_if(|at| now_ms >= *at).is_some() {
            let (node, seq) = (probe.node, probe.seq);
            for to in self.some_living(FANOUT, Some(node)) {
                self.send(to, Kind::PingFor { seq, to: node });
            }
        }
    }

    fn begin_probe(&mut self, now_ms: u64) {
        let Some((node, address)) = self.next_to_probe() else { return };
        let seq = self.next_seq();
        let ask_others = Some(now_ms + self.settings.probe_timeout_ms);
        self.probing.current = Some(Probe { node, seq, ask_others });
        self.send(address, Kind::Ping { seq, to: node });
    }

    /// Each member once per pass, in a new random order each time: the wait for a death is bounded.
    fn next_to_probe(&mut self) -> Option<(NodeId, SocketAddr)> {
        if self.probing.order.is_empty() {
            let mut living: Vec<_> =
                self.members().filter(|record| record.life <= Life::Suspect).map(|record| record.node).collect();
            while !living.is_empty() {
                let next = living.swap_remove(self.draw.below(living.len() as u64) as usize);
                self.probing.order.push(next);
            }
        }
        while let Some(node) = self.probing.order.pop() {
            if let Some(member) = self.members.get(&node).filter(|member| member.record.life <= Life::Suspect) {
                return Some((node, member.record.gossip));
            }
        }
        None
    }

    fn next_seq(&mut self) -> u64 {
        self.probing.last_seq += 1;
        self.probing.last_seq
    }

    /// Probes `to` for another node. Where it is, this node knows by itself: nobody can have packets sent elsewhere.
    pub(super) fn relay(&mut self, asked: u64, to: NodeId, asker: SocketAddr, now_ms: u64) {
        if to == self.me.node {
            self.send(asker, Kind::Ack { seq: asked });
            return;
        }
        let Some(address) = self.members.get(&to).map(|member| member.record.gossip) else { return };
        if self.probing.relays.len() < MAX_RELAYS {
            let seq = self.next_seq();
            let until_ms = now_ms + self.settings.probe_interval_ms;
            self.probing.relays.insert(seq, Relay { asker, seq: asked, until_ms });
            self.send(address, Kind::Ping { seq, to });
        }
    }

    pub(super) fn on_ack(&mut self, seq: u64) {
        if let Some(relay) = self.probing.relays.remove(&seq) {
            self.send(relay.asker, Kind::Ack { seq: relay.seq });
        } else if self.probing.current.as_ref().is_some_and(|probe| probe.seq == seq) {
            self.probing.current = None;
        }
    }
}
