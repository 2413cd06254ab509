//! Balance of leaders: each shard's set begins with the voter that should lead; every node should lead equally many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    cluster::{
        command::MetaCommand,
        map::{MemberState, ReplicaAt, ReplicaSet},
    },
    placement::{nodes, planner::Planner},
    types::{GroupId, NodeId},
};

/// Who should lead what, as it is and as it is being changed.
#[derive(Default)]
struct Leaders {
    /// The groups that each node should lead; the nodes that may lead have an entry.
    led: BTreeMap<NodeId, BTreeSet<GroupId>>,
    /// Where else a group's leader could be; only of groups that may change.
    choices: BTreeMap<GroupId, Vec<NodeId>>,
    /// Changes, in their order.
    moved: Vec<(GroupId, NodeId)>,
}

impl Planner<'_> {
    /// Gives each group a preferred leader that can lead, and levels their number on the nodes.
    pub(super) fn prefer_leaders(&mut self) {
        let room = self.room();
        if room == 0 {
            return;
        }
        let mut leaders = Leaders::default();
        leaders.led.extend(self.leading_nodes().map(|node| (node, BTreeSet::new())));
        let mut orphans = Vec::new();
        for (group, set) in &self.map.groups {
            let shard = *group != GroupId::META;
            let preferred = set.replicas.first().filter(|at| self.may_stay_preferred(at));
            match preferred {
                Some(at) if shard => _ = leaders.led.entry(at.node).or_default().insert(*group),
                Some(_) => {}
                None => orphans.push(*group),
            }
            if shard && !self.is_busy(*group) && !self.health.asked.contains(group) {
                let mut choices = self.candidates(set);
                choices.retain(|node| !self.health.relieved.contains(node));
                leaders.choices.insert(*group, choices);
            }
        }
        for group in orphans.into_iter().filter(|group| !self.is_busy(*group)) {
            let Some(set) = self.map.groups.get(&group) else { continue };
            let leader = self.health.groups.get(&group).and_then(|health| self.map.node_of(group, health.leader));
            leaders.adopt(group, &self.candidates(set), leader);
        }
        while leaders.moved.len() < room && leaders.level() {}
        for (group, node) in leaders.moved {
            let Some(set) = self.map.groups.get(&group) else { continue };
            // One that was given away on one path and came back on another has not moved.
            let first = set.replicas.first().map(|at| at.replica);
            let voter = set.voters().find(|at| self.is_at(at, node)).map(|at| at.replica);
            if let Some(replica) = voter.filter(|_| voter != first) {
                self.act(MetaCommand::Prefer { group, replica });
            }
        }
    }

    fn is_at(&self, at: &ReplicaAt, node: NodeId) -> bool {
        at.node == node && self.is_sound(at)
    }

    /// A silent node keeps its leaderships until it is declared down: it may be back in a moment.
    fn may_stay_preferred(&self, at: &ReplicaAt) -> bool {
        !at.learner && self.is_sound(at) && nodes::stays(self.map, at.node)
    }

    fn leading_nodes(&self) -> impl Iterator<Item = NodeId> {
        let up = self.map.members.iter().filter(|(_, member)| member.state == MemberState::Up);
        up.map(|(node, _)| *node).filter(|node| nodes::connected(self.map, self.health, *node))
    }

    fn candidates(&self, set: &ReplicaSet) -> Vec<NodeId> {
        let leading: BTreeSet<NodeId> = self.leading_nodes().collect();
        let voters = set.voters().filter(|at| self.is_sound(at) && leading.contains(&at.node));
        voters.map(|at| at.node).collect()
    }
}

impl Leaders {
    fn count(&self, node: NodeId) -> usize {
        self.led.get(&node).map_or(0, BTreeSet::len)
    }

    /// A group without one that can lead goes to the node that leads least; among equals to the one that does lead.
    fn adopt(&mut self, group: GroupId, candidates: &[NodeId], leader: Option<NodeId>) {
        let rank = |node: &&NodeId| (self.count(**node), Some(**node) != leader, **node);
        if let Some(node) = candidates.iter().min_by_key(rank).copied() {
            self.moved.push((group, node));
            if group != GroupId::META {
                self.led.entry(node).or_default().insert(group);
            }
        }
    }

    /// Takes one from the node that leads most and gives one to a node that leads at least two less, over as few
    /// nodes between them as possible. `false` when that is nowhere possible.
    fn level(&mut self) -> bool {
        let mut sources: Vec<NodeId> = self.led.keys().copied().collect();
        sources.sort_by_key(|node| (std::cmp::Reverse(self.count(*node)), *node));
        let path = sources.into_iter().find_map(|from| self.path(from));
        let Some(path) = path else { return false };
        // From its end, so that a plan which has room for a part of it leaves no node with more than before.
        for (from, group, to) in path.into_iter().rev() {
            self.led.entry(from).or_default().remove(&group);
            self.led.entry(to).or_default().insert(group);
            self.moved.retain(|(moved, _)| *moved != group);
            self.moved.push((group, to));
        }
        true
    }

    /// The moves `(from, group, to)` along the shortest way to a node that leads at least two less.
    fn path(&self, from: NodeId) -> Option<Vec<(NodeId, GroupId, NodeId)>> {
        let mut came: BTreeMap<NodeId, (NodeId, GroupId)> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for group in self.led.get(&at).into_iter().flatten() {
                for to in self.choices.get(group).into_iter().flatten().copied() {
                    if to == from || came.contains_key(&to) {
                        continue;
                    }
                    came.insert(to, (at, *group));
                    if self.count(to) + 2 <= self.count(from) {
                        return Some(walk_back(&came, from, to));
                    }
                    queue.push_back(to);
                }
            }
        }
        None
    }
}

fn walk_back(
    came: &BTreeMap<NodeId, (NodeId, GroupId)>,
    from: NodeId,
    mut to: NodeId,
) -> Vec<(NodeId, GroupId, NodeId)> {
    let mut path = Vec::new();
    while to != from {
        let Some((before, group)) = came.get(&to).copied() else { break };
        path.push((before, group, to));
        to = before;
    }
    path.reverse();
    path
}
