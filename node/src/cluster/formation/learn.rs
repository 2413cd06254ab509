//! What a node makes of answers, and of clusters that it hears of.

use std::collections::BTreeMap;

use crema_api::v1;

use super::{FormError, Former, Seen, State, error::bound_elsewhere};
use crate::{
    cluster::map::{ClusterMap, Member, MemberState, SUPPORTED_LEVELS, wire::member_from},
    types::{Incarnation, NodeId},
};

/// What a cluster has for this life of this node.
enum Place {
    /// It is a member.
    Member,
    /// It is none yet.
    None,
}

impl Former {
    /// Takes a peer's answer in.
    pub fn on_reply(&mut self, from: NodeId, reply: v1::FormReply) {
        if let Err(reason) = self.take_in(from, reply) {
            self.waiting_on.insert(from, reason);
        }
        self.decide_if_all_promised();
    }

    /// A cluster was found at an address that discovery or the user gave. A node that is to form alone must be told before
    /// its first tick.
    pub fn on_found(&mut self, at: &str, map: ClusterMap) {
        // What is wrong with it is in the outcome.
        let _ = self.learn(at, map);
    }

    /// The cluster that this life was to join is gone: it takes part in nothing any more, unless it has promised itself to an
    /// Init since.
    pub fn on_gone(&mut self) {
        if let State::Joining { map, .. } = &self.state {
            self.state = State::Failed(FormError::Gone { uid: map.uid });
        }
    }

    /// The meta group has committed a newer map: the one that names this node, or one for late comers.
    pub fn on_map(&mut self, newer: &ClusterMap) {
        match &mut self.state {
            State::Formed { map, .. } if map.uid == newer.uid && map.version < newer.version => {
                newer.clone_into(map);
            }
            State::Joining { map, .. } if map.uid == newer.uid => self.on_found("the cluster", newer.clone()),
            State::Forming { .. } | State::Joining { .. } | State::Formed { .. } | State::Failed(_) => {}
        }
    }

    /// `Err` says why the answer does not help.
    fn take_in(&mut self, from: NodeId, reply: v1::FormReply) -> Result<(), String> {
        let v1::FormReply { node, incarnation, formed, promised_to, refused, about, listed } = reply;
        if node != from.0 || from == self.node || !self.listed.contains_key(&from) {
            return Err(format!("its address leads to node {node}"));
        }
        // Before the lists: the cluster may have grown since, and this node's list with it.
        if let Some(map) = formed {
            let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
            self.waiting_on.remove(&from);
            self.learn(&format!("node {from}"), map)?;
            self.told(from);
            return Ok(());
        }
        if listed != self.listed_ids() {
            let error = FormError::ListsDiffer { peer: from, ours: self.listed_ids(), theirs: listed };
            return match &self.state {
                State::Forming { .. } => self.fail(error),
                State::Joining { .. } | State::Formed { .. } | State::Failed(_) => Err(error.to_string()),
            };
        }
        let life = Incarnation::from_bytes(&incarnation).filter(|life| life.0 != 0).ok_or("no incarnation")?;
        match &self.state {
            State::Forming { .. } => self.meet(from, life, &promised_to, about, refused),
            State::Joining { .. } => self.meet_empty(from, life, about),
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
        let member = self.describe(from, life, about)?;
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

    /// A peer has lost the cluster that this node would join. When all have, nobody of the list is in it any more, and
    /// the list votes as it did the first time.
    fn meet_empty(&mut self, from: NodeId, life: Incarnation, about: Option<v1::Member>) -> Result<(), String> {
        let member = self.describe(from, life, about)?;
        if let State::Joining { empty, .. } = &mut self.state {
            empty.insert(from, Seen { promised: false, member });
        }
        let State::Joining { empty, .. } = &self.state else { return Ok(()) };
        if self.others().all(|node| empty.contains_key(&node)) {
            self.state = State::Forming { promised: None, seen: empty.clone() };
            self.waiting_on.clear();
        }
        Ok(())
    }

    /// A listed peer as the first map is to describe it.
    fn describe(&self, from: NodeId, life: Incarnation, about: Option<v1::Member>) -> Result<Member, String> {
        let address = self.listed.get(&from).cloned().unwrap_or_default();
        describe(from, life, address, about)
    }

    /// There is a cluster: ours, one that names this life of this node, or one to join.
    pub(super) fn learn(&mut self, at: &str, theirs: ClusterMap) -> Result<(), String> {
        let known = match &self.state {
            State::Formed { map, .. } => Some((map.uid, format!("node {}", self.node))),
            State::Joining { map, told_by, .. } => Some((map.uid, told_by.clone())),
            State::Forming { .. } => None,
            State::Failed(_) => return Ok(()),
        };
        if let Some((one, one_at)) = known.filter(|(uid, _)| *uid != theirs.uid) {
            let (other_at, other) = (at.to_owned(), theirs.uid);
            return self.fail(FormError::TwoClusters { one_at, one, other_at, other });
        }
        if matches!(self.state, State::Formed { .. }) {
            return Ok(());
        }
        match self.place_in(&theirs) {
            Ok(Place::Member) => self.adopt(theirs),
            Ok(Place::None) => self.join(at, theirs),
            Err(error) => return self.fail(error),
        }
        Ok(())
    }

    fn join(&mut self, at: &str, theirs: ClusterMap) {
        match &mut self.state {
            State::Joining { map, empty, .. } => {
                empty.clear();
                if map.version < theirs.version {
                    *map = theirs;
                }
            }
            State::Forming { .. } | State::Formed { .. } | State::Failed(_) => {
                self.state = State::Joining { map: theirs, told_by: at.to_owned(), empty: BTreeMap::new() };
            }
        }
    }

    /// Whether this life of this node is a member, or may become one.
    fn place_in(&self, map: &ClusterMap) -> Result<Place, FormError> {
        if !SUPPORTED_LEVELS.supports(map.feature_level) {
            return Err(FormError::FeatureLevel { level: map.feature_level, ours: SUPPORTED_LEVELS });
        }
        let (uid, node, ours) = (map.uid, self.node, self.incarnation);
        let Some(member) = map.members.get(&node).filter(|member| member.incarnation == ours) else {
            return Ok(Place::None);
        };
        match member.state {
            MemberState::Joining | MemberState::Up | MemberState::Draining => Ok(Place::Member),
            MemberState::Down | MemberState::Removed => Err(FormError::Retired { node, ours, uid }),
        }
    }

    fn told(&mut self, peer: NodeId) {
        self.waiting_on.remove(&peer);
        if let State::Formed { untold, .. } = &mut self.state {
            untold.remove(&peer);
        }
    }
}

/// A node as the first map is to describe it: its own words, but for who and where it is.
pub(super) fn describe(
    node: NodeId,
    life: Incarnation,
    address: String,
    about: Option<v1::Member>,
) -> Result<Member, String> {
    let about = about.unwrap_or_default();
    let about = v1::Member { node: node.0, incarnation: life.to_bytes(), address, state: 1, ..about };
    member_from(about).map(|(_, member)| member).map_err(|error| error.to_string())
}
