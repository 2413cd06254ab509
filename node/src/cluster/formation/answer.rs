//! How a node answers those that ask while a cluster forms, and afterwards.

use std::collections::BTreeMap;

use crema_api::v1::{self, form_request::Ask};

use super::{Former, Promise, State, error::bound_elsewhere, init::Ballot};
use crate::{
    cluster::map::ClusterMap,
    faults::Fault,
    types::{Incarnation, NodeId},
};

impl Former {
    /// Answers a peer, an initiator, or a node that looks for a cluster.
    pub fn on_request(&mut self, request: v1::FormRequest) -> v1::FormReply {
        let refused = match self.judge(request) {
            Ok(()) => String::new(),
            Err(reason) => reason,
        };
        let (formed, promised_to) = match &self.state {
            State::Forming { promised, .. } => (None, promised.as_ref().map(Promise::to_bytes)),
            State::Formed { map, .. } => (Some(v1::ClusterMap::from(map)), None),
            State::Joining { .. } | State::Failed(_) => (None, None),
        };
        v1::FormReply {
            node: self.node.0,
            incarnation: self.incarnation.to_bytes(),
            formed,
            promised_to: promised_to.unwrap_or_default(),
            refused,
            about: Some(self.about.clone()),
            listed: self.listed_ids(),
        }
    }

    /// Does what a request asks for, or says why not.
    fn judge(&mut self, request: v1::FormRequest) -> Result<(), String> {
        let v1::FormRequest { node, incarnation, listed, initiator, ask } = request;
        if let State::Failed(error) = &self.state {
            return Err(format!("node {} can't take part: {error}", self.node));
        }
        let ask = ask.ok_or("nothing was asked")?;
        if let Some(initiator) = initiator {
            return self.judge_initiator(initiator, ask);
        }
        let from = NodeId(node);
        // Who looks for a cluster has no list.
        let only_looks = listed.is_empty() && matches!(ask, Ask::Probe(_));
        if listed != self.listed_ids() && !only_looks {
            return Err(format!("node {} has the list {:?}, not {listed:?}", self.node, self.listed_ids()));
        }
        if from == self.node {
            return Err(format!("this is node {from} itself: two processes have one id, or an address is wrong"));
        }
        let life = Incarnation::from_bytes(&incarnation).filter(|life| life.0 != 0).ok_or("no incarnation")?;
        if self.faults.has(Fault::InitRepeated) && from == self.proposer() {
            self.forget_for(life, &ask);
        }
        match ask {
            Ask::Probe(_) => Ok(()),
            Ask::Promise(to) if to != incarnation => Err("a promise is only given to the one who asks".into()),
            Ask::Promise(_) => self.promise(from, life),
            Ask::Init(map) => self.init(from, life, map),
            Ask::Exists(_) => Err("only an initiator tells of a cluster".into()),
        }
    }

    /// The planted bug: a member believes a restarted proposer that there is no cluster yet.
    fn forget_for(&mut self, life: Incarnation, ask: &Ask) {
        let stranger = match &self.state {
            State::Forming { promised, .. } => promised.as_ref().is_some_and(|to| *to != Promise::Proposer(life)),
            State::Formed { map, .. } => map.incarnation_of(self.proposer()) != Some(life),
            State::Joining { .. } | State::Failed(_) => false,
        };
        if stranger && matches!(ask, Ask::Probe(_) | Ask::Promise(_)) {
            self.state = State::begin();
        }
    }

    fn promise(&mut self, from: NodeId, life: Incarnation) -> Result<(), String> {
        if self.awaits_init {
            return Err(format!("node {} waits for Init", self.node));
        }
        let proposer = self.proposer();
        if from != proposer {
            return Err(format!("only node {proposer}, the lowest of the list, may ask for a promise"));
        }
        let State::Forming { promised, .. } = &mut self.state else { return Err(self.belongs()) };
        match promised {
            None => {
                *promised = Some(Promise::Proposer(life));
                Ok(())
            }
            Some(Promise::Proposer(bound)) if *bound == life => Ok(()),
            Some(bound) => Err(bound.elsewhere(self.node, from)),
        }
    }

    fn init(&mut self, from: NodeId, life: Incarnation, map: v1::ClusterMap) -> Result<(), String> {
        let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
        if self.is_settled(&map)? {
            return Ok(());
        }
        let State::Forming { promised: Some(Promise::Proposer(bound)), .. } = &self.state else {
            return Err(format!("node {} has not promised itself to {life}", self.node));
        };
        if *bound != life {
            return Err(format!("node {} has not promised itself to {life}", self.node));
        }
        if !map.members.keys().eq(self.listed.keys()) || map.incarnation_of(from) != Some(life) {
            return Err("Init must name the list and the one who sends it".into());
        }
        self.take_place(map)
    }

    fn judge_initiator(&mut self, initiator: v1::Initiator, ask: Ask) -> Result<(), String> {
        let v1::Initiator { ballot, members } = initiator;
        let ballot = Ballot::from_bytes(&ballot).filter(|ballot| ballot.0 != 0).ok_or("no ballot")?;
        match ask {
            Ask::Probe(_) => Ok(()),
            Ask::Exists(map) => {
                let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
                self.learn("an initiator's source", map)
            }
            Ask::Promise(_) | Ask::Init(_) if !self.awaits_init => {
                Err(format!("node {} forms by itself as it was started; Init is not for it", self.node))
            }
            Ask::Promise(to) if to != ballot.to_bytes() => Err("a promise is only given to the one who asks".into()),
            Ask::Promise(_) => self.promise_initiator(ballot, exact_set(members)?),
            Ask::Init(map) => self.init_by(ballot, map),
        }
    }

    /// The initiator has asked all of its set: a cluster that this node would have joined is gone if its members are in it.
    fn promise_initiator(&mut self, ballot: Ballot, members: BTreeMap<NodeId, Incarnation>) -> Result<(), String> {
        let named = members.get(&self.node).copied();
        if named != Some(self.incarnation) {
            let named = named.map_or("nobody".to_owned(), |named| named.to_string());
            return Err(format!("node {} is {}, Init names {named}", self.node, self.incarnation));
        }
        if let State::Joining { map, .. } = &self.state {
            let elsewhere = |node: &&NodeId| map.incarnation_of(**node).is_some() && !members.contains_key(node);
            if let Some(other) = map.members.keys().find(elsewhere) {
                let uid = map.uid;
                return Err(format!("node {} is about to join cluster {uid}, of node {other} and others", self.node));
            }
            self.state = State::begin();
        }
        let State::Forming { promised, .. } = &mut self.state else { return Err(self.belongs()) };
        match promised {
            Some(Promise::Initiator { ballot: bound, members: of }) if *bound == ballot && *of != members => {
                return Err("Init names another set than before".into());
            }
            Some(bound @ Promise::Initiator { .. }) if !bound.yields_to(ballot, &members) => {
                return Err(bound.elsewhere(self.node, NodeId(0)));
            }
            Some(bound @ Promise::Proposer(_)) => return Err(bound.elsewhere(self.node, NodeId(0))),
            Some(Promise::Initiator { .. }) | None => {}
        }
        *promised = Some(Promise::Initiator { ballot, members });
        Ok(())
    }

    fn init_by(&mut self, ballot: Ballot, map: v1::ClusterMap) -> Result<(), String> {
        let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
        if self.is_settled(&map)? {
            return Ok(());
        }
        let named: BTreeMap<_, _> = map.members.iter().map(|(node, member)| (*node, member.incarnation)).collect();
        match &self.state {
            State::Forming { promised: Some(Promise::Initiator { ballot: bound, members }), .. }
                if *bound == ballot && *members == named =>
            {
                self.take_place(map)
            }
            State::Forming { .. } | State::Joining { .. } | State::Formed { .. } | State::Failed(_) => {
                Err(format!("node {} has not promised itself to this Init", self.node))
            }
        }
    }

    /// Whether this node belongs to the cluster of a map already; an error when it belongs to another.
    fn is_settled(&self, map: &ClusterMap) -> Result<bool, String> {
        match &self.state {
            State::Formed { map: ours, .. } if ours.uid == map.uid => Ok(true),
            State::Formed { .. } | State::Failed(_) => Err(self.belongs()),
            State::Forming { .. } | State::Joining { .. } => Ok(false),
        }
    }

    fn take_place(&mut self, map: ClusterMap) -> Result<(), String> {
        if map.incarnation_of(self.node) != Some(self.incarnation) {
            return Err(format!("node {} is {}, which Init does not name", self.node, self.incarnation));
        }
        self.adopt(map);
        Ok(())
    }

    fn belongs(&self) -> String {
        match &self.state {
            State::Forming { .. } => format!("node {} belongs to no cluster", self.node),
            State::Joining { map, .. } => format!("node {} is about to join cluster {}", self.node, map.uid),
            State::Formed { map, .. } => format!("node {} belongs to cluster {}", self.node, map.uid),
            State::Failed(error) => error.to_string(),
        }
    }
}

impl Promise {
    fn to_bytes(&self) -> bytes::Bytes {
        match self {
            Self::Proposer(life) => life.to_bytes(),
            Self::Initiator { ballot, .. } => ballot.to_bytes(),
        }
    }

    /// Whether a promise to an initiator may be given to this one instead, or again.
    fn yields_to(&self, later: Ballot, nodes: &BTreeMap<NodeId, Incarnation>) -> bool {
        match self {
            Self::Proposer(_) => false,
            Self::Initiator { ballot, members } => {
                *ballot <= later && members.keys().all(|node| nodes.contains_key(node))
            }
        }
    }

    fn elsewhere(&self, node: NodeId, proposer: NodeId) -> String {
        match self {
            Self::Proposer(bound) => bound_elsewhere(node, proposer, *bound),
            Self::Initiator { members, .. } => {
                let nodes: Vec<u64> = members.keys().map(|node| node.0).collect();
                format!("node {node} has promised itself to a later Init, or to one of other nodes: {nodes:?}")
            }
        }
    }
}

fn exact_set(members: Vec<v1::FirstMember>) -> Result<BTreeMap<NodeId, Incarnation>, String> {
    let mut set = BTreeMap::new();
    for v1::FirstMember { node, incarnation } in members {
        let life = Incarnation::from_bytes(&incarnation).filter(|life| life.0 != 0).ok_or("no incarnation")?;
        if set.insert(NodeId(node), life).is_some() {
            return Err(format!("Init names node {node} twice"));
        }
    }
    Ok(set)
}
