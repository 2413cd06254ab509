//! Forming a cluster from a static list: a vote of the list, at most once (PROTOCOL 10; pure).
//!
//! `network::form` asks [`Former::on_tick`] whom to ask what, carries requests to [`Former::on_request`] and answers to
//! [`Former::on_reply`], until [`Former::outcome`] is there. The lowest listed id proposes: it first meets every
//! peer, then collects a promise from each, then names them all in `Init`. A promise binds one incarnation to
//! another for the life of both, so two formations can't share a living member. A member that missed `Init`
//! learns the map by asking around.
//!
//! Never here: a clock, a socket, chance. A node in whose place an earlier life already belongs to a cluster is
//! refused for good: with empty memory it must not vote under its old replica ids.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1::{self, form_request::Ask};

use crate::{
    cluster::{
        initial::{ClusterSpec, initial_map},
        map::{ClusterMap, Member, MemberState, SUPPORTED_LEVELS, wire::member_from},
    },
    faults::{Fault, Faults},
    types::{ClusterUid, Incarnation, NodeId},
};

mod error;

pub use error::FormError;

/// What a node knows when it starts to form.
#[derive(Clone, Debug)]
pub struct FormConfig {
    /// This node.
    pub node: NodeId,
    /// Its present life; random, never 0.
    pub incarnation: Incarnation,
    /// Every member of the cluster to be, this node included, with the address of its peer port.
    pub listed: Vec<(NodeId, String)>,
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

/// One node's part in forming. Kept afterwards too: it answers those that come late.
#[derive(Debug)]
pub struct Former {
    node: NodeId,
    incarnation: Incarnation,
    listed: BTreeMap<NodeId, String>,
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
        /// The life of the lowest listed id that this node is bound to.
        promised_to: Option<Incarnation>,
        /// The peers that have answered, as they were when they last did.
        seen: BTreeMap<NodeId, Seen>,
    },
    Formed {
        map: ClusterMap,
        /// Whom this node, having decided, has still to tell.
        untold: BTreeSet<NodeId>,
    },
    Failed(FormError),
}

/// A peer that belongs to no cluster yet.
#[derive(Debug)]
struct Seen {
    promised: bool,
    member: Member,
}

impl Former {
    /// Begins to form. Refuses a list that is wrong in itself or does not hold this node.
    pub fn new(config: FormConfig) -> Result<Self, FormError> {
        let state = State::Forming { promised_to: None, seen: BTreeMap::new() };
        Self::with_state(config, state)
    }

    /// The part of a node that knows its cluster: it only answers.
    pub fn formed(config: FormConfig, map: ClusterMap) -> Result<Self, FormError> {
        Self::with_state(config, State::Formed { map, untold: BTreeSet::new() })
    }

    fn with_state(config: FormConfig, state: State) -> Result<Self, FormError> {
        let FormConfig { node, incarnation, listed, uid, spec, host, zone, client_address, faults } = config;
        let count = listed.len();
        let listed: BTreeMap<_, _> = listed.into_iter().collect();
        let wrong = |reason: &str| Err(FormError::BadList { reason: reason.to_owned() });
        if listed.len() != count {
            return wrong("a node id is there twice");
        }
        if listed.contains_key(&NodeId(0)) {
            return wrong("node ids begin with 1");
        }
        if listed.values().any(String::is_empty) {
            return wrong("an address is empty");
        }
        if listed.values().collect::<BTreeSet<_>>().len() != listed.len() {
            return wrong("an address is there twice");
        }
        let Some(address) = listed.get(&node).cloned() else {
            return wrong(&format!("it does not hold this node, {node}"));
        };
        if incarnation.0 == 0 || uid.0 == 0 {
            return wrong("incarnation and cluster uid must not be 0");
        }
        spec.validate(listed.len()).map_err(FormError::Spec)?;
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
        Ok(Self { node, incarnation, listed, uid, spec, about, faults, state, waiting_on: BTreeMap::new() })
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
            State::Formed { map, untold } => {
                untold.iter().map(|node| (*node, Ask::Init(v1::ClusterMap::from(map)))).collect()
            }
            State::Failed(_) => Vec::new(),
        };
        asks.into_iter().map(|(node, ask)| (node, self.request(ask))).collect()
    }

    /// Answers a peer.
    pub fn on_request(&mut self, request: v1::FormRequest) -> v1::FormReply {
        let refused = match self.judge(request) {
            Ok(()) => String::new(),
            Err(reason) => reason,
        };
        let (formed, promised_to) = match &self.state {
            State::Forming { promised_to, .. } => (None, *promised_to),
            State::Formed { map, .. } => (Some(v1::ClusterMap::from(map)), None),
            State::Failed(_) => (None, None),
        };
        v1::FormReply {
            node: self.node.0,
            incarnation: self.incarnation.to_bytes(),
            formed,
            promised_to: promised_to.map(Incarnation::to_bytes).unwrap_or_default(),
            refused,
            about: Some(self.about.clone()),
            listed: self.listed_ids(),
        }
    }

    /// Takes a peer's answer in.
    pub fn on_reply(&mut self, from: NodeId, reply: v1::FormReply) {
        if let Err(reason) = self.take_in(from, reply) {
            self.waiting_on.insert(from, reason);
        }
        self.decide_if_all_promised();
    }

    /// The map, once there is one; or why this node can't take part, ever.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<ClusterMap, FormError>> {
        match &self.state {
            State::Forming { .. } => None,
            State::Formed { map, .. } => Some(Ok(map.clone())),
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
            (State::Forming { .. } | State::Formed { .. } | State::Failed(_), None) => None,
        })
    }

    /// The meta group has committed a newer map; late comers are answered with it.
    pub fn on_map(&mut self, newer: &ClusterMap) {
        match &mut self.state {
            State::Formed { map, .. } if map.uid == newer.uid && map.version < newer.version => {
                newer.clone_into(map);
            }
            State::Forming { .. } | State::Formed { .. } | State::Failed(_) => {}
        }
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
        self.proposer() == self.node
    }

    fn listed_ids(&self) -> Vec<u64> {
        self.listed.keys().map(|node| node.0).collect()
    }

    fn request(&self, ask: Ask) -> v1::FormRequest {
        v1::FormRequest {
            node: self.node.0,
            incarnation: self.incarnation.to_bytes(),
            listed: self.listed_ids(),
            ask: Some(ask),
        }
    }

    /// Does what a request asks for, or says why not.
    fn judge(&mut self, request: v1::FormRequest) -> Result<(), String> {
        let v1::FormRequest { node, incarnation, listed, ask } = request;
        let from = NodeId(node);
        if listed != self.listed_ids() {
            return Err(format!("node {} has the list {:?}, not {listed:?}", self.node, self.listed_ids()));
        }
        if from == self.node {
            return Err(format!("this is node {from} itself: two processes have one id, or an address is wrong"));
        }
        let life = Incarnation::from_bytes(&incarnation).filter(|life| life.0 != 0).ok_or("no incarnation")?;
        if let State::Failed(error) = &self.state {
            return Err(format!("node {} can't take part: {error}", self.node));
        }
        let ask = ask.ok_or("nothing was asked")?;
        if self.faults.has(Fault::InitRepeated) && from == self.proposer() {
            self.forget_for(life, &ask);
        }
        match ask {
            Ask::Probe(_) => Ok(()),
            Ask::Promise(to) if to != incarnation => Err("a promise is only given to the one who asks".into()),
            Ask::Promise(_) => self.promise(from, life),
            Ask::Init(map) => self.init(from, life, map),
        }
    }

    /// The planted bug: a member believes a restarted proposer that there is no cluster yet.
    fn forget_for(&mut self, life: Incarnation, ask: &Ask) {
        let stranger = match &self.state {
            State::Forming { promised_to, .. } => promised_to.is_some_and(|bound| bound != life),
            State::Formed { map, .. } => map.incarnation_of(self.proposer()) != Some(life),
            State::Failed(_) => false,
        };
        if stranger && matches!(ask, Ask::Probe(_) | Ask::Promise(_)) {
            self.state = State::Forming { promised_to: None, seen: BTreeMap::new() };
        }
    }

    fn promise(&mut self, from: NodeId, life: Incarnation) -> Result<(), String> {
        let proposer = self.proposer();
        if from != proposer {
            return Err(format!("only node {proposer}, the lowest of the list, may ask for a promise"));
        }
        match &mut self.state {
            State::Forming { promised_to, .. } => match *promised_to {
                None => {
                    *promised_to = Some(life);
                    Ok(())
                }
                Some(bound) if bound == life => Ok(()),
                Some(bound) => Err(bound_elsewhere(self.node, from, bound)),
            },
            State::Formed { map, .. } => Err(format!("node {} belongs to cluster {}", self.node, map.uid)),
            State::Failed(error) => Err(error.to_string()),
        }
    }

    fn init(&mut self, from: NodeId, life: Incarnation, map: v1::ClusterMap) -> Result<(), String> {
        let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
        match &self.state {
            State::Formed { map: ours, .. } if ours.uid == map.uid => return Ok(()),
            State::Formed { map: ours, .. } => {
                return Err(format!("node {} belongs to cluster {}", self.node, ours.uid));
            }
            State::Forming { promised_to, .. } if *promised_to == Some(life) => {}
            State::Forming { .. } => {
                return Err(format!("node {} has not promised itself to {life}", self.node));
            }
            State::Failed(error) => return Err(error.to_string()),
        }
        if !map.members.keys().eq(self.listed.keys()) || map.incarnation_of(from) != Some(life) {
            return Err("Init must name the list and the one who sends it".into());
        }
        if map.incarnation_of(self.node) != Some(self.incarnation) {
            return Err(format!("node {} is {}, which Init does not name", self.node, self.incarnation));
        }
        self.adopt(map);
        Ok(())
    }

    /// `Err` says why the answer does not help.
    fn take_in(&mut self, from: NodeId, reply: v1::FormReply) -> Result<(), String> {
        let v1::FormReply { node, incarnation, formed, promised_to, refused, about, listed } = reply;
        if node != from.0 || from == self.node || !self.listed.contains_key(&from) {
            return Err(format!("its address leads to node {node}"));
        }
        if listed != self.listed_ids() {
            let error = FormError::ListsDiffer { peer: from, ours: self.listed_ids(), theirs: listed };
            return self.fail(error);
        }
        if let Some(map) = formed {
            let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
            return self.learn(from, map);
        }
        let life = Incarnation::from_bytes(&incarnation).filter(|life| life.0 != 0).ok_or("no incarnation")?;
        match &self.state {
            State::Forming { .. } => self.meet(from, life, &promised_to, about, refused),
            State::Formed { map, .. } if map.incarnation_of(from) != Some(life) => {
                // It will hear of the cluster when it asks; Init can't help it.
                self.told(from);
                Err(format!("it was restarted as {life} after it had promised"))
            }
            State::Formed { .. } | State::Failed(_) if refused.is_empty() => Ok(()),
            State::Formed { .. } | State::Failed(_) => Err(refused),
        }
    }

    /// A peer without a cluster has answered.
    fn meet(
        &mut self,
        from: NodeId,
        life: Incarnation,
        promised_to: &[u8],
        about: Option<v1::Member>,
        refused: String,
    ) -> Result<(), String> {
        let about = v1::Member { node: from.0, incarnation: life.to_bytes(), ..about.unwrap_or_default() };
        let address = self.listed[&from].clone();
        let (_, member) = member_from(v1::Member { address, state: 1, ..about }).map_err(|e| e.to_string())?;
        let proposing = self.is_proposer();
        let ours = self.incarnation.to_bytes();
        if let State::Forming { seen, .. } = &mut self.state {
            seen.insert(from, Seen { promised: proposing && promised_to == ours, member });
        }
        match Incarnation::from_bytes(promised_to) {
            Some(bound) if proposing && bound != self.incarnation => Err(bound_elsewhere(from, self.node, bound)),
            _ if !refused.is_empty() => Err(refused),
            Some(_) | None => {
                self.waiting_on.remove(&from);
                Ok(())
            }
        }
    }

    /// A peer belongs to a cluster: ours, or one that leaves no place for this life of this node.
    fn learn(&mut self, from: NodeId, theirs: ClusterMap) -> Result<(), String> {
        match &self.state {
            State::Formed { map, .. } if map.uid == theirs.uid => {
                self.told(from);
                Ok(())
            }
            State::Formed { map, .. } => {
                let error = FormError::TwoClusters { peer: from, ours: map.uid, theirs: theirs.uid };
                self.fail(error)
            }
            State::Failed(_) => Ok(()),
            State::Forming { .. } => match self.place_in(&theirs) {
                Ok(()) => {
                    self.adopt(theirs);
                    Ok(())
                }
                Err(error) => self.fail(error),
            },
        }
    }

    /// Whether this life of this node is a member.
    fn place_in(&self, map: &ClusterMap) -> Result<(), FormError> {
        let (uid, node, ours) = (map.uid, self.node, self.incarnation);
        let Some(member) = map.members.get(&node) else {
            return Err(FormError::NotAMember { node, uid });
        };
        if member.incarnation != ours {
            return Err(FormError::Restarted { node, ours, theirs: member.incarnation, uid });
        }
        match member.state {
            MemberState::Joining | MemberState::Up | MemberState::Draining => {}
            MemberState::Down | MemberState::Removed => return Err(FormError::Retired { node, ours, uid }),
        }
        if !SUPPORTED_LEVELS.supports(map.feature_level) {
            return Err(FormError::FeatureLevel { level: map.feature_level, ours: SUPPORTED_LEVELS });
        }
        Ok(())
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

    fn told(&mut self, peer: NodeId) {
        self.waiting_on.remove(&peer);
        if let State::Formed { untold, .. } = &mut self.state {
            untold.remove(&peer);
        }
    }

    fn fail(&mut self, error: FormError) -> Result<(), String> {
        let reason = error.to_string();
        self.state = State::Failed(error);
        Err(reason)
    }
}

fn bound_elsewhere(node: NodeId, proposer: NodeId, bound: Incarnation) -> String {
    format!(
        "node {node} has promised itself to incarnation {bound} of node {proposer}, which was restarted or runs \
         twice; restart node {node} to free it"
    )
}

#[cfg(test)]
mod tests;
