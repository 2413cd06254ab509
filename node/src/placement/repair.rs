//! Repair: dead and unfit replicas are replaced, missing ones added, surplus ones taken out.

use crate::{
    cluster::{
        command::Incoming,
        map::{Reason, ReplicaAt, ReplicaSet},
    },
    placement::{
        GroupHealth, nodes,
        planner::{Change, Planner},
    },
    types::{GroupId, NodeId},
};

/// What is wrong with a shard's set.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// A replica that is dead, or unfit.
    Lost(ReplicaAt),
    /// Fewer voters than there should be.
    Voter,
    /// More voters than there should be.
    Surplus,
    /// A learner that nothing wants.
    Stray(ReplicaAt),
}

impl Planner<'_> {
    /// Looks at the shards that are closest to losing their majority first.
    pub(super) fn repair(&mut self) {
        let answering =
            |set: &ReplicaSet| set.voters().filter(|at| nodes::answers(self.map, self.health, at)).count();
        let mut needy: Vec<_> =
            self.shards().filter_map(|(group, set)| Some((answering(set), group, set, self.need(set)?))).collect();
        needy.sort_by_key(|(answering, group, ..)| (*answering, *group));
        for (_, group, set, need) in needy {
            match self.settled(group, set) {
                Ok(health) => self.repair_one(group, set, health, need),
                Err(why) => {
                    self.repairing |= !matches!(need, Need::Voter) && self.sound_voters(set) > 0;
                    self.say_unsettled(group, set, why);
                }
            }
        }
        self.say_leaderless();
    }

    fn need(&self, set: &ReplicaSet) -> Option<Need> {
        let lost = set.replicas.iter().filter(|at| !self.is_sound(at));
        let lost = lost.min_by_key(|at| (at.learner, self.map.is_alive(at), at.replica));
        let voters = self.sound_voters(set);
        let wanted = self.wanted_voters();
        let stray = || set.replicas.iter().find(|at| at.learner).copied();
        match lost {
            Some(lost) => Some(Need::Lost(*lost)),
            None if voters < wanted => Some(Need::Voter),
            None if voters > wanted => Some(Need::Surplus),
            None => stray().map(Need::Stray),
        }
    }

    fn sound_voters(&self, set: &ReplicaSet) -> usize {
        set.voters().filter(|at| self.is_sound(at)).count()
    }

    fn wanted_voters(&self) -> usize {
        usize::try_from(self.map.replication_factor).unwrap_or(usize::MAX)
    }

    fn repair_one(&mut self, group: GroupId, set: &ReplicaSet, health: &GroupHealth, need: Need) {
        match need {
            Need::Lost(lost) => self.replace(group, set, lost),
            Need::Voter => self.add_voter(group, set),
            Need::Surplus => match self.surplus(group, set, health) {
                Some(at) => self.take_out(group, at),
                None => self.waiting.say(group, "has a replica too many, and needs it for a majority"),
            },
            Need::Stray(learner) => self.take_out(group, learner),
        }
    }

    fn replace(&mut self, group: GroupId, set: &ReplicaSet, lost: ReplicaAt) {
        let voters = self.sound_voters(set);
        // Nobody could bring a newcomer level, and each that is taken out is one less to look at. The other groups need
        // not wait for what only a person can mend.
        if voters == 0 {
            return self.waiting.say(group, "has no replica whose state is sound");
        }
        self.repairing = true;
        if lost.learner || (voters >= self.wanted_voters() && self.survives(set, lost.replica)) {
            return self.take_out(group, lost);
        }
        match self.incoming(group, set, Some(lost.node)) {
            Ok(incoming) => {
                let change = Change { incoming, outgoing: Some(lost), learner: false, reason: Reason::Repair };
                self.start(group, change);
            }
            Err(_) if self.is_returning(lost.node) => {
                self.waiting.say(group, format!("waits for node {}, which came back empty", lost.node));
            }
            // Started again with a disk that works, it goes on with what it has.
            Err(why) if self.map.is_alive(&lost) && self.layout.has_failed_disk(lost.node) => {
                let node = lost.node;
                self.waiting
                    .say(group, format!("waits for node {node}, whose disk failed; no other takes over: {why}"));
            }
            Err(_) if self.survives(set, lost.replica) => self.take_out(group, lost),
            Err(why) => {
                let state = if self.map.is_alive(&lost) { "an unfit" } else { "a dead" };
                let node = lost.node;
                self.waiting.say(group, format!("has {state} replica on node {node} that can't be replaced: {why}"));
            }
        }
    }

    fn add_voter(&mut self, group: GroupId, set: &ReplicaSet) {
        match self.incoming(group, set, None) {
            Ok(incoming) => {
                self.repairing = true;
                self.start(group, Change { incoming, outgoing: None, learner: false, reason: Reason::Repair });
            }
            Err(why) => {
                let (has, wanted) = (set.voters().count(), self.wanted_voters());
                self.waiting.say(group, format!("has {has} of {wanted} replicas and no node for another: {why}"));
            }
        }
    }

    /// A learner that is there already, or a new replica: on `back`, the node whose replica died, when that came back.
    /// Where an unfit one is there is no place for another.
    fn incoming(&self, group: GroupId, set: &ReplicaSet, back: Option<NodeId>) -> Result<Incoming, String> {
        let ready = |at: &&ReplicaAt| {
            let there = self.is_sound(at) && nodes::answers(self.map, self.health, at);
            at.learner && there && nodes::stays(self.map, at.node)
        };
        if let Some(learner) = set.replicas.iter().find(ready) {
            return Ok(Incoming::Promote(learner.replica));
        }
        let same = back.filter(|node| {
            let free = nodes::stays(self.map, *node) && !self.layout.is_home(group, *node);
            free && self.layout.fits(group, *node).is_ok()
        });
        if back.is_some_and(|node| same.is_none() && self.is_returning(node)) {
            return Err("its node is coming back".to_owned());
        }
        same.map_or_else(|| self.layout.target(group, back), Ok).map(Incoming::New)
    }

    /// The voter that is missed least: on a drained node, then the most crowded, not the leader, the fullest node's.
    fn surplus(&self, group: GroupId, set: &ReplicaSet, health: &GroupHealth) -> Option<ReplicaAt> {
        let removable = set.voters().filter(|at| self.survives(set, at.replica));
        let rank = |at: &&ReplicaAt| {
            let leads = at.replica == health.leader;
            let crowding = self.layout.crowding(group, at.node, None);
            (!nodes::stays(self.map, at.node), crowding, !leads, self.layout.load(at.node), at.replica)
        };
        removable.max_by_key(rank).copied()
    }

    fn take_out(&mut self, group: GroupId, at: ReplicaAt) {
        let outgoing = Some(at);
        self.start(group, Change { incoming: Incoming::None, outgoing, learner: false, reason: Reason::Repair });
    }

    /// A shard without a leader serves nobody: it is worth a line even when nothing is to be changed.
    fn say_leaderless(&mut self) {
        for (group, set) in self.shards() {
            if !self.health.groups.contains_key(&group) && !self.is_busy(group) {
                self.say_unsettled(group, set, super::planner::Unsettled::NoLeader);
            }
        }
    }
}
