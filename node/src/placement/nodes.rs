//! The states of nodes: who is declared down, who has left, who may take a replica.

use std::borrow::Cow;

use crate::{
    cluster::{
        command::MetaCommand,
        map::{ClusterMap, Member, MemberState, Migration, Phase, ReplicaAt, ReplicaSet},
    },
    placement::{Health, planner::Planner},
    types::{GroupId, NodeId, ReplicaId},
};

/// A node that was heard of within so many milliseconds counts as connected; far above a heartbeat and an election,
/// far below the time of a repair.
pub const CONNECTED_MS: u64 = 5_000;

/// How long a node that came back may take to become ready before its replicas go elsewhere, when nodes are never
/// declared down.
const RETURN_MS: u64 = 60_000;

/// Whether a node takes part in its present life and is heard of.
pub(super) fn connected(map: &ClusterMap, health: &Health, node: NodeId) -> bool {
    map.incarnation_of(node).is_some() && health.nodes.get(&node).is_some_and(|node| node.silent_ms < CONNECTED_MS)
}

/// Whether a node is to keep what it has and may get more.
pub(super) fn stays(map: &ClusterMap, node: NodeId) -> bool {
    let state = map.members.get(&node).map(|member| member.state);
    matches!(state, Some(MemberState::Joining | MemberState::Up))
}

/// The map without the members that are not let in yet: they hold nothing, so nothing else changes.
pub(super) fn without_held_back<'a>(map: &'a ClusterMap, health: &Health) -> Cow<'a, ClusterMap> {
    let mut visible = Cow::Borrowed(map);
    for node in health.held_back.iter().filter(|node| map.members.contains_key(node)) {
        visible.to_mut().members.remove(node);
    }
    visible
}

/// The members that stay, dead silent ones included.
pub(super) fn staying(map: &ClusterMap) -> impl Iterator<Item = NodeId> {
    map.members.keys().copied().filter(|node| stays(map, *node))
}

/// The members that are being drained.
pub(super) fn draining(map: &ClusterMap) -> impl Iterator<Item = NodeId> {
    let members = map.members.iter().filter(|(_, member)| member.state == MemberState::Draining);
    members.map(|(node, _)| *node)
}

/// Whether a replica may stay what it is: alive, and not unfit.
pub(super) fn is_sound(map: &ClusterMap, health: &Health, at: &ReplicaAt) -> bool {
    map.is_alive(at) && !health.unfit.contains_key(&at.replica)
}

/// Whether a replica is alive and takes part in its group; a corrupt one does.
fn votes(map: &ClusterMap, health: &Health, at: &ReplicaAt) -> bool {
    map.is_alive(at) && !health.is_stopped(at.replica)
}

/// Whether a replica can answer for its log: it votes, and its node is connected.
pub(super) fn answers(map: &ClusterMap, health: &Health, at: &ReplicaAt) -> bool {
    votes(map, health, at) && connected(map, health, at.node)
}

/// Whether a replica is known to answer at this moment. A new meta leader takes nodes for connected that it has not
/// heard of yet, as one that is too early to declare anybody down must; nobody's majority may rest on those.
pub(super) fn is_here(map: &ClusterMap, health: &Health, at: &ReplicaAt) -> bool {
    votes(map, health, at) && health.nodes.get(&at.node).is_some_and(|node| node.silent_ms == 0)
}

/// The smallest number of voters that decides.
pub(super) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The sets of voters that may have to decide in a group: those that its leader reports or else the map wants, the
/// outgoing half if joint, and what a migration makes of them that may swap. The group's leader swaps as soon as it
/// has the map, perhaps where the meta leader does not hear of it.
fn halves(map: &ClusterMap, health: &Health, group: GroupId, set: &ReplicaSet) -> Vec<Vec<ReplicaId>> {
    // What is older than the last step lacks who came with it.
    let reported = health.groups.get(&group).filter(|known| known.conf_version >= set.conf_version);
    let mut halves = match reported.map(|known| &known.conf) {
        None => vec![set.voters().map(|at| at.replica).collect()],
        Some(conf) if conf.voters_outgoing.is_empty() => vec![conf.voters.clone()],
        Some(conf) => vec![conf.voters.clone(), conf.voters_outgoing.clone()],
    };
    let swap = map.migration_of(group).filter(|migration| migration.phase >= Phase::JointSwap);
    let after = swap.map(|migration| swapped(&halves[0], migration));
    halves.extend(after);
    halves
}

/// The voters after a migration.
fn swapped(voters: &[ReplicaId], migration: &Migration) -> Vec<ReplicaId> {
    let stay = voters.iter().copied().filter(|voter| Some(*voter) != migration.outgoing);
    let come = migration.incoming.filter(|replica| !migration.learner && !voters.contains(replica));
    stay.chain(come).collect()
}

impl Planner<'_> {
    /// Declares down who was silent for too long. Who is drained stays until a person, or the operator, removes it: until
    /// then it can be undrained.
    pub(super) fn set_states(&mut self) {
        let map = self.map;
        for (node, member) in &map.members {
            match member.state {
                MemberState::Joining | MemberState::Up | MemberState::Draining => self.declare_down(*node, member),
                MemberState::Down | MemberState::Removed => {}
            }
        }
    }

    /// `Down` can't be taken back: it waits while some group needs this node for its majority, should it return.
    fn declare_down(&mut self, node: NodeId, member: &Member) {
        let silent_ms = self.health.nodes.get(&node).map_or(0, |node| node.silent_ms);
        let overdue = self.map.settings.repair_after_ms.is_some_and(|after| silent_ms >= after.max(CONNECTED_MS));
        if !overdue {
            return;
        }
        match self.needing(node) {
            None => self.set_state(node, member, MemberState::Down),
            Some(group) => {
                let silent_s = silent_ms / 1000;
                let why = format!("{group} would have no majority left, should it come back");
                self.waiting.note(format!("node {node}, silent for {silent_s} s, is not declared down: {why}"));
            }
        }
    }

    /// A group that has no majority of answering voters without a node that votes in it.
    pub(super) fn needing(&self, node: NodeId) -> Option<GroupId> {
        let votes = |at: &ReplicaAt| at.node == node && self.map.is_alive(at);
        let needs = |group: GroupId, set: &ReplicaSet| {
            halves(self.map, self.health, group, set).into_iter().any(|voters| {
                let placed = |id: &ReplicaId| set.replicas.iter().find(|at| at.replica == *id);
                let involved = voters.iter().filter_map(placed).any(votes);
                let rest = voters.iter().filter_map(placed).filter(|at| at.node != node);
                let answering = rest.filter(|at| answers(self.map, self.health, at)).count();
                involved && answering < majority(voters.len())
            })
        };
        self.map.groups.iter().find(|(group, set)| needs(**group, set)).map(|(group, _)| *group)
    }

    /// A node that has joined and is about to get its copy of the map: what would be moved before it can take its
    /// share would be moved twice.
    pub(super) fn newcomer(&self) -> Option<NodeId> {
        let here = |node: &NodeId| connected(self.map, self.health, *node) && !self.layout.has_map(*node);
        staying(self.map).find(here)
    }

    fn set_state(&mut self, node: NodeId, member: &Member, state: MemberState) {
        self.act(MetaCommand::SetState { node, incarnation: member.incarnation, state });
    }

    /// Whether a dead replica's node is there again in a new life and will soon take replicas: sending them elsewhere
    /// would copy everything twice.
    pub(super) fn is_returning(&self, node: NodeId) -> bool {
        let silent_ms = self.health.nodes.get(&node).map_or(0, |node| node.silent_ms);
        let patience_ms = self.map.settings.repair_after_ms.unwrap_or(RETURN_MS);
        let ready = connected(self.map, self.health, node) && self.layout.has_map(node);
        stays(self.map, node) && !ready && silent_ms < patience_ms
    }
}
