//! Balance of replicas: shards spread over hosts and zones, nodes equally full, with as few moves as that takes.
//!
//! Each move either lowers a shard's crowding, or keeps it and lowers the sum of the squares of the loads, at once or
//! with the moves that follow it. So balancing ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    cluster::{
        command::Incoming,
        map::{Reason, ReplicaAt},
    },
    placement::{
        layout::Crowding,
        nodes,
        planner::{Change, Planner},
    },
    types::{GroupId, NodeId, ReplicaId},
};

/// A replica that may move.
#[derive(Clone, Copy, Debug)]
struct Movable {
    group: GroupId,
    at: ReplicaAt,
    leads: bool,
}

/// A replica and where it goes.
#[derive(Clone, Copy, Debug)]
struct Step {
    movable: Movable,
    to: NodeId,
}

/// Among the moves between two nodes: less crowding, then no leader, then the lowest group.
type Rank = (Crowding, bool, GroupId);

impl Planner<'_> {
    pub(super) fn balance(&mut self) {
        if self.repairing || self.draining || self.newcomer().is_some() {
            return;
        }
        let targets: Vec<NodeId> =
            nodes::staying(self.map).filter(|node| nodes::connected(self.map, self.health, *node)).collect();
        while self.may_start(Reason::Balance) {
            let movable = self.movable();
            let step = self.spread(&movable, &targets).or_else(|| self.level(&movable, &targets));
            let Some(Step { movable, to }) = step else { return };
            let outgoing = Some(movable.at);
            let change = Change { incoming: Incoming::New(to), outgoing, learner: false, reason: Reason::Balance };
            self.start(movable.group, change);
        }
    }

    /// The replicas of shards that nothing else happens to: a node that restarts stops the moves of its shards.
    fn movable(&self) -> Vec<Movable> {
        let mut all = Vec::new();
        for (group, set) in self.shards() {
            let Ok(health) = self.settled(group, set) else { continue };
            if self.silent_voter(set).is_some() {
                continue;
            }
            let leads = |replica: ReplicaId| replica == health.leader;
            let voters = set.voters().filter(|at| nodes::stays(self.map, at.node));
            all.extend(voters.map(|at| Movable { group, at: *at, leads: leads(at.replica) }));
        }
        all
    }

    /// The move that lowers the crowding of a shard most.
    fn spread(&self, movable: &[Movable], targets: &[NodeId]) -> Option<Step> {
        let mut best = None;
        for one in movable {
            let now = self.layout.crowding(one.group, one.at.node, None);
            if now == (0, 0) {
                continue;
            }
            for to in targets.iter().copied().filter(|to| self.may_go(one, *to)) {
                let then = self.layout.crowding(one.group, to, Some(one.at.node));
                let rank = (gain(now, then), self.layout.load(to), one.leads, one.group, one.at.replica, to);
                if then < now && best.is_none_or(|(known, _)| rank < known) {
                    best = Some((rank, Step { movable: *one, to }));
                }
            }
        }
        best.map(|(_, step)| step)
    }

    /// The move that brings the fullest and the emptiest node nearer to each other, directly or over others.
    fn level(&self, movable: &[Movable], targets: &[NodeId]) -> Option<Step> {
        let mut by_load: Vec<(usize, NodeId)> = targets.iter().map(|node| (self.layout.load(*node), *node)).collect();
        by_load.sort_unstable();
        let (least, most) = (by_load.first()?.0, by_load.last()?.0);
        if most < least + 2 {
            return None;
        }
        let edges = self.edges(movable, targets);
        let fullest = by_load.iter().rev();
        let direct = fullest.clone().find_map(|(load, from)| {
            let nodes = by_load.iter().take_while(|(other, _)| other + 2 <= *load);
            nodes.filter_map(|(_, to)| edges.get(&(*from, *to))).next()
        });
        direct.or_else(|| fullest.into_iter().find_map(|(load, from)| self.chain(&edges, *from, *load))).copied()
    }

    /// The best replica to move between each two nodes without more crowding.
    fn edges(&self, movable: &[Movable], targets: &[NodeId]) -> BTreeMap<(NodeId, NodeId), Step> {
        let mut edges: BTreeMap<(NodeId, NodeId), (Rank, Step)> = BTreeMap::new();
        for one in movable {
            let now = self.layout.crowding(one.group, one.at.node, None);
            for to in targets.iter().copied().filter(|to| self.may_go(one, *to)) {
                let then = self.layout.crowding(one.group, to, Some(one.at.node));
                let rank = (then, one.leads, one.group);
                let known = edges.get(&(one.at.node, to));
                if then <= now && known.is_none_or(|(known, _)| rank < *known) {
                    edges.insert((one.at.node, to), (rank, Step { movable: *one, to }));
                }
            }
        }
        edges.into_iter().map(|(ends, (_, step))| (ends, step)).collect()
    }

    /// The last move of the shortest chain from a full node to one that has at least two less. The other moves are
    /// found by the plans that follow: with this one done, the chain is shorter by one.
    fn chain<'e>(&self, edges: &'e BTreeMap<(NodeId, NodeId), Step>, from: NodeId, load: usize) -> Option<&'e Step> {
        let mut seen = BTreeSet::from([from]);
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            for ((_, to), step) in edges.range((at, NodeId(0))..=(at, NodeId(u64::MAX))) {
                if seen.insert(*to) {
                    if self.layout.load(*to) + 2 <= load {
                        return Some(step);
                    }
                    queue.push_back(*to);
                }
            }
        }
        None
    }

    fn may_go(&self, one: &Movable, to: NodeId) -> bool {
        !self.layout.is_home(one.group, to) && self.layout.fits(one.group, to).is_ok()
    }
}

/// How much crowding a move saves, so that the greatest saving is the least.
fn gain(now: Crowding, then: Crowding) -> (i64, i64) {
    let less = |a: usize, b: usize| b as i64 - a as i64;
    (less(now.0, then.0), less(now.1, then.1))
}
