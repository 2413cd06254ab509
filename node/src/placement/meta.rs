//! The meta group's replicas: every living node has one, an odd number of them votes, drained nodes lose theirs last.

use crate::{
    cluster::{
        command::Incoming,
        map::{MAX_META_VOTERS, MemberState, Reason, ReplicaAt, ReplicaSet},
    },
    placement::{
        nodes,
        planner::{Change, Planner},
    },
    types::{GroupId, NodeId, ReplicaId},
};

impl Planner<'_> {
    /// At most one change: the group is busy after it.
    pub(super) fn keep_meta(&mut self) {
        let Some(set) = self.map.groups.get(&GroupId::META) else { return };
        let Some(change) = self.meta_change(set) else { return };
        match self.settled(GroupId::META, set) {
            Ok(_) => self.start(GroupId::META, change),
            Err(why) => self.say_unsettled(GroupId::META, set, why),
        }
    }

    /// The most urgent change, if any.
    fn meta_change(&mut self, set: &ReplicaSet) -> Option<Change> {
        self.replace_voter(set)
            .or_else(|| self.add_learner(set))
            .or_else(|| self.add_meta_voter(set))
            .or_else(|| self.drop_learner(set))
            .or_else(|| self.leave_drained(set))
    }

    /// How many should vote: the largest odd number that the nodes allow which stay.
    fn wanted_meta_voters(&self) -> usize {
        let most = nodes::staying(self.map).count().min(MAX_META_VOTERS);
        if most.is_multiple_of(2) { most.saturating_sub(1) } else { most }
    }

    fn replace_voter(&mut self, set: &ReplicaSet) -> Option<Change> {
        let lost = set.voters().filter(|at| !self.is_sound(at));
        let dead = *lost.min_by_key(|at| (self.map.is_alive(at), at.replica))?;
        let living = set.voters().filter(|at| self.is_sound(at)).count();
        let enough = living >= self.wanted_meta_voters();
        let incoming = if enough { None } else { self.meta_incoming(set, dead.node) };
        let returning = || incoming.is_none() && !enough && self.is_returning(dead.node) && !self.is_ready(dead.node);
        if returning() {
            self.waiting.say(GroupId::META, format!("waits for node {}, which came back empty", dead.node));
            return None;
        }
        if incoming.is_none() && !self.survives(set, dead.replica) {
            let dead = dead.node;
            self.waiting.say(GroupId::META, format!("has a dead replica on node {dead} and no node for another"));
            return None;
        }
        Some(change(incoming.unwrap_or(Incoming::None), Some(dead), false))
    }

    /// A learner that is level already, or a new replica where there is none, best on the node that came back.
    fn meta_incoming(&self, set: &ReplicaSet, back: NodeId) -> Option<Incoming> {
        let fresh = || {
            let missing = self.without_meta(set);
            missing.iter().copied().find(|node| *node == back).or_else(|| missing.first().copied())
        };
        self.best_learner(set).map(Incoming::Promote).or_else(|| fresh().map(Incoming::New))
    }

    fn add_learner(&self, set: &ReplicaSet) -> Option<Change> {
        let node = *self.without_meta(set).first()?;
        Some(change(Incoming::New(node), None, true))
    }

    fn add_meta_voter(&self, set: &ReplicaSet) -> Option<Change> {
        if set.voters().count() >= self.wanted_meta_voters() {
            return None;
        }
        Some(change(Incoming::Promote(self.best_learner(set)?), None, false))
    }

    fn drop_learner(&self, set: &ReplicaSet) -> Option<Change> {
        let dead = set.replicas.iter().find(|at| at.learner && !self.is_sound(at))?;
        Some(change(Incoming::None, Some(*dead), false))
    }

    /// Takes the replica of a drained node out once no shard has one there.
    fn leave_drained(&self, set: &ReplicaSet) -> Option<Change> {
        let emptied = |node: NodeId| {
            let drained = self.map.members.get(&node).is_some_and(|member| member.state == MemberState::Draining);
            let holds = |set: &ReplicaSet| set.replicas.iter().any(|at| at.node == node);
            drained && !self.shards().any(|(_, set)| holds(set))
        };
        let at = *set.replicas.iter().find(|at| emptied(at.node))?;
        let staying = set.voters().filter(|at| nodes::stays(self.map, at.node)).count();
        let short = !at.learner && staying < self.wanted_meta_voters();
        match self.best_learner(set).filter(|_| short) {
            Some(learner) => Some(change(Incoming::Promote(learner), Some(at), false)),
            None if at.learner || self.survives(set, at.replica) => Some(change(Incoming::None, Some(at), false)),
            None => None,
        }
    }

    /// The learner whose vote spreads the voters most over hosts and zones.
    fn best_learner(&self, set: &ReplicaSet) -> Option<ReplicaId> {
        let ready = set.replicas.iter().filter(|at| at.learner && self.is_sound(at) && self.is_ready(at.node));
        let best = ready.min_by_key(|at| (self.crowd_of_voters(set, at.node), at.node))?;
        Some(best.replica)
    }

    fn crowd_of_voters(&self, set: &ReplicaSet, node: NodeId) -> (usize, usize) {
        let Some(own) = self.map.members.get(&node) else { return (0, 0) };
        let voters = set.voters().filter(|at| at.node != node && self.map.is_alive(at));
        voters.filter_map(|at| self.map.members.get(&at.node)).fold((0, 0), |(hosts, zones), other| {
            let same = |a: &str, b: &str| usize::from(!a.is_empty() && a == b);
            (hosts + same(&own.host, &other.host), zones + same(&own.zone, &other.zone))
        })
    }

    /// The nodes that lack a replica and can take one.
    fn without_meta(&self, set: &ReplicaSet) -> Vec<NodeId> {
        let has = |node: NodeId| set.replicas.iter().any(|at| at.node == node && self.map.is_alive(at));
        nodes::staying(self.map).filter(|node| self.is_ready(*node) && !has(*node)).collect()
    }

    fn is_ready(&self, node: NodeId) -> bool {
        nodes::stays(self.map, node) && nodes::connected(self.map, self.health, node)
    }
}

fn change(incoming: Incoming, outgoing: Option<ReplicaAt>, learner: bool) -> Change {
    Change { incoming, outgoing, learner, reason: Reason::Meta }
}
