//! What the stages ask of a sight: who is sound, what is full, what is proved dead.

use crate::model::{
    Answer, Control, Group, GroupView, Incarnation, Intent, MapView, MemberState, NodeId, NodeView, Observed,
    Ordinal, PodState, PodView, StatefulSetView, Storage, VoterView,
};

/// A replica at most this far behind its leader has caught up: less than a batch or two of a busy shard.
const CAUGHT_UP_ENTRIES: u64 = 256;

/// So many members vote in the meta group at most, as the cache's own planner has it.
const MAX_META_VOTERS: usize = 5;

/// What is wanted and what was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) intent: &'a Intent,
    pub(super) seen: &'a Observed,
}

/// What is known of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// It is ready, or nothing is known of it.
    Fine,
    /// Kubernetes has not heard of it since then.
    NotReady { since_ms: u64 },
    /// There is no such machine any more.
    Gone,
}

impl<'a> Scene<'a> {
    /// What the node of this number said.
    pub(super) fn answer(&self, node: NodeId) -> Option<&'a Answer> {
        self.seen.cluster.pods.get(&node)
    }

    /// The life that the node of this number is in, if it said so.
    pub(super) fn life(&self, node: NodeId) -> Option<&'a Incarnation> {
        self.answer(node).and_then(Answer::incarnation)
    }

    /// The pods that are ours, or that nobody else has claimed.
    pub(super) fn pods(&self) -> impl Iterator<Item = &'a PodView> + use<'a> {
        self.seen.pods.iter().filter(|pod| match pod.control {
            Control::Ours | Control::Nobody => true,
            Control::Other(_) => false,
        })
    }

    /// The pod of an ordinal.
    pub(super) fn pod(&self, ordinal: Ordinal) -> Option<&'a PodView> {
        self.pods().find(|pod| pod.ordinal == ordinal)
    }

    /// The pod of a member.
    pub(super) fn pod_of(&self, node: NodeId) -> Option<&'a PodView> {
        node.ordinal().and_then(|ordinal| self.pod(ordinal))
    }

    /// What ails a pod that there should be; `None` if it is ready.
    pub(super) fn trouble(&self, ordinal: Ordinal) -> Option<String> {
        let Some(pod) = self.pod(ordinal) else { return Some(format!("pod {ordinal} to be created")) };
        match &pod.state {
            PodState::Ready => None,
            PodState::Pending(why) => Some(format!("pod {ordinal} to start: {why}")),
            PodState::Starting => Some(format!("pod {ordinal} to be ready")),
            PodState::Stopped(why) => Some(format!("pod {ordinal} to start again: {why}")),
            PodState::Terminating => Some(format!("pod {ordinal} to end")),
        }
    }

    /// What ails the pods of the StatefulSet, but for one.
    pub(super) fn troubles(&self, sts: &StatefulSetView, but: Option<Ordinal>) -> Vec<String> {
        let ordinals = (0..sts.replicas).map(Ordinal).filter(|ordinal| Some(*ordinal) != but);
        ordinals.filter_map(|ordinal| self.trouble(ordinal)).collect()
    }

    /// Whether a voter would be missed: the life that holds it runs, belongs to the cluster, and has caught up.
    pub(super) fn is_sound(&self, map: &MapView, voter: &VoterView) -> bool {
        let runs = self.pod_of(voter.node).is_some_and(|pod| match pod.state {
            PodState::Ready | PodState::Starting => true,
            PodState::Pending(_) | PodState::Stopped(_) | PodState::Terminating => false,
        });
        let answers = match self.answer(voter.node) {
            Some(Answer::Member { incarnation, cluster_uid, .. }) => {
                *incarnation == voter.incarnation && *cluster_uid == map.uid
            }
            Some(Answer::Silent { .. } | Answer::Empty { .. }) | None => false,
        };
        let caught_up = voter.lag_entries.is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES);
        runs && answers && caught_up && self.is_of_map(map, voter)
    }

    fn is_of_map(&self, map: &MapView, voter: &VoterView) -> bool {
        let member = map.members.get(&voter.node);
        member.is_some_and(|member| takes_part(member.state) && member.incarnation == voter.incarnation)
    }

    /// The voters of a group that would be missed, but for one member's.
    pub(super) fn sound_without(&self, map: &MapView, group: &GroupView, but: Option<NodeId>) -> usize {
        let others = group.voters.iter().filter(|voter| Some(voter.node) != but);
        others.filter(|voter| self.is_sound(map, voter)).count()
    }

    /// Whether a member holds a voter that would be missed.
    pub(super) fn holds_sound(&self, map: &MapView, node: NodeId) -> bool {
        let voters = map.groups.values().flat_map(|group| &group.voters);
        voters.filter(|voter| voter.node == node).any(|voter| self.is_sound(map, voter))
    }

    /// Whether a member holds a voter that is not sound: it has yet to catch up, or is of an earlier life.
    pub(super) fn holds_unsound(&self, map: &MapView, node: NodeId) -> bool {
        let voters = map.groups.values().flat_map(|group| &group.voters);
        voters.filter(|voter| voter.node == node).any(|voter| !self.is_sound(map, voter))
    }

    /// Groups that have no leader, or fewer caught-up voters than they should.
    pub(super) fn under_replicated(&self, map: &MapView) -> Vec<Group> {
        let lacking = map.groups.iter().filter(|(name, group)| {
            group.leader.is_none() || self.sound_without(map, group, None) < wanted_voters(map, **name, group)
        });
        lacking.map(|(name, _)| *name).collect()
    }

    /// Groups that would lack a voter which the other members could hold, or their majority, if a member were lost for good.
    pub(super) fn lacking_without(&self, map: &MapView, node: NodeId) -> Vec<Group> {
        let others = map.present().filter(|(other, member)| *other != node && takes_part(member.state)).count();
        let lacking = map.groups.iter().filter(|(name, group)| {
            let wanted = wanted_voters(map, **name, group).min(others).max(majority(group));
            group.leader.is_none() || self.sound_without(map, group, Some(node)) < wanted
        });
        lacking.map(|(name, _)| *name).collect()
    }

    /// Groups that would have no majority if a member were lost that they count on.
    pub(super) fn lost_with(&self, map: &MapView, node: NodeId) -> Vec<Group> {
        let counting = map.groups.iter().filter(|(_, group)| group.has_voter(node));
        let lost = counting.filter(|(_, group)| self.sound_without(map, group, Some(node)) < majority(group));
        lost.map(|(name, _)| *name).collect()
    }

    /// What is known of the machine of this name.
    pub(super) fn machine(&self, name: &str) -> Machine {
        let Some(machines) = &self.seen.k8s_nodes else { return Machine::Fine };
        match machines.iter().find(|machine| machine.name == name) {
            None => Machine::Gone,
            Some(NodeView { ready: true, .. }) => Machine::Fine,
            Some(NodeView { since_ms, .. }) => Machine::NotReady { since_ms: *since_ms },
        }
    }

    /// Whether a life of a member is proved dead. Silence proves nothing.
    pub(super) fn is_dead(&self, map: &MapView, node: NodeId, life: &Incarnation) -> bool {
        let reports = self.life(node);
        if reports == Some(life) {
            return false;
        }
        let member = map.members.get(&node);
        // Down says only that it was silent for long: it may be back with all it had.
        let superseded =
            member.is_some_and(|member| member.state == MemberState::Removed || member.incarnation != *life);
        reports.is_some() || superseded || self.is_lost(node)
    }

    /// Whether what a member kept its data in is gone: its process in memory mode, its volume with disks.
    fn is_lost(&self, node: NodeId) -> bool {
        let pinned = || self.seen.claims.iter().find(|claim| claim.ordinal.node() == node)?.pinned_to.as_deref();
        let gone = |machine: &str| self.machine(machine) == Machine::Gone;
        match self.intent.storage {
            Storage::Disk { .. } => pinned().is_some_and(gone),
            Storage::Memory => self.pod_of(node).is_some_and(|pod| match pod.state {
                // Of a machine that Kubernetes does not hear nobody knows what runs there by now.
                PodState::Stopped(_) => {
                    !matches!(pod.machine.as_deref().map(|name| self.machine(name)), Some(Machine::NotReady { .. }))
                }
                PodState::Pending(_) | PodState::Starting | PodState::Ready | PodState::Terminating => {
                    pod.machine.as_deref().is_some_and(gone)
                }
            }),
        }
    }
}

/// Whether the life that the map knows of a member may vote.
pub(super) fn takes_part(state: MemberState) -> bool {
    match state {
        MemberState::Joining | MemberState::Up | MemberState::Draining => true,
        MemberState::Down | MemberState::Removed => false,
    }
}

/// How many voters a group should have.
fn wanted_voters(map: &MapView, name: Group, group: &GroupView) -> usize {
    match name {
        Group::Meta => group.voters.len().max(meta_voters(map)),
        Group::Shard(_) => map.replication_factor as usize,
    }
}

/// The largest odd number of voters that the members allow which stay.
fn meta_voters(map: &MapView) -> usize {
    let stay = map.present().filter(|(_, member)| match member.state {
        MemberState::Joining | MemberState::Up => true,
        MemberState::Draining | MemberState::Down | MemberState::Removed => false,
    });
    let most = stay.count().min(MAX_META_VOTERS);
    if most.is_multiple_of(2) { most.saturating_sub(1) } else { most }
}

/// How many voters decide for a group.
pub(super) fn majority(group: &GroupView) -> usize {
    group.voters.len() / 2 + 1
}
