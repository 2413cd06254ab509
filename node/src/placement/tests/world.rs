//! A cluster without Raft: it applies what a plan says and lets migrations go on, one step at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    checkpoint::ConfState,
    cluster::{
        command::{Incoming, MetaCommand},
        initial::{ClusterSpec, initial_map},
        map::{
            ClusterMap, Member, MemberState, Migration, Phase, Reason, ReplicaAt, SUPPORTED_LEVELS, SharedSettings,
        },
    },
    partitioning::SlotHash,
    placement::{GroupHealth, Health, NodeHealth},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

/// What one round of a world stands for.
const ROUND_MS: u64 = 1_000;

/// Nodes that run or don't, the map they agreed on, and each group's own configuration.
#[derive(Clone)]
pub(super) struct World {
    pub(super) map: ClusterMap,
    pub(super) confs: BTreeMap<GroupId, ConfState>,
    /// The lives of the processes that run.
    pub(super) running: BTreeMap<NodeId, Incarnation>,
    pub(super) silent_ms: BTreeMap<NodeId, u64>,
    pub(super) bytes: BTreeMap<GroupId, u64>,
    pub(super) limits: BTreeMap<NodeId, u64>,
    /// Migrations that were begun, by reason.
    pub(super) begun: BTreeMap<&'static str, usize>,
    lives: u128,
}

/// A member as it joins.
fn member(node: u64, life: u128, zone: &str, host: &str) -> Member {
    Member {
        incarnation: Incarnation(life),
        address: format!("node-{node}:7000"),
        host: host.to_owned(),
        zone: zone.to_owned(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: String::new(),
    }
}

impl World {
    /// A cluster as it is formed: node `i + 1` is in `zones[i]`, each node on a host of its own.
    pub(super) fn new(zones: &[&str], num_shards: u32, replication_factor: u32) -> Self {
        let members = zones.iter().enumerate().map(|(at, zone)| {
            let node = at as u64 + 1;
            (NodeId(node), member(node, u128::from(node), zone, &format!("host-{node}")))
        });
        let settings = SharedSettings::default();
        let spec = ClusterSpec { num_shards, slot_hash: SlotHash::XxHash64, replication_factor, settings };
        let map = initial_map(ClusterUid(1), &spec, members.collect()).expect("a spec that fits");
        let conf = |learner: bool, set: &[ReplicaAt]| {
            set.iter().filter(|at| at.learner == learner).map(|at| at.replica).collect::<Vec<_>>()
        };
        let confs = map.groups.iter().map(|(group, set)| {
            let (voters, learners) = (conf(false, &set.replicas), conf(true, &set.replicas));
            (*group, ConfState { voters, learners, ..ConfState::default() })
        });
        Self {
            confs: confs.collect(),
            running: map.members.iter().map(|(node, member)| (*node, member.incarnation)).collect(),
            silent_ms: BTreeMap::new(),
            bytes: map.groups.keys().map(|group| (*group, 100)).collect(),
            limits: BTreeMap::new(),
            begun: BTreeMap::new(),
            lives: 1_000,
            map,
        }
    }

    /// A node joins, or comes back empty.
    pub(super) fn join(&mut self, node: NodeId, zone: &str) {
        self.lives += 1;
        let mut fresh = member(node.0, self.lives, zone, &format!("host-{node}"));
        fresh.state = MemberState::Joining;
        self.running.insert(node, fresh.incarnation);
        self.silent_ms.insert(node, 0);
        self.map.members.insert(node, fresh);
    }

    pub(super) fn kill(&mut self, node: NodeId) {
        self.running.remove(&node);
    }

    pub(super) fn set_state(&mut self, node: NodeId, state: MemberState) {
        self.map.members.get_mut(&node).expect("a member").state = state;
    }

    /// Whether a replica can answer: its process runs in the life that it belongs to and is not fenced.
    pub(super) fn runs(&self, at: &ReplicaAt) -> bool {
        self.running.get(&at.node) == Some(&at.incarnation)
            && self.map.members.get(&at.node).is_some_and(|member| {
                member.incarnation == at.incarnation
                    && !matches!(member.state, MemberState::Down | MemberState::Removed)
            })
    }

    /// Whether each half of a group's configuration has a running majority, `without` one node apart.
    pub(super) fn has_quorum(&self, group: GroupId, without: Option<NodeId>) -> bool {
        let (conf, set) = (&self.confs[&group], &self.map.groups[&group]);
        [&conf.voters, &conf.voters_outgoing].into_iter().filter(|half| !half.is_empty()).all(|half| {
            let runs = |id: &&ReplicaId| {
                set.replicas.iter().any(|at| at.replica == **id && Some(at.node) != without && self.runs(at))
            };
            half.iter().filter(runs).count() * 2 > half.len()
        })
    }

    pub(super) fn health(&self) -> Health {
        let nodes = self.map.members.keys().map(|node| {
            let silent_ms = self.silent_ms.get(node).copied().unwrap_or(0);
            let health = NodeHealth {
                silent_ms,
                map_version: self.map.version,
                used_bytes: self.used_bytes(*node),
                limit_bytes: self.limits.get(node).copied(),
            };
            (*node, health)
        });
        let reported = self.map.groups.keys().filter(|group| self.has_quorum(**group, None));
        let groups = reported.map(|group| {
            let (conf, set) = (self.confs[group].clone(), &self.map.groups[group]);
            let leader = set.replicas.iter().find(|at| conf.voters.contains(&at.replica) && self.runs(at));
            let leader = leader.map(|at| at.replica).unwrap_or_default();
            let bytes = self.bytes.get(group).copied().unwrap_or(0);
            (*group, GroupHealth { leader, conf, bytes, conf_version: u64::MAX, ..GroupHealth::default() })
        });
        Health { nodes: nodes.collect(), groups: groups.collect() }
    }

    fn used_bytes(&self, node: NodeId) -> u64 {
        let on = |set: &&GroupId| self.map.groups[*set].replicas.iter().any(|at| at.node == node && self.runs(at));
        let groups = self.map.groups.keys().filter(|group| **group != GroupId::META);
        groups.filter(on).map(|group| self.bytes.get(group).copied().unwrap_or(0)).sum()
    }

    /// Time passes: nodes that joined are up, those that don't run grow silent, each migration that can goes on.
    pub(super) fn round(&mut self) {
        for (node, member) in &mut self.map.members {
            let runs = self.running.get(node) == Some(&member.incarnation);
            let silent = self.silent_ms.entry(*node).or_default();
            *silent = if runs { 0 } else { *silent + ROUND_MS };
            if runs && member.state == MemberState::Joining {
                member.state = MemberState::Up;
            }
        }
        let ids: Vec<MigrationId> = self.map.migrations.keys().copied().collect();
        for id in ids {
            self.advance(id);
        }
    }

    /// What the meta group does with a command of a plan.
    pub(super) fn apply(&mut self, command: &MetaCommand) {
        self.map.version += 1;
        match command {
            MetaCommand::SetState { node, incarnation, state } => {
                let member = self.map.members.get_mut(node).expect("a member");
                assert_eq!(member.incarnation, *incarnation, "SetState of another life");
                member.state = *state;
            }
            MetaCommand::StartMigration { group, incoming, outgoing, learner, reason } => {
                self.start(*group, *incoming, *outgoing, *learner, *reason);
            }
            MetaCommand::CancelMigration(id) => {
                self.map.migrations.get_mut(id).expect("a migration").cancelled = true;
            }
            MetaCommand::Prefer { group, replica } => {
                let set = self.map.groups.get_mut(group).expect("a group");
                let at = set.replicas.iter().position(|at| at.replica == *replica && !at.learner);
                set.replicas[..=at.expect("a voter")].rotate_right(1);
            }
            MetaCommand::Join { .. }
            | MetaCommand::AdvanceMigration { .. }
            | MetaCommand::SetSettings(_)
            | MetaCommand::SetReplicationFactor(_)
            | MetaCommand::RaiseFeatureLevel(_) => panic!("no plan says {command:?}"),
        }
    }

    fn start(
        &mut self,
        group: GroupId,
        incoming: Incoming,
        outgoing: Option<ReplicaId>,
        learner: bool,
        reason: Reason,
    ) {
        *self.begun.entry(reason.name()).or_default() += 1;
        let set = self.map.groups.get_mut(&group).expect("a group");
        let new = match incoming {
            Incoming::None => None,
            Incoming::Promote(replica) => Some(replica),
            Incoming::New(node) => {
                let replica = self.map.next_replica;
                self.map.next_replica.0 += 1;
                let incarnation = self.map.members[&node].incarnation;
                set.replicas.push(ReplicaAt { replica, node, incarnation, learner: true });
                Some(replica)
            }
        };
        set.changes += 1;
        let id = self.map.next_migration;
        self.map.next_migration.0 += 1;
        let migration = Migration {
            id,
            group,
            incoming: new,
            outgoing,
            learner,
            promoted: matches!(incoming, Incoming::Promote(_)),
            phase: Phase::AddLearner,
            reason,
            cancelled: false,
            started_ms: 0,
            left: None,
        };
        self.map.migrations.insert(id, migration);
    }

    fn advance(&mut self, id: MigrationId) {
        let migration = self.map.migrations[&id];
        let group = migration.group;
        if !self.has_quorum(group, None) {
            return;
        }
        let at = |world: &Self, id| world.map.groups[&group].replicas.iter().find(|at| at.replica == id).copied();
        let arrived = migration.incoming.is_none_or(|id| at(self, id).is_some_and(|at| self.runs(&at)));
        let next = match migration.phase {
            _ if migration.cancelled => {
                let gone = migration.incoming.filter(|_| !migration.promoted);
                self.confs.get_mut(&group).expect("a conf").learners.retain(|id| Some(*id) != gone);
                self.map.groups.get_mut(&group).expect("a group").replicas.retain(|at| Some(at.replica) != gone);
                None
            }
            Phase::AddLearner => {
                let learners = &mut self.confs.get_mut(&group).expect("a conf").learners;
                let known: BTreeSet<ReplicaId> = learners.iter().copied().chain(migration.incoming).collect();
                *learners = known.into_iter().collect();
                Some(Phase::CatchUp)
            }
            Phase::CatchUp if !arrived => return,
            Phase::CatchUp => Some(Phase::JointSwap),
            Phase::JointSwap => {
                self.swap(&migration);
                Some(Phase::LeaveJoint)
            }
            Phase::LeaveJoint => {
                self.confs.get_mut(&group).expect("a conf").voters_outgoing.clear();
                let set = self.map.groups.get_mut(&group).expect("a group");
                set.replicas.retain(|at| Some(at.replica) != migration.outgoing);
                let incoming = set.replicas.iter_mut().filter(|at| Some(at.replica) == migration.incoming);
                incoming.for_each(|at| at.learner = migration.learner);
                Some(Phase::Cleanup)
            }
            Phase::Cleanup => None,
        };
        self.map.version += 1;
        match next {
            Some(phase) => self.map.migrations.get_mut(&id).expect("a migration").phase = phase,
            None => _ = self.map.migrations.remove(&id),
        }
    }

    fn swap(&mut self, migration: &Migration) {
        let conf = self.confs.get_mut(&migration.group).expect("a conf");
        let before = conf.voters.clone();
        conf.voters.retain(|id| Some(*id) != migration.outgoing);
        conf.learners.retain(|id| Some(*id) != migration.outgoing);
        if let Some(incoming) = migration.incoming.filter(|_| !migration.learner) {
            conf.learners.retain(|id| *id != incoming);
            conf.voters.push(incoming);
        }
        if conf.voters != before {
            conf.voters_outgoing = before;
        }
    }
}
