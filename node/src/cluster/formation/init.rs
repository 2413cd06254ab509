//! `Init` from outside: one call of `cremactl init` or of the operator (PROTOCOL 10; pure).
//!
//! The I/O around it asks as [`Initiator::on_tick`] says and brings the answers, until [`Initiator::outcome`] is there. It
//! meets every node of the set, has each promise itself as exactly the incarnation that was met, and then names them all
//! in one map. It can stop anywhere: the next one has a higher ballot, and as it needs a promise of every node too, it
//! either hears from one of them what was decided and spreads that, or makes sure that it never will be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use crema_api::v1::{self, form_request::Ask};

use super::learn::describe;
use crate::{
    cluster::{
        initial::{ClusterSpec, SpecError, initial_map},
        map::{ClusterMap, Member},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

/// Who initiates, and when: a later Init has a higher one. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot(pub u128);

impl Ballot {
    /// A ballot of a moment; `draw` is random, so that two initiators of one moment differ.
    #[must_use]
    pub fn new(wall_ms: u64, draw: u64) -> Self {
        Self(u128::from(wall_ms) << 64 | u128::from(draw))
    }

    pub(super) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One node of the set that is to form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstMember {
    /// The node.
    pub node: NodeId,
    /// Where its peer port is: how the initiator and later its peers reach it.
    pub address: String,
    /// The life that the caller has observed; `None` takes the one that answers.
    pub incarnation: Option<Incarnation>,
}

/// What an Init is to do.
#[derive(Clone, Debug)]
pub struct InitConfig {
    /// Its ballot.
    pub ballot: Ballot,
    /// The identity of the cluster to be; never 0.
    pub uid: ClusterUid,
    /// The caller has chosen the identity, and may be repeating itself: a cluster of it is what was asked for, any other is
    /// an error. Else the identity is a draw, and a cluster that an earlier Init of the same nodes began is completed.
    pub named: bool,
    /// The cluster to make.
    pub spec: ClusterSpec,
    /// All first members.
    pub members: Vec<FirstMember>,
}

/// Why an Init can't succeed, however long it waits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The set is wrong in itself.
    #[error("the nodes to form a cluster of are wrong: {0}")]
    BadSet(String),
    /// There can be no such cluster.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is a cluster.
    #[error("node {node} belongs to cluster {uid}: it is formed, other nodes join it")]
    Formed {
        /// Who belongs to it.
        node: NodeId,
        /// The cluster.
        uid: ClusterUid,
    },
    /// Nodes of the set belong to several clusters.
    #[error("node {one_at} belongs to cluster {one}, node {other_at} to cluster {other}")]
    TwoClusters {
        /// Who belongs to the one.
        one_at: NodeId,
        /// The one.
        one: ClusterUid,
        /// Who belongs to the other.
        other_at: NodeId,
        /// The other.
        other: ClusterUid,
    },
    /// Somebody else answers than was named.
    #[error("node {node} is incarnation {found}, not {named}: look again at who is there")]
    Incarnation {
        /// The node.
        node: NodeId,
        /// The life that was named.
        named: Incarnation,
        /// The life that answers.
        found: Incarnation,
    },
}

/// One Init under way.
#[derive(Debug)]
pub struct Initiator {
    ballot: Ballot,
    uid: ClusterUid,
    named: bool,
    spec: ClusterSpec,
    members: BTreeMap<NodeId, FirstMember>,
    state: State,
    waiting_on: BTreeMap<NodeId, String>,
}

#[derive(Debug)]
enum State {
    /// Who is there?
    Meeting {
        met: BTreeMap<NodeId, Met>,
        formed: BTreeMap<NodeId, ClusterMap>,
    },
    /// All were met and belong to no cluster.
    Promising {
        set: BTreeMap<NodeId, Member>,
        promised: BTreeSet<NodeId>,
    },
    /// There is a map, ours or one that was found; it never changes again.
    Telling {
        map: ClusterMap,
        found: bool,
        told: BTreeSet<NodeId>,
        lost: BTreeSet<NodeId>,
    },
    Failed(InitError),
}

/// Who answered, belonging to no cluster.
#[derive(Clone, Debug)]
struct Met {
    member: Member,
}

impl Initiator {
    /// Refuses a set that is wrong in itself.
    pub fn new(config: InitConfig) -> Result<Self, InitError> {
        let InitConfig { ballot, uid, named, spec, members } = config;
        let bad = |reason: &str| Err(InitError::BadSet(reason.to_owned()));
        let count = members.len();
        let addresses: BTreeSet<&str> = members.iter().map(|member| member.address.as_str()).collect();
        if addresses.len() != count || addresses.contains("") {
            return bad("an address is empty or there twice");
        }
        let members: BTreeMap<_, _> = members.into_iter().map(|member| (member.node, member)).collect();
        if members.len() != count || members.contains_key(&NodeId(0)) {
            return bad("a node id is 0 or there twice");
        }
        if members.is_empty() || ballot.0 == 0 || uid.0 == 0 {
            return bad("there is no node, no ballot or no cluster uid");
        }
        spec.validate(count)?;
        let (state, waiting_on) = (State::begin(), BTreeMap::new());
        Ok(Self { ballot, uid, named, spec, members, state, waiting_on })
    }

    /// What to ask whom now; call it every few hundred milliseconds. Lost requests are asked again.
    pub fn on_tick(&mut self) -> Vec<(NodeId, v1::FormRequest)> {
        let (set, asks): (BTreeMap<NodeId, Incarnation>, Vec<(NodeId, Ask)>) = match &self.state {
            State::Meeting { .. } => {
                (BTreeMap::new(), self.members.keys().map(|node| (*node, Ask::Probe(true))).collect())
            }
            State::Promising { set, promised } => {
                let rest = set.keys().filter(|node| !promised.contains(node));
                let asks = rest.map(|node| (*node, Ask::Promise(self.ballot.to_bytes()))).collect();
                (set.iter().map(|(node, member)| (*node, member.incarnation)).collect(), asks)
            }
            State::Telling { map, found, told, lost } => {
                let map = v1::ClusterMap::from(map);
                let ask = || if *found { Ask::Exists(map.clone()) } else { Ask::Init(map.clone()) };
                let rest = self.members.keys().filter(|node| !told.contains(node) && !lost.contains(node));
                (BTreeMap::new(), rest.map(|node| (*node, ask())).collect())
            }
            State::Failed(_) => return Vec::new(),
        };
        asks.into_iter().map(|(node, ask)| (node, self.request(&set, ask))).collect()
    }

    fn request(&self, set: &BTreeMap<NodeId, Incarnation>, ask: Ask) -> v1::FormRequest {
        let member =
            |(node, life): (&NodeId, &Incarnation)| v1::FirstMember { node: node.0, incarnation: life.to_bytes() };
        let members = set.iter().map(member).collect();
        let initiator = Some(v1::Initiator { ballot: self.ballot.to_bytes(), members });
        v1::FormRequest { initiator, ask: Some(ask), ..v1::FormRequest::default() }
    }

    /// Takes a node's answer in.
    pub fn on_reply(&mut self, from: NodeId, reply: v1::FormReply) {
        match self.take_in(from, reply) {
            Ok(()) => self.waiting_on.remove(&from),
            Err(reason) => self.waiting_on.insert(from, reason),
        };
        self.move_on();
    }

    /// The map, once a majority of the set has it; or why there can't be one.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<ClusterMap, InitError>> {
        match &self.state {
            State::Meeting { .. } | State::Promising { .. } => None,
            State::Telling { map, told, .. } => (told.len() > self.members.len() / 2).then(|| Ok(map.clone())),
            State::Failed(error) => Some(Err(error.clone())),
        }
    }

    /// Whether a node has still to be told of the outcome: keep ticking for a while.
    #[must_use]
    pub fn has_untold(&self) -> bool {
        match &self.state {
            State::Telling { told, lost, .. } => {
                self.members.keys().any(|node| !told.contains(node) && !lost.contains(node))
            }
            State::Meeting { .. } | State::Promising { .. } | State::Failed(_) => false,
        }
    }

    /// Why it takes so long, by node.
    pub fn waiting_on(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.members.keys().filter_map(|node| match (&self.state, self.waiting_on.get(node)) {
            (_, Some(reason)) => Some((*node, reason.as_str())),
            (State::Meeting { met, formed }, None) if !met.contains_key(node) && !formed.contains_key(node) => {
                Some((*node, "no answer yet"))
            }
            (State::Meeting { .. } | State::Promising { .. } | State::Telling { .. } | State::Failed(_), None) => {
                None
            }
        })
    }

    /// Where the nodes are reached.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.members.iter().map(|(node, member)| (*node, member.address.clone())).collect()
    }

    /// `Err` says why the answer does not help yet.
    fn take_in(&mut self, from: NodeId, reply: v1::FormReply) -> Result<(), String> {
        let v1::FormReply { node, incarnation, formed, promised_to, refused, about, listed: _ } = reply;
        let Some(expected) = self.members.get(&from).filter(|_| node == from.0) else {
            return Err(format!("its address leads to node {node}"));
        };
        let life = Incarnation::from_bytes(&incarnation).filter(|life| life.0 != 0).ok_or("no incarnation")?;
        if let Some(map) = formed {
            let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
            return self.take_formed(from, map);
        }
        if let Some(named) = expected.incarnation.filter(|named| *named != life) {
            self.fail(InitError::Incarnation { node: from, named, found: life });
            return Ok(());
        }
        let address = expected.address.clone();
        let ours = self.ballot.to_bytes();
        match &mut self.state {
            State::Meeting { met, formed } => {
                formed.remove(&from);
                met.insert(from, Met { member: describe(from, life, address, about)? });
            }
            State::Promising { set, promised } => {
                if set.get(&from).is_none_or(|member| member.incarnation != life) {
                    // Who has promised is bound to another set now; a higher ballot frees it.
                    self.ballot.0 += 1;
                    self.state = State::begin();
                    return Err(format!("it was restarted as {life} before all had promised"));
                }
                if promised_to == ours {
                    promised.insert(from);
                }
            }
            State::Telling { map, lost, .. } if map.incarnation_of(from) != Some(life) => {
                // The cluster exists without it: it has to join.
                lost.insert(from);
            }
            State::Telling { .. } | State::Failed(_) => {}
        }
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    fn take_formed(&mut self, from: NodeId, theirs: ClusterMap) -> Result<(), String> {
        let (one_at, one) = match &mut self.state {
            State::Meeting { formed, met } => {
                met.remove(&from);
                formed.insert(from, theirs);
                return Ok(());
            }
            State::Promising { .. } => {
                self.state = State::Meeting { met: BTreeMap::new(), formed: [(from, theirs)].into() };
                return Ok(());
            }
            State::Telling { map, found, told, .. } if map.uid == theirs.uid => {
                // An Init of the same name may have been faster.
                if *map != theirs && (!*found || map.version < theirs.version) {
                    (*map, *found) = (theirs, true);
                }
                told.insert(from);
                return Ok(());
            }
            State::Telling { map, told, .. } => (told.first().copied().unwrap_or(from), map.uid),
            State::Failed(_) => return Ok(()),
        };
        self.fail(InitError::TwoClusters { one_at, one, other_at: from, other: theirs.uid });
        Ok(())
    }

    /// Goes to the next state when this one is done.
    fn move_on(&mut self) {
        match &self.state {
            State::Meeting { met, formed } if met.len() + formed.len() == self.members.len() => {
                self.state = match formed.iter().next() {
                    None => State::Promising {
                        set: met.iter().map(|(node, met)| (*node, met.member.clone())).collect(),
                        promised: BTreeSet::new(),
                    },
                    Some((node, map)) => self.meet_formed(*node, map, formed),
                };
            }
            State::Promising { set, promised } if promised.len() == set.len() => {
                self.state = match initial_map(self.uid, &self.spec, set.clone()) {
                    Ok(map) => State::telling(map, false, BTreeSet::new()),
                    Err(error) => State::Failed(error.into()),
                };
            }
            State::Meeting { .. } | State::Promising { .. } | State::Telling { .. } | State::Failed(_) => {}
        }
    }

    /// Some of the set belong to a cluster: it is what was asked for, or it is in the way.
    fn meet_formed(&self, node: NodeId, map: &ClusterMap, formed: &BTreeMap<NodeId, ClusterMap>) -> State {
        if let Some((other_at, other)) = formed.iter().find(|(_, other)| other.uid != map.uid) {
            let (one_at, one, other_at, other) = (node, map.uid, *other_at, other.uid);
            return State::Failed(InitError::TwoClusters { one_at, one, other_at, other });
        }
        let complete = formed.len() == self.members.len();
        let same_nodes = map.members.keys().eq(self.members.keys());
        let wanted = if self.named { map.uid == self.uid } else { same_nodes && !complete };
        if !wanted {
            return State::Failed(InitError::Formed { node, uid: map.uid });
        }
        let newest = formed.values().max_by_key(|map| map.version).unwrap_or(map);
        State::telling(newest.clone(), true, formed.keys().copied().collect())
    }

    fn fail(&mut self, error: InitError) {
        self.state = State::Failed(error);
    }
}

impl State {
    fn begin() -> Self {
        Self::Meeting { met: BTreeMap::new(), formed: BTreeMap::new() }
    }

    fn telling(map: ClusterMap, found: bool, told: BTreeSet<NodeId>) -> Self {
        Self::Telling { map, found, told, lost: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests;
