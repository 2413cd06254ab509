//! The plan as it grows: what was decided so far, and the bounds that every step keeps.

use std::collections::BTreeSet;

use crate::{
    cluster::{
        command::{Incoming, MetaCommand},
        map::{ClusterMap, Migration, Phase, Reason, ReplicaAt, ReplicaSet},
    },
    placement::{GroupHealth, Health, Plan, layout::Layout, nodes, waiting::Waiting},
    types::{GroupId, NodeId, ReplicaId},
};

/// Commands of one plan: the next one looks at what these have done.
pub(super) const MAX_ACTIONS: usize = 8;

/// A change of a group's replicas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Option<ReplicaAt>,
    pub(super) learner: bool,
    pub(super) reason: Reason,
}

/// Why a group's replicas can't be changed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// They are being changed.
    Busy,
    /// No leader reports.
    NoLeader,
    /// A joint configuration that no migration wants; the leader will leave it.
    Joint,
    /// The configuration and the map differ; one of them is about to follow.
    Differs,
}

/// A plan in the making.
pub(super) struct Planner<'a> {
    pub(super) map: &'a ClusterMap,
    pub(super) health: &'a Health,
    pub(super) layout: Layout<'a>,
    pub(super) waiting: Waiting,
    /// Some shard lacks a living replica that it could have, or has a dead one: nothing is balanced before.
    pub(super) repairing: bool,
    /// Some replica is still to leave a drained node: nothing is balanced before.
    pub(super) draining: bool,
    actions: Vec<MetaCommand>,
    /// Groups with a migration, those begun by this plan included.
    busy: BTreeSet<GroupId>,
    /// How many of those have no majority: they stand still, and must not keep others from their repair.
    stuck: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(map: &'a ClusterMap, health: &'a Health) -> Self {
        let is_stuck = |group: &GroupId| map.groups.get(group).is_some_and(|set| !has_majority(map, health, set));
        let busy: BTreeSet<GroupId> = map.migrations.values().map(|migration| migration.group).collect();
        Self {
            stuck: busy.iter().filter(|group| **group != GroupId::META && is_stuck(group)).count(),
            busy,
            map,
            health,
            layout: Layout::new(map, health),
            waiting: Waiting::default(),
            repairing: false,
            draining: false,
            actions: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Plan {
        Plan { actions: self.actions, waiting_on: self.waiting.lines() }
    }

    /// How many commands this plan may still get.
    pub(super) fn room(&self) -> usize {
        MAX_ACTIONS - self.actions.len()
    }

    /// Adds a command; dropped when the plan is full: the next plan finds the need again.
    pub(super) fn act(&mut self, command: MetaCommand) {
        if self.room() > 0 {
            self.actions.push(command);
        }
    }

    /// The shards and their sets.
    pub(super) fn shards(&self) -> impl Iterator<Item = (GroupId, &'a ReplicaSet)> + use<'a> {
        let shards = self.map.groups.iter().filter(|(group, _)| **group != GroupId::META);
        shards.map(|(group, set)| (*group, set))
    }

    /// Whether a replica may stay what it is.
    pub(super) fn is_sound(&self, at: &ReplicaAt) -> bool {
        nodes::is_sound(self.map, self.health, at)
    }

    pub(super) fn is_busy(&self, group: GroupId) -> bool {
        self.busy.contains(&group)
    }

    /// What the group's leader reports, when its replicas may be changed now.
    pub(super) fn settled(&self, group: GroupId, set: &ReplicaSet) -> Result<&'a GroupHealth, Unsettled> {
        if self.is_busy(group) {
            return Err(Unsettled::Busy);
        }
        // The last report of a leader that is gone, or has lost its voters, says nothing any more.
        let leads = |health: &&GroupHealth| {
            set.get(health.leader).is_some_and(|at| nodes::answers(self.map, self.health, at))
                && has_majority(self.map, self.health, set)
        };
        let health = self.health.groups.get(&group).filter(leads).ok_or(Unsettled::NoLeader)?;
        let conf = &health.conf;
        if health.conf_version < set.conf_version {
            return Err(Unsettled::Differs);
        }
        if !conf.voters_outgoing.is_empty() || !conf.learners_next.is_empty() {
            return Err(Unsettled::Joint);
        }
        let wanted = |learner: bool| set.replicas.iter().filter(move |at| at.learner == learner).map(|at| at.replica);
        let voters = wanted(false).collect::<BTreeSet<_>>() == conf.voters.iter().copied().collect();
        let learners = wanted(true).collect::<BTreeSet<_>>() == conf.learners.iter().copied().collect();
        if voters && learners { Ok(health) } else { Err(Unsettled::Differs) }
    }

    /// Says why a group that needs a change waits for it.
    pub(super) fn say_unsettled(&mut self, group: GroupId, set: &ReplicaSet, why: Unsettled) {
        let reason = match why {
            Unsettled::Busy => return,
            Unsettled::NoLeader => {
                let missing = set.voters().filter(|at| !nodes::answers(self.map, self.health, at));
                let missing: BTreeSet<NodeId> = missing.map(|at| at.node).collect();
                let missing: Vec<String> = missing.iter().map(|node| format!("node {node}")).collect();
                match missing.is_empty() {
                    true => "has no leader that reports".to_owned(),
                    false => format!("has no leader that reports (not there: {})", missing.join(", ")),
                }
            }
            Unsettled::Joint => "waits until its leader leaves a joint configuration".to_owned(),
            Unsettled::Differs => "waits until its configuration is that of the map".to_owned(),
        };
        self.waiting.say(group, reason);
    }

    /// Whether a group keeps a majority of voters that answer at this moment without one of its replicas.
    pub(super) fn survives(&self, set: &ReplicaSet, without: ReplicaId) -> bool {
        let rest: Vec<&ReplicaAt> = set.voters().filter(|at| at.replica != without).collect();
        let here = rest.iter().filter(|at| nodes::is_here(self.map, self.health, at)).count();
        here >= nodes::majority(rest.len())
    }

    /// A node of the group's voters that doesn't answer at the moment.
    pub(super) fn silent_voter(&self, set: &ReplicaSet) -> Option<NodeId> {
        set.voters().find(|at| !nodes::answers(self.map, self.health, at)).map(|at| at.node)
    }

    /// Whether another migration for this reason may begin. Repairs may use twice the bound, less one place that is
    /// kept for the meta group: nodes learn of new replicas through it, so it must never stand in a queue.
    pub(super) fn may_start(&self, reason: Reason) -> bool {
        let bound = usize::try_from(self.map.settings.migration_concurrency.max(1)).unwrap_or(usize::MAX / 2);
        let busy = self.busy.len() - self.stuck;
        let shards = busy - usize::from(self.is_busy(GroupId::META));
        self.room() > 0
            && match reason {
                Reason::Meta => busy < bound * 2,
                Reason::Repair => busy < bound * 2 && shards < bound * 2 - 1,
                Reason::Drain | Reason::Balance | Reason::Asked => busy < bound,
            }
    }

    /// Begins a migration, or says that it waits for its turn.
    pub(super) fn start(&mut self, group: GroupId, change: Change) {
        let Change { incoming, outgoing, learner, reason } = change;
        if !self.may_start(reason) {
            let under_way = self.busy.len();
            self.waiting.say(group, format!("waits for its turn: {under_way} migrations are under way"));
            return;
        }
        let to = match incoming {
            Incoming::New(node) => Some(node),
            Incoming::None | Incoming::Promote(_) => None,
        };
        if group != GroupId::META {
            let from = outgoing.filter(|at| self.map.is_alive(at)).map(|at| at.node);
            self.layout.shift(group, from, to);
        }
        self.busy.insert(group);
        let outgoing = outgoing.map(|at| at.replica);
        self.act(MetaCommand::StartMigration { group, incoming, outgoing, learner, reason });
    }

    /// Cancels migrations that bring a replica which is unfit, or to a node which is gone or is itself to be emptied.
    pub(super) fn cancel_hopeless(&mut self) {
        let hopeless = |migration: &&Migration| {
            let at = |replica| self.map.groups.get(&migration.group)?.get(replica);
            let lost = |at: &ReplicaAt| !self.is_sound(at) || !nodes::stays(self.map, at.node);
            let undecided = !migration.cancelled && migration.phase < Phase::JointSwap;
            undecided && migration.incoming.and_then(at).is_some_and(lost)
        };
        let ids: Vec<_> = self.map.migrations.values().filter(hopeless).map(|migration| migration.id).collect();
        ids.into_iter().for_each(|id| self.act(MetaCommand::CancelMigration(id)));
    }
}

/// Whether enough voters of a set answer to decide anything.
fn has_majority(map: &ClusterMap, health: &Health, set: &ReplicaSet) -> bool {
    let answering = set.voters().filter(|at| nodes::answers(map, health, at)).count();
    answering >= nodes::majority(set.voters().count())
}
