//! What the leader of the meta group is told of this node: that it lives, how the groups are that it leads, and which
//! of its replicas must be replaced.
//!
//! Each worker says what has changed to the worker that holds the meta group; that one knows who leads it and sends on
//! what that leader has not been told, all of it to a new one. An idle group is not looked at.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1;

use super::{Node, conf::conf_to_wire, group::Group, hashes::Health};
use crate::{
    machine::store::EntryStore,
    types::{GroupId, NodeId, Now, Term},
};

/// Ticks between two signs of life, when there is nothing to tell.
const SIGN_OF_LIFE_TICKS: u64 = 20;
/// Ticks between two looks at the sizes of groups that are awake.
const SIZE_TICKS: u64 = 100;

/// What was said of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The term and the conf version of the leadership here, if it leads.
    leads: Option<(Term, u64)>,
    /// Whether it leads asleep.
    sleeps: bool,
    /// Its part of [`Report::used_bytes`].
    pub(super) bytes: u64,
}

/// Who is told: the leader of the meta group, in one session and one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) node: NodeId,
    pub(super) session: Option<u64>,
    pub(super) term: Term,
}

/// What there is to tell.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Groups of this worker whose leadership or configuration is not what was said.
    changed: BTreeSet<GroupId>,
    /// Replicas of this worker that must be replaced.
    unfit: BTreeMap<GroupId, v1::UnfitReplica>,
    /// The weight of all entries of this worker's shards.
    pub(super) used_bytes: u64,
    last_tick: u64,
    last_version: u64,
    /// Of the worker that holds the meta group: what all workers of this node have said.
    workers: BTreeMap<u32, v1::NodeReport>,
    led: BTreeMap<GroupId, v1::GroupReport>,
    /// What the listener has not been told.
    fresh: BTreeSet<GroupId>,
    listener: Option<Listener>,
    /// Who sent the last map, while this node has no part in the meta group.
    pub(super) news_from: Option<Listener>,
    told_tick: u64,
    told_version: u64,
}

impl Report {
    /// A replica is not here any more.
    pub(super) fn forget(&mut self, id: GroupId, told: Told) {
        if self.unfit.remove(&id).is_some() || told.leads.is_some() {
            self.changed.insert(id);
        }
    }

    /// Notes whether a replica here must be replaced.
    fn note_unfit(&mut self, id: GroupId, unfit: Option<v1::UnfitReplica>) {
        if self.unfit.get(&id) == unfit.as_ref() {
            return;
        }
        match unfit {
            Some(unfit) => _ = self.unfit.insert(id, unfit),
            None => _ = self.unfit.remove(&id),
        }
        self.changed.insert(id);
    }

    /// A report may have been lost: everything is said again.
    pub(super) fn begin_again(&mut self) {
        self.listener = None;
    }

    /// What another worker, or this one, says.
    fn take_in(&mut self, mut report: v1::NodeReport) {
        for group in std::mem::take(&mut report.groups) {
            let id = GroupId(group.group);
            if group.replica == 0 {
                self.led.remove(&id);
                self.fresh.remove(&id);
            } else {
                self.led.insert(id, group);
                self.fresh.insert(id);
            }
        }
        let before = self.workers.get(&report.worker).map(|before| &before.unfit);
        if before.is_none_or(|before| *before != report.unfit) {
            // Not in a moment, but now.
            self.told_tick = 0;
        }
        self.workers.insert(report.worker, report);
    }

    /// The whole node's report, with what is new.
    fn sum(&mut self, workers: u32, limit_bytes: u64) -> v1::NodeReport {
        let complete = self.workers.len() == workers as usize;
        let oldest = self.workers.values().map(|report| report.map_version).min();
        v1::NodeReport {
            map_version: oldest.filter(|_| complete).unwrap_or(0),
            groups: std::mem::take(&mut self.fresh).iter().filter_map(|id| self.led.get(id).cloned()).collect(),
            worker: 0,
            workers: 1,
            used_bytes: self.workers.values().map(|report| report.used_bytes).sum(),
            limit_bytes,
            unfit: self.workers.values().flat_map(|report| report.unfit.clone()).collect(),
            disk_failed: self.workers.values().any(|report| report.disk_failed),
        }
    }
}

impl<S: EntryStore> Node<S> {
    /// Notes what has become of a group that was driven; cheap, for it is called for each.
    pub(super) fn note_leadership(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            let term = group.replica.standing().term;
            let leads = group.replica.is_leader().then_some((term, group.conf_version));
            if group.told.leads != leads {
                group.told.leads = leads;
                self.report.changed.insert(id);
            }
            // A sleeper is not looked at any more: what was last said of its peers must be what holds.
            let sleeps = leads.is_some() && group.is_asleep();
            if sleeps && !group.told.sleeps {
                self.report.changed.insert(id);
            }
            group.told.sleeps = sleeps;
            let bytes = group.machine().map_or(0, |machine| machine.weight_bytes());
            self.report.used_bytes = self.report.used_bytes - group.told.bytes + bytes;
            group.told.bytes = bytes;
            let unfit = group.unfit();
            self.report.note_unfit(id, unfit);
        }
        self.list_unsteady(id);
    }

    /// Tells what is new, now and then that there is nothing new.
    pub(super) fn report(&mut self, now: Now) {
        if self.superseded {
            return;
        }
        if self.tick.is_multiple_of(SIZE_TICKS) {
            let led =
                self.awake.iter().filter(|id| self.groups.get(id).is_some_and(|group| group.replica.is_leader()));
            self.report.changed.extend(led.copied());
        }
        // The meta leader waits for the progress of these.
        self.report.changed.extend(self.unsteady.iter().filter(|id| self.map.migration_of(**id).is_some()));
        let due = self.tick >= self.report.last_tick + SIGN_OF_LIFE_TICKS || self.report.last_tick == 0;
        if due || !self.report.changed.is_empty() || self.report.last_version != self.map.version {
            let report = self.make_report();
            match self.config.lanes.owns(GroupId::META) {
                true => self.report.take_in(report),
                false => self.out.report(report),
            }
        }
        if self.config.lanes.owns(GroupId::META) {
            self.pass_report_on(now);
        }
    }

    fn make_report(&mut self) -> v1::NodeReport {
        let changed = std::mem::take(&mut self.report.changed);
        // What a restart could take back is not said yet.
        let (later, changed): (BTreeSet<GroupId>, BTreeSet<GroupId>) = changed.into_iter().partition(|id| {
            self.groups.get(id).is_some_and(|group| group.replica.is_leader() && !group.has_sealed_conf(&self.config))
        });
        self.report.changed = later;
        (self.report.last_tick, self.report.last_version) = (self.tick, self.map.version);
        let groups = changed.into_iter().map(|id| match self.groups.get(&id) {
            Some(group) if group.replica.is_leader() => group.report(),
            Some(_) | None => v1::GroupReport { group: id.0, ..Default::default() },
        });
        v1::NodeReport {
            groups: groups.collect(),
            map_version: self.map.version,
            worker: self.config.lanes.worker,
            workers: self.config.lanes.workers,
            used_bytes: self.report.used_bytes,
            limit_bytes: 0,
            unfit: self.report.unfit.values().cloned().collect(),
            disk_failed: self.failed.is_some(),
        }
    }

    /// From the worker that holds the meta group to whoever leads it.
    fn pass_report_on(&mut self, now: Now) {
        let listener = self.listener();
        if listener != self.report.listener {
            self.report.listener = listener;
            self.report.fresh = self.report.led.keys().copied().collect();
            self.report.told_tick = 0;
        }
        let Some(listener) = listener else { return self.report_to_anybody() };
        let version = self.report.workers.values().map(|report| report.map_version).min().unwrap_or(0);
        let due = self.report.told_tick == 0 || self.tick >= self.report.told_tick + SIGN_OF_LIFE_TICKS;
        if !due && self.report.fresh.is_empty() && self.report.told_version == version {
            return;
        }
        (self.report.told_tick, self.report.told_version) = (self.tick, version);
        let report = self.report.sum(self.config.lanes.workers, self.config.limits.memory_bytes);
        if listener.node == self.config.node {
            return self.hear_report(now, listener.node, report);
        }
        let bytes = 64 + report.groups.len() * 128;
        if let Some(frame) = self.out.to(listener.node, bytes) {
            frame.reports.push(report);
        }
    }

    /// A node whose own part in the meta group has stopped hears of no leader; and the leader does not know that it must
    /// be told. So it says to all what ails it, now and then, until one of them answers.
    fn report_to_anybody(&mut self) {
        let has_stopped = self.groups.get(&GroupId::META).is_some_and(|meta| meta.health.is_stopped());
        if !has_stopped || self.tick < self.report.told_tick + SIGN_OF_LIFE_TICKS {
            return;
        }
        self.report.told_tick = self.tick;
        let report = self.report.sum(self.config.lanes.workers, self.config.limits.memory_bytes);
        for peer in self.out.sessions.keys().copied().collect::<Vec<_>>() {
            if let Some(frame) = self.out.to(peer, 64 + report.groups.len() * 128) {
                frame.reports.push(report.clone());
            }
        }
    }

    /// Whoever leads the meta group, if it can be told anything.
    fn listener(&self) -> Option<Listener> {
        let session = |node: NodeId| self.out.sessions.get(&node).copied();
        let meta = self.groups.get(&GroupId::META).filter(|meta| !meta.health.is_stopped());
        let by_replica = meta.and_then(|meta| {
            let (node, term) = (meta.leader_node()?, meta.replica.standing().term);
            Some(Listener { node, session: session(node), term })
        });
        // This node itself listens once it knows that it leads: in its turn after the last vote, not before.
        let governs = |term: Term| self.governor.as_ref().is_some_and(|governor| governor.term == term);
        let stands = |listener: &Listener| match listener.node == self.config.node {
            true => governs(listener.term),
            false => listener.session.is_some() && listener.session == session(listener.node),
        };
        // A replica that was taken out still remembers whom it followed; the news of a session that is over does not
        // stand in the way of what the replica knows.
        by_replica.into_iter().chain(self.report.news_from).filter(stands).max_by_key(|listener| listener.term)
    }

    /// A report of another worker of this node, or of another node.
    pub(super) fn on_report(&mut self, now: Now, from: NodeId, report: v1::NodeReport) {
        if from == self.config.node {
            self.report.take_in(report);
        } else {
            self.hear_report(now, from, report);
        }
    }
}

impl<S: EntryStore> Group<S> {
    /// What is to be said of this replica when it must be replaced.
    fn unfit(&self) -> Option<v1::UnfitReplica> {
        let stopped = match &self.health {
            Health::Serving => return None,
            Health::Corrupt { .. } => false,
            Health::Stopped { .. } => true,
        };
        Some(v1::UnfitReplica { replica: self.own().0, stopped })
    }

    /// How the group is, on its leader.
    fn report(&self) -> v1::GroupReport {
        let standing = self.replica.standing();
        let peers = self.replica.progress().into_iter().map(|(replica, peer)| v1::PeerProgress {
            replica: replica.0,
            matched: peer.matched.0,
            snapshot: peer.snapshot,
        });
        v1::GroupReport {
            group: self.id.0,
            generation: self.generation,
            replica: self.own().0,
            term: standing.term.0,
            conf_version: self.conf_version,
            conf: Some(conf_to_wire(&self.conf)),
            last: standing.last.0,
            entries: self.machine().map_or(0, |machine| machine.len() as u64),
            bytes: self.machine().map_or(0, |machine| machine.weight_bytes()),
            peers: peers.collect(),
        }
    }
}
