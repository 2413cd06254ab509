//! From what a discovery finds to what is done about it (pure).
//!
//! One [`PeerManager`] runs on each node. Everybody follows its contacts; only the leader of the meta group follows
//! its proposals. It never decides on membership: a proposal passes through the meta group, which may refuse it, and
//! a member is given up only when gossip has missed it for long and no stream from it is open.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::{
        command::MetaCommand,
        discovery::{Discovered, PeerManagementConfig, PeerState},
        map::{ClusterMap, Member, MemberState},
    },
    types::NodeId,
};

/// A node is given up after this long without a sign of life: far longer than a failover, shorter than `repair_after`.
pub const DEFAULT_LOST_AFTER_MS: u64 = 30_000;
/// A proposal that did not change the map is made again after this long.
const PROPOSE_AGAIN_MS: u64 = 5_000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerDecision {
    /// Knock here: to join through it, or to tell it of this cluster. Said once, until it is forgotten.
    Contact {
        /// Where.
        address: String,
        /// Who is said to be there.
        node: Option<NodeId>,
    },
    /// Knock here no more.
    Forget {
        /// Where.
        address: String,
    },
    /// To be proposed by the leader of the meta group. Repeated now and then until the map shows it.
    Propose(MetaCommand),
}

/// What the manager looks at.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Milliseconds of the monotonic clock.
    pub mono_ms: u64,
    /// The discovery's present state.
    pub found: &'a [Discovered],
    /// The map, once there is one.
    pub map: Option<&'a ClusterMap>,
    /// Nodes with an open peer stream to this one: certainly alive, whatever gossip says.
    pub connected: &'a BTreeSet<NodeId>,
    /// Whether this node leads the meta group; proposals are for it alone.
    pub leads_meta: bool,
}

/// Turns what is found into decisions, as [`PeerManagementConfig`] allows.
#[derive(Clone, Debug)]
pub struct PeerManager {
    config: PeerManagementConfig,
    node: NodeId,
    lost_after_ms: u64,
    by_hand: BTreeMap<String, Option<NodeId>>,
    /// Addresses that were said to be contacted, those given by hand included.
    contacts: BTreeMap<String, Option<NodeId>>,
    /// Since when a node has shown no sign of life; it showed one before.
    lost: BTreeMap<NodeId, u64>,
    /// When something was last proposed for a node.
    proposed: BTreeMap<NodeId, u64>,
}

impl PeerManager {
    /// For one node. The peers given by hand are contacted from the first decision on and never forgotten.
    #[must_use]
    pub fn new(config: PeerManagementConfig, node: NodeId, by_hand: Vec<(Option<NodeId>, String)>) -> Self {
        let others = by_hand.into_iter().filter(|(peer, _)| *peer != Some(node));
        Self {
            config,
            node,
            lost_after_ms: DEFAULT_LOST_AFTER_MS,
            by_hand: others.map(|(peer, address)| (address, peer)).collect(),
            contacts: BTreeMap::new(),
            lost: BTreeMap::new(),
            proposed: BTreeMap::new(),
        }
    }

    /// How long a node must be lost before anything is taken from it.
    #[must_use]
    pub fn with_lost_after_ms(mut self, lost_after_ms: u64) -> Self {
        self.lost_after_ms = lost_after_ms;
        self
    }

    /// The addresses that are to be contacted now, ascending, and who is said to be there.
    pub fn contacts(&self) -> impl Iterator<Item = (&str, Option<NodeId>)> {
        self.contacts.iter().map(|(address, node)| (address.as_str(), *node))
    }

    /// Whether a node that has joined and reports may become `Up` without anybody's word: by `auto_add_voters`, or
    /// because it was given by hand. Whoever marks nodes `Up` asks this.
    #[must_use]
    pub fn admits(&self, node: NodeId) -> bool {
        self.config.auto_add_voters || node == self.node || self.by_hand.values().any(|peer| *peer == Some(node))
    }

    /// What is to be done now. Call it when the discovery, the map or the streams change, and once a second.
    pub fn decide(&mut self, sight: Sight<'_>) -> Vec<PeerDecision> {
        self.note_losses(&sight);
        let mut decisions = self.contact_and_forget(&sight);
        if sight.leads_meta {
            decisions.extend(sight.map.into_iter().flat_map(|map| self.propose(&sight, map)));
        }
        decisions
    }

    fn note_losses(&mut self, sight: &Sight<'_>) {
        let seen = |state| sight.found.iter().filter(move |peer| peer.state == state).filter_map(|peer| peer.node);
        for node in seen(PeerState::Lost) {
            self.lost.entry(node).or_insert(sight.mono_ms);
        }
        // One sign of life outweighs every report of death.
        for node in seen(PeerState::Alive).chain(sight.connected.iter().copied()) {
            self.lost.remove(&node);
        }
    }

    fn is_given_up(&self, node: NodeId, mono_ms: u64) -> bool {
        self.lost.get(&node).is_some_and(|since| mono_ms.saturating_sub(*since) >= self.lost_after_ms)
    }

    fn contact_and_forget(&mut self, sight: &Sight<'_>) -> Vec<PeerDecision> {
        let mut wanted = self.by_hand.clone();
        let found = sight.found.iter().filter(|peer| self.config.auto_add_peers && peer.node != Some(self.node));
        for peer in found.filter(|peer| !peer.node.is_some_and(|node| self.is_given_up(node, sight.mono_ms))) {
            wanted.insert(peer.address.clone(), peer.node);
        }
        if !self.config.auto_remove_peers {
            // What was found once stays a contact: a record may come back.
            wanted.extend(
                self.contacts
                    .iter()
                    .filter(|(address, _)| !wanted.contains_key(*address))
                    .map(owned)
                    .collect::<Vec<_>>(),
            );
        }
        let gone = self.contacts.keys().filter(|address| !wanted.contains_key(*address));
        let forget = gone.map(|address| PeerDecision::Forget { address: address.clone() });
        let new = wanted.iter().filter(|(address, _)| !self.contacts.contains_key(*address));
        let contact = new.map(|(address, node)| PeerDecision::Contact { address: address.clone(), node: *node });
        let decisions = forget.chain(contact).collect();
        self.contacts = wanted;
        decisions
    }

    fn propose(&mut self, sight: &Sight<'_>, map: &ClusterMap) -> Vec<PeerDecision> {
        let now = sight.mono_ms;
        self.proposed.retain(|_, at| now.saturating_sub(*at) < PROPOSE_AGAIN_MS);
        let others = map.members.iter().filter(|(node, _)| **node != self.node);
        let mut decisions = Vec::new();
        for (node, member) in others {
            let Some(state) = self.next_state(*node, member, sight, map) else { continue };
            if !self.proposed.contains_key(node) {
                self.proposed.insert(*node, now);
                let command = MetaCommand::SetState { node: *node, incarnation: member.incarnation, state };
                decisions.push(PeerDecision::Propose(command));
            }
        }
        decisions
    }

    fn next_state(&self, node: NodeId, member: &Member, sight: &Sight<'_>, map: &ClusterMap) -> Option<MemberState> {
        let lost = self.is_given_up(node, sight.mono_ms);
        match member.state {
            MemberState::Joining if !lost && self.admits(node) && is_seen(node, sight) => Some(MemberState::Up),
            MemberState::Joining | MemberState::Up | MemberState::Draining => {
                (lost && self.config.auto_remove_voters && !self.is_cut_off(sight, map)).then_some(MemberState::Down)
            }
            MemberState::Down => {
                let holds_none = map.replicas_on(node).next().is_none();
                (lost && self.config.auto_remove_peers && holds_none).then_some(MemberState::Removed)
            }
            MemberState::Removed => None,
        }
    }

    /// When half of the members or more seem lost, it is rather this node that gossip does not reach.
    fn is_cut_off(&self, sight: &Sight<'_>, map: &ClusterMap) -> bool {
        let living: Vec<_> = map.members.keys().filter(|node| map.incarnation_of(**node).is_some()).collect();
        let lost = living.iter().filter(|node| self.is_given_up(***node, sight.mono_ms)).count();
        lost * 2 >= living.len()
    }
}

fn is_seen(node: NodeId, sight: &Sight<'_>) -> bool {
    let alive = |peer: &Discovered| peer.node == Some(node) && peer.state == PeerState::Alive;
    sight.connected.contains(&node) || sight.found.iter().any(alive)
}

fn owned((address, node): (&String, &Option<NodeId>)) -> (String, Option<NodeId>) {
    (address.clone(), *node)
}

#[cfg(test)]
mod tests;
