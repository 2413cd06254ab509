//! What the leader of the meta group does: it hears how the cluster is, lets the planner decide, and commits what that
//! says (DESIGN 5).
//!
//! Nothing here changes the map but a committed entry. A new leader knows nothing; it listens for a while before it
//! plans. Whatever it had proposed before it lost the leadership is either in the map or planned again.

use std::collections::BTreeMap;

use crema_api::v1;

use super::{Node, admit::Admission, batch::Ticket, conf::conf_from_wire, meta::Change};
use crate::{
    cluster::{
        command::{self, MetaCommand, Refused},
        map::{ClusterMap, Member, MemberState, Migration, Phase, ReplicaAt, ReplicaSet},
        progress,
    },
    faults::{Fault, Faults},
    machine::store::EntryStore,
    multiraft::govern::GovernError,
    placement::{self, Defect, GroupHealth, NodeHealth, PeerHealth},
    types::{GroupId, Incarnation, NodeId, Now, ReplicaId, Term},
};

mod reset;

/// A new leader that has not heard from every connected node plans after so long all the same.
const LISTEN_TICKS: u64 = 60;
/// Ticks between two plans while nothing is heard: time alone may make a difference.
const PLAN_TICKS: u64 = 20;
/// How long a leader that somebody has asked for is not moved again to level the nodes: a minute at 50 ms.
const ASKED_TICKS: u64 = 1_200;
/// Commands of one plan that are proposed at once.
const MAX_COMMANDS: usize = 8;
/// A command of its own that is not applied by then is forgotten, and planned again.
const PATIENCE_MS: u64 = 10_000;
/// A connected node that reports nothing for so long counts as silent.
const REPORT_TICKS: u64 = 100;

/// What the leader of the meta group knows of the cluster, for the doors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Governing {
    /// How nodes and groups are.
    pub health: placement::Health,
    /// Why nothing more is being done: one line for each reason.
    pub waiting_on: Vec<String>,
}

/// A node's last sign of life.
#[derive(Clone, Copy, Debug)]
struct Sign {
    incarnation: Incarnation,
    tick: u64,
    has_reported: bool,
}

/// The work of one term as leader.
#[derive(Debug)]
pub(super) struct Governor {
    pub(super) term: Term,
    since_tick: u64,
    pub(super) governing: Governing,
    signs: BTreeMap<NodeId, Sign>,
    /// The generations and terms of the last reports.
    terms: BTreeMap<GroupId, (u64, Term)>,
    is_listening: bool,
    is_stirred: bool,
    planned_tick: u64,
    /// The session and version of the last map that was sent to a node without a part in the meta group.
    pub(super) told: BTreeMap<NodeId, (u64, u64)>,
    /// Until which tick a preferred leader that was asked for is left alone.
    asked: BTreeMap<GroupId, u64>,
    /// Until which tick a node that leaders were moved away from gets none to level the nodes.
    relieved: BTreeMap<NodeId, u64>,
}

impl Governor {
    fn new(term: Term, tick: u64) -> Self {
        Self {
            term,
            since_tick: tick,
            governing: Governing::default(),
            signs: BTreeMap::new(),
            terms: BTreeMap::new(),
            is_listening: true,
            is_stirred: true,
            planned_tick: tick,
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            relieved: BTreeMap::new(),
        }
    }

    /// Something has changed that a plan depends on.
    pub(super) fn stir(&mut self) {
        self.is_stirred = true;
    }

    /// Somebody wants this replica to lead: the balance leaves it alone, and gives nothing to the node that is relieved.
    fn heed(&mut self, group: GroupId, set: &ReplicaSet, wanted: ReplicaId, until: u64) {
        self.asked.insert(group, until);
        let at = |wanted: &ReplicaAt| wanted.node;
        let to = set.voters().find(|voter| voter.replica == wanted).map(at);
        let from = set.replicas.first().map(at).filter(|from| Some(*from) != to && group != GroupId::META);
        self.relieved.extend(from.map(|from| (from, until)));
        if let Some(to) = to {
            self.relieved.remove(&to);
        }
    }

    /// A map did not leave: it is sent again.
    pub(super) fn forget_news(&mut self, node: NodeId) {
        self.told.remove(&node);
    }

    /// Keeps an entry for each life of a member, and none for others.
    fn follow_members(&mut self, map: &ClusterMap, tick: u64) {
        self.signs.retain(|node, sign| map.incarnation_of(*node) == Some(sign.incarnation));
        self.governing.health.nodes.retain(|node, _| map.members.contains_key(node));
        for node in map.members.keys() {
            let Some(incarnation) = map.incarnation_of(*node) else { continue };
            if !self.signs.contains_key(node) {
                self.signs.insert(*node, Sign { incarnation, tick, has_reported: false });
                self.governing.health.nodes.remove(node);
            }
        }
    }

    fn hear(&mut self, map: &ClusterMap, from: NodeId, tick: u64, report: v1::NodeReport) {
        self.follow_members(map, tick);
        let Some(sign) = self.signs.get_mut(&from) else { return };
        (sign.tick, sign.has_reported) = (tick, true);
        let node = self.governing.health.nodes.entry(from).or_default();
        self.is_stirred |= node.map_version != report.map_version || !report.groups.is_empty();
        node.map_version = report.map_version;
        node.used_bytes = report.used_bytes;
        node.disk_failed = report.disk_failed;
        node.limit_bytes = (report.limit_bytes > 0).then_some(report.limit_bytes);
        self.hear_unfit(map, from, report.unfit);
        for group in report.groups {
            self.hear_group(map, group);
        }
    }

    /// All that a node says of its own replicas; what it said before is over.
    fn hear_unfit(&mut self, map: &ClusterMap, from: NodeId, report: Vec<v1::UnfitReplica>) {
        let unfit = &mut self.governing.health.unfit;
        let before = unfit.clone();
        let is_elsewhere = |replica: &ReplicaId| {
            map.groups.values().flat_map(|set| &set.replicas).any(|at| at.replica == *replica && at.node != from)
        };
        unfit.retain(|replica, _| is_elsewhere(replica));
        for v1::UnfitReplica { replica, stopped } in report {
            let replica = ReplicaId(replica);
            if !is_elsewhere(&replica) {
                unfit.insert(replica, if stopped { Defect::Stopped } else { Defect::Corrupt });
            }
        }
        self.is_stirred |= *unfit != before;
    }

    /// The last word of the last leader counts. One of a generation that this node's map does not have yet says it only
    /// once; nothing is planned before the map has it, too.
    fn hear_group(&mut self, map: &ClusterMap, report: v1::GroupReport) {
        let (id, term) = (GroupId(report.group), (report.generation, Term(report.term)));
        if map.groups.get(&id).is_none_or(|set| report.generation < set.generation) {
            return;
        }
        let before = self.terms.get(&id).copied();
        let is_late = |known: &GroupHealth| report.conf_version < known.conf_version;
        if before.is_some_and(|before| term < before)
            || before.is_some_and(|(generation, _)| generation == report.generation)
                && self.governing.health.groups.get(&id).is_some_and(is_late)
        {
            return;
        }
        self.terms.insert(id, term);
        let peer = |peer: &v1::PeerProgress| {
            (ReplicaId(peer.replica), PeerHealth { matched: peer.matched, snapshot: peer.snapshot })
        };
        let health = GroupHealth {
            leader: ReplicaId(report.replica),
            conf_version: report.conf_version,
            conf: conf_from_wire(&report.conf.unwrap_or_default()),
            last: report.last,
            entries: report.entries,
            bytes: report.bytes,
            peers: report.peers.iter().map(peer).collect(),
        };
        self.governing.health.groups.insert(id, health);
    }

    /// What is to be committed next: nodes that have come, migrations that have done a step, then the plan.
    fn decide(&mut self, map: &ClusterMap, admission: &Admission, faults: Faults) -> Vec<MetaCommand> {
        let held_back = map.members.iter().filter(|(node, member)| admission.holds_back(map, **node, member));
        self.governing.health.held_back = held_back.map(|(node, _)| *node).collect();
        let arrived = map.members.iter().filter(|(node, member)| {
            member.state == MemberState::Joining
                && !self.governing.health.held_back.contains(node)
                && self.governing.health.nodes.get(node).is_some_and(|health| health.silent_ms == 0)
        });
        let up = |(node, member): (&NodeId, &Member)| MetaCommand::SetState {
            node: *node,
            incarnation: member.incarnation,
            state: MemberState::Up,
        };
        let health = &self.governing.health;
        let step = |migration: &Migration| match migration.phase {
            Phase::CatchUp if faults.has(Fault::LearnerPromotedEarly) => Some(hasty_step(map, migration)),
            _ => progress::next_step(map, migration, health),
        };
        let steps = map.migrations.values().filter_map(step);
        let mut commands: Vec<MetaCommand> = arrived.map(up).chain(steps).collect();
        let placement::Plan { actions, waiting_on } = placement::plan(map, health);
        commands.extend(actions);
        self.governing.waiting_on = waiting_on;
        // What would change nothing is not worth an entry.
        let mut after = map.clone();
        commands.retain(|command| {
            let before = after.version;
            let done = command::apply(&mut after, 0, None, command);
            done.is_ok() && after.version > before
        });
        commands.truncate(MAX_COMMANDS);
        commands
    }
}

/// The planted bug: nobody waits until the learner has caught up.
fn hasty_step(map: &ClusterMap, migration: &Migration) -> MetaCommand {
    MetaCommand::AdvanceMigration {
        migration: migration.id,
        from: migration.phase,
        to: command::following(map, migration),
        conf_version: 0,
    }
}

impl<S: EntryStore> Node<S> {
    /// What the leader of the meta group knows; `None` when that is another node.
    #[must_use]
    pub fn governing(&self) -> Option<&Governing> {
        self.governor.as_ref().map(|governor| &governor.governing)
    }

    /// After the meta group was driven: a newer map, and the leadership.
    pub(super) fn follow_meta(&mut self, now: Now) {
        let Some(group) = self.groups.get(&GroupId::META) else {
            self.governor = None;
            return;
        };
        let term = group.replica.standing().term;
        if !group.replica.is_leader() || group.health.is_stopped() {
            self.governor = None;
        } else if self.governor.as_ref().is_none_or(|governor| governor.term != term) {
            self.governor = Some(Governor::new(term, self.tick));
        }
        let newest = group.meta().map(|meta| meta.map.clone());
        if let Some(map) = newest.filter(|map| map.version > self.map.version) {
            self.out.map(map.clone());
            self.on_map(now, map);
            self.tell_outsiders();
        }
    }

    /// Somebody wants a change of the map.
    pub(super) fn on_govern(
        &mut self,
        ticket: Ticket,
        command: MetaCommand,
        expected_version: Option<u64>,
        deadline_ms: u64,
    ) {
        let group = self.groups.get(&GroupId::META).filter(|group| group.replica.is_leader());
        if group.is_none() {
            let by_replica = self.groups.get(&GroupId::META).and_then(|group| group.leader_node());
            // A node without a replica, new or drained, knows who sent it the map.
            let leader = by_replica.or(self.report.news_from.map(|listener| listener.node));
            return self.out.governed(Some(ticket), Err(GovernError::NotLeader(leader)));
        }
        if let MetaCommand::Join { node, member } = &command
            && let Some(reason) = self.join_refusal(*node, member)
        {
            return self.out.governed(Some(ticket), Err(Refused::Reason(reason).into()));
        }
        if let MetaCommand::SetState { node, state: MemberState::Down, .. } = &command
            && let Some(reason) = self.down_refusal(*node)
        {
            return self.out.governed(Some(ticket), Err(Refused::Reason(reason).into()));
        }
        if let MetaCommand::ResetShards { shards, dead } = &command
            && let Err(error) = self.may_reset(shards, dead)
        {
            return self.out.governed(Some(ticket), Err(error));
        }
        if let (MetaCommand::Prefer { group, replica }, Some(governor)) = (&command, &mut self.governor)
            && let Some(set) = self.map.groups.get(group)
        {
            governor.heed(*group, set, *replica, self.tick + ASKED_TICKS);
        }
        self.submit_change(Change { asker: Some(ticket), command, expected_version, deadline_ms });
    }

    /// Why a node may not be declared down, whoever wants it: that can't be taken back, and some group needs it.
    fn down_refusal(&self, node: NodeId) -> Option<String> {
        let group = placement::needing(&self.map, &self.governor.as_ref()?.governing.health, node)?;
        Some(format!("node {node} can't be declared down: {group} would have no majority left, should it come back"))
    }

    fn submit_change(&mut self, change: Change) {
        let Some(group) = self.groups.get_mut(&GroupId::META) else { return };
        group.stir();
        if let Some(meta) = group.meta_mut() {
            meta.submit(change, &mut self.out);
        }
        self.dirty.insert(GroupId::META);
    }

    /// Why a node may not join: it is a stranger here, or its previous life lives, or did just now (PROTOCOL 11).
    fn join_refusal(&self, node: NodeId, member: &Member) -> Option<String> {
        if let Some(reason) = self.config.admission.refusal(&self.map, node) {
            return Some(reason);
        }
        let present = self.map.incarnation_of(node)?;
        if present == member.incarnation {
            return None;
        }
        if node == self.config.node || self.out.sessions.contains_key(&node) {
            return Some(format!("node {node} is connected in another life, {present}; stop that process first"));
        }
        let lease = self.config.timings.election_ticks as u64 * 2;
        (self.tick < self.last_seen(node) + lease)
            .then(|| format!("node {node} was heard of just now in another life, {present}; try again in a moment"))
    }

    /// When a node was last heard of, here or by what a new leader must assume.
    fn last_seen(&self, node: NodeId) -> u64 {
        let since = self.governor.as_ref().map_or(self.tick, |governor| governor.since_tick);
        self.peers.heard_tick(node).max(since)
    }

    /// A node's report, when this one leads the meta group.
    pub(super) fn hear_report(&mut self, _now: Now, from: NodeId, report: v1::NodeReport) {
        if let Some(governor) = &mut self.governor {
            governor.hear(&self.map, from, self.tick, report);
        }
    }

    /// The leader's work; called with each beat.
    pub(super) fn govern(&mut self, now: Now) {
        self.tell_outsiders();
        let Some(mut governor) = self.governor.take() else { return };
        let commands = self.next_changes(&mut governor);
        self.governor = Some(governor);
        for command in commands {
            tracing::info!(?command, "the meta leader decides");
            let deadline_ms = now.mono_ms + PATIENCE_MS;
            self.submit_change(Change { asker: None, command, expected_version: None, deadline_ms });
        }
    }

    fn next_changes(&self, governor: &mut Governor) -> Vec<MetaCommand> {
        self.listen(governor);
        let Some(group) = self.groups.get(&GroupId::META) else { return Vec::new() };
        let busy = group.meta().is_none_or(|meta| meta.has_own_changes() || meta.map.version != self.map.version);
        let due = self.tick >= governor.planned_tick + PLAN_TICKS || governor.is_stirred;
        // A leader that is being replaced decides nothing any more; and its map must hold all that was committed before.
        let may = group.replica.takes_proposals() && group.is_current_leader();
        if governor.is_listening || busy || !due || !may {
            return Vec::new();
        }
        (governor.planned_tick, governor.is_stirred) = (self.tick, false);
        governor.decide(&self.map, &self.config.admission, self.config.faults)
    }

    /// Takes in who is there, and whether enough was heard to plan by.
    fn listen(&self, governor: &mut Governor) {
        governor.follow_members(&self.map, self.tick);
        governor.asked.retain(|_, until| *until > self.tick);
        governor.governing.health.asked = governor.asked.keys().copied().collect();
        governor.relieved.retain(|_, until| *until > self.tick);
        governor.governing.health.relieved = governor.relieved.keys().copied().collect();
        let Governor { signs, governing, since_tick, is_listening, .. } = governor;
        let mut complete = true;
        for (node, sign) in signs {
            let here = *node == self.config.node || self.out.sessions.contains_key(node);
            let hears = here && self.tick < sign.tick + REPORT_TICKS;
            let seen = sign.tick.max(self.peers.heard_tick(*node)).max(*since_tick);
            let silent_ms = (self.tick - seen.min(self.tick)) * self.config.timings.tick_ms;
            let health = governing.health.nodes.entry(*node).or_insert_with(NodeHealth::default);
            health.silent_ms = if hears { 0 } else { silent_ms.max(1) };
            complete &= !here || sign.has_reported;
        }
        *is_listening &= !complete && self.tick < *since_tick + LISTEN_TICKS;
    }
}
