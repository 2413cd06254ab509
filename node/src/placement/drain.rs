//! Drain: the shards' replicas leave the nodes that are being drained. The meta group's replica is the last to go.

use crate::{
    cluster::{
        command::Incoming,
        map::{Reason, ReplicaAt, ReplicaSet},
    },
    placement::{
        nodes,
        planner::{Change, Planner},
        preflight::DrainRefusal,
    },
    types::{GroupId, NodeId},
};

impl Planner<'_> {
    pub(super) fn drain(&mut self) {
        let drained: Vec<NodeId> = nodes::draining(self.map).collect();
        let left = nodes::staying(self.map).count();
        if left < usize::try_from(self.map.replication_factor).unwrap_or(usize::MAX) {
            let refusal = DrainRefusal::TooFewNodes { left, replication_factor: self.map.replication_factor };
            for node in drained {
                self.waiting.note(format!("node {node} can't be drained: {refusal}"));
            }
            return;
        }
        let newcomer = self.newcomer();
        if let Some(node) = newcomer.filter(|_| !drained.is_empty()) {
            self.waiting.note(format!("drains wait until node {node}, which has joined, has its copy of the map"));
            return;
        }
        for (group, set) in self.shards() {
            let leaves = |at: &&ReplicaAt| drained.contains(&at.node) && self.map.is_alive(at);
            if let Some(at) = set.replicas.iter().find(leaves) {
                self.draining = true;
                self.move_away(group, set, *at);
            }
        }
    }

    fn move_away(&mut self, group: GroupId, set: &ReplicaSet, at: ReplicaAt) {
        if let Err(why) = self.settled(group, set) {
            return self.say_unsettled(group, set, why);
        }
        if let Some(silent) = self.silent_voter(set) {
            let node = at.node;
            return self.waiting.say(group, format!("leaves node {node} when node {silent} is back or replaced"));
        }
        match self.layout.target(group, Some(at.node)) {
            Ok(to) => {
                let incoming = Incoming::New(to);
                let change = Change { incoming, outgoing: Some(at), learner: at.learner, reason: Reason::Drain };
                self.start(group, change);
            }
            Err(why) => self.waiting.say(group, format!("can't leave node {}: {why}", at.node)),
        }
    }
}
