//! Forming a cluster, at most once, or finding the one that there is (PROTOCOL 10; pure).
//!
//! `network::form` asks [`Former::on_tick`] whom to ask what, carries requests to [`Former::on_request`] and answers to
//! [`Former::on_reply`], until [`Former::outcome`] is there. A cluster comes to be in one of three ways ([`FormMode`]):
//!
//! - By a vote of a static list. The lowest listed id proposes: it first meets every peer, then collects a promise from
//!   each, then names them all in `Init`. A promise binds one incarnation to another for the life of both, so two
//!   formations can't share a living member. A member that missed `Init` learns the map by asking around.
//! - By `Init` from outside: [`init::Initiator`] does the same with nodes that wait for it.
//! - By a single node that was told so.
//!
//! A node that meets a cluster in which this life of it has no place is to join it, and never votes on a new one while
//! any listed peer belongs to it: with empty memory it must not vote under its old replica ids. Never here: a clock, a
//! socket, chance.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1::{self, form_request::Ask};

use crate::{
    cluster::{
        initial::{ClusterSpec, initial_map},
        map::{ClusterMap, Member, SUPPORTED_LEVELS, wire::member_from},
    },
    faults::Faults,
    types::{ClusterUid, Incarnation, NodeId},
};

mod answer;
mod error;
pub mod init;
mod learn;

pub use error::FormError;

/// How a node comes to be in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormMode {
    /// By the vote of a list: every member of the cluster to be, this node included, with the address of its peer port.
    /// Who finds it formed joins it.
    Static(Vec<(NodeId, String)>),
    /// It waits for `Init` from outside, or for a cluster to be found ([`Former::on_found`]).
    Await {
        /// Where peers will reach this node.
        address: String,
    },
    /// It forms a cluster alone at its first tick, unless one was found before.
    Bootstrap {
        /// Where peers will reach this node.
        address: String,
    },
}

/// What a node knows when it starts to form.
#[derive(Clone, Debug)]
pub struct FormConfig {
    /// This node.
    pub node: NodeId,
    /// Its present life; random, never 0.
    pub incarnation: Incarnation,
    /// How it comes to be in a cluster.
    pub mode: FormMode,
    /// The identity of the cluster, should this node be the one to name it; random, never 0.
    pub uid: ClusterUid,
    /// The cluster to make, should this node be the one to make it.
    pub spec: ClusterSpec,
    /// Where this node runs; empty when unknown.
    pub host: String,
    /// Its zone; empty when unknown.
    pub zone: String,
    /// Its RESP door; empty when it has none.
    pub client_address: String,
    /// Bugs that the simulator must find.
    pub faults: Faults,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormOutcome {
    /// The map names this life of this node: it takes part.
    Formed(ClusterMap),
    /// There is a cluster, and this life of this node is not in it: ask its members to `Join`. Not the end: tick on while
    /// it is tried. Should every peer of a static list come back empty, that cluster is gone and there is no outcome again.
    Join {
        /// The newest map that was heard of.
        map: ClusterMap,
    },
}

/// One node's part in forming. Kept afterwards too: it answers those that come late.
#[derive(Debug)]
pub struct Former {
    node: NodeId,
    incarnation: Incarnation,
    /// The static list; only this node when it forms alone, nobody when it waits.
    listed: BTreeMap<NodeId, String>,
    awaits_init: bool,
    uid: ClusterUid,
    spec: ClusterSpec,
    about: v1::Member,
    faults: Faults,
    state: State,
    waiting_on: BTreeMap<NodeId, String>,
}

#[derive(Debug)]
enum State {
    Forming {
        /// Whom this node is bound to.
        promised: Option<Promise>,
        /// The peers that have answered, as they were when they last did.
        seen: BTreeMap<NodeId, Seen>,
    },
    /// There is a cluster without this life of this node.
    Joining {
        map: ClusterMap,
        /// Who told of it.
        told_by: String,
        /// The peers that belonged to no cluster, each later than anybody who did.
        empty: BTreeMap<NodeId, Seen>,
    },
    Formed {
        map: ClusterMap,
        /// Whom this node, having decided, has still to tell.
        untold: BTreeSet<NodeId>,
    },
    Failed(FormError),
}

/// What a node is bound to by its word, for its life.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Promise {
    /// The life of the lowest listed id.
    Proposer(Incarnation),
    /// An `Init` from outside. A later one for the same nodes, or more, takes its place: that one asks all of them whether
    /// the earlier one was decided, and from then on none of them takes the earlier one's map.
    Initiator { ballot: init::Ballot, members: BTreeMap<NodeId, Incarnation> },
}

/// A peer that belongs to no cluster yet.
#[derive(Clone, Debug)]
struct Seen {
    promised: bool,
    member: Member,
}

impl State {
    fn begin() -> Self {
        Self::Forming { promised: None, seen: BTreeMap::new() }
    }
}

impl Former {
    /// Begins to form. Refuses a list that is wrong in itself or does not hold this node.
    pub fn new(config: FormConfig) -> Result<Self, FormError> {
        Self::with_state(config, State::begin())
    }

    /// The part of a node that knows its cluster: it only answers.
    pub fn formed(config: FormConfig, map: ClusterMap) -> Result<Self, FormError> {
        Self::with_state(config, State::Formed { map, untold: BTreeSet::new() })
    }

    fn with_state(config: FormConfig, state: State) -> Result<Self, FormError> {
        let FormConfig { node, incarnation, mode, uid, spec, host, zone, client_address, faults } = config;
        let awaits_init = matches!(mode, FormMode::Await { .. });
        // Who waits does not know how many there will be.
        let members = |listed: usize| if awaits_init { spec.replication_factor as usize } else { listed };
        let (listed, address) = list_of(node, mode)?;
        if incarnation.0 == 0 || uid.0 == 0 {
            return Err(bad_list("incarnation and cluster uid must not be 0"));
        }
        spec.validate(members(listed.len())).map_err(FormError::Spec)?;
        let about = v1::Member {
            node: node.0,
            incarnation: incarnation.to_bytes(),
            address,
            host,
            zone,
            state: 1,
            min_level: SUPPORTED_LEVELS.min,
            max_level: SUPPORTED_LEVELS.max,
            client_address,
        };
        let waiting_on = BTreeMap::new();
        Ok(Self { node, incarnation, listed, awaits_init, uid, spec, about, faults, state, waiting_on })
    }

    /// What to ask whom now; call it every few hundred milliseconds. Lost requests are asked again.
    pub fn on_tick(&mut self) -> Vec<(NodeId, v1::FormRequest)> {
        self.decide_if_all_promised();
        let asks: Vec<(NodeId, Ask)> = match &self.state {
            State::Forming { seen, .. } => {
                let met_all = self.is_proposer() && self.others().all(|node| seen.contains_key(&node));
                let promise = || Ask::Promise(self.incarnation.to_bytes());
                let ask = |node| (node, if met_all { promise() } else { Ask::Probe(true) });
                self.others().map(ask).collect()
            }
            State::Joining { .. } => self.others().map(|node| (node, Ask::Probe(true))).collect(),
            State::Formed { map, untold } => {
                untold.iter().map(|node| (*node, Ask::Init(v1::ClusterMap::from(map)))).collect()
            }
            State::Failed(_) => Vec::new(),
        };
        asks.into_iter().map(|(node, ask)| (node, self.request(ask))).collect()
    }

    /// What is known now: the map, or that there is one to join, or why this node can't take part, ever.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<FormOutcome, FormError>> {
        match &self.state {
            State::Forming { .. } => None,
            State::Joining { map, .. } => Some(Ok(FormOutcome::Join { map: map.clone() })),
            State::Formed { map, .. } => Some(Ok(FormOutcome::Formed(map.clone()))),
            State::Failed(error) => Some(Err(error.clone())),
        }
    }

    /// Whether someone has still to be told of the outcome: keep ticking for a while.
    #[must_use]
    pub fn has_untold(&self) -> bool {
        matches!(&self.state, State::Formed { untold, .. } if !untold.is_empty())
    }

    /// Why it takes so long, by peer: for the log and for `/status`.
    pub fn waiting_on(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.others().filter_map(|node| match (&self.state, self.waiting_on.get(&node)) {
            (_, Some(reason)) => Some((node, reason.as_str())),
            (State::Forming { seen, .. }, None) if !seen.contains_key(&node) => Some((node, "no answer yet")),
            (State::Forming { .. } | State::Joining { .. } | State::Formed { .. } | State::Failed(_), None) => None,
        })
    }

    /// Where the peers of the static list are reached.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.listed.clone()
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.listed.keys().copied().filter(|node| *node != self.node)
    }

    fn proposer(&self) -> NodeId {
        self.listed.keys().next().copied().unwrap_or(self.node)
    }

    fn is_proposer(&self) -> bool {
        !self.awaits_init && self.proposer() == self.node
    }

    fn listed_ids(&self) -> Vec<u64> {
        self.listed.keys().map(|node| node.0).collect()
    }

    fn request(&self, ask: Ask) -> v1::FormRequest {
        v1::FormRequest {
            node: self.node.0,
            incarnation: self.incarnation.to_bytes(),
            listed: self.listed_ids(),
            initiator: None,
            ask: Some(ask),
        }
    }

    /// The proposer decides when every listed peer has promised. From here on the cluster exists: its members
    /// are bound, and any of them may learn of it from any other.
    fn decide_if_all_promised(&mut self) {
        let State::Forming { seen, .. } = &self.state else { return };
        let promised = |node| seen.get(&node).is_some_and(|peer| peer.promised);
        if !self.is_proposer() || !self.others().all(promised) {
            return;
        }
        let mut members: BTreeMap<_, _> = seen.iter().map(|(node, peer)| (*node, peer.member.clone())).collect();
        let decided = member_from(self.about.clone())
            .map_err(|error| FormError::BadList { reason: error.to_string() })
            .and_then(|(node, me)| {
                members.insert(node, me);
                initial_map(self.uid, &self.spec, members).map_err(FormError::Spec)
            });
        self.state = match decided {
            Ok(map) => State::Formed { map, untold: self.others().collect() },
            Err(error) => State::Failed(error),
        };
        self.waiting_on.clear();
    }

    fn adopt(&mut self, map: ClusterMap) {
        self.state = State::Formed { map, untold: BTreeSet::new() };
        self.waiting_on.clear();
    }

    fn fail(&mut self, error: FormError) -> Result<(), String> {
        let reason = error.to_string();
        self.state = State::Failed(error);
        Err(reason)
    }
}

/// The list that a node forms by, and its own address.
fn list_of(node: NodeId, mode: FormMode) -> Result<(BTreeMap<NodeId, String>, String), FormError> {
    let listed = match mode {
        FormMode::Static(listed) => listed,
        FormMode::Bootstrap { address } => vec![(node, address)],
        FormMode::Await { address } if node.0 == 0 || address.is_empty() => {
            return Err(bad_list("this node needs an id from 1 on and an address"));
        }
        FormMode::Await { address } => return Ok((BTreeMap::new(), address)),
    };
    let count = listed.len();
    let listed: BTreeMap<_, _> = listed.into_iter().collect();
    if listed.len() != count {
        return Err(bad_list("a node id is there twice"));
    }
    if listed.contains_key(&NodeId(0)) {
        return Err(bad_list("node ids begin with 1"));
    }
    if listed.values().any(String::is_empty) {
        return Err(bad_list("an address is empty"));
    }
    if listed.values().collect::<BTreeSet<_>>().len() != listed.len() {
        return Err(bad_list("an address is there twice"));
    }
    match listed.get(&node).cloned() {
        Some(address) => Ok((listed, address)),
        None => Err(bad_list(&format!("it does not hold this node, {node}"))),
    }
}

fn bad_list(reason: &str) -> FormError {
    FormError::BadList { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
