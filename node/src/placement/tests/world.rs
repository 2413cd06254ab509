//! A cluster without Raft: it commits what a plan says and lets migrations go on, one step at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    checkpoint::ConfState,
    cluster::{
        command::{MetaCommand, apply, following},
        initial::{ClusterSpec, initial_map},
        map::{ClusterMap, Member, MemberState, Migration, Phase, ReplicaAt, SUPPORTED_LEVELS, SharedSettings},
    },
    partitioning::SlotHash,
    placement::{Defect, GroupHealth, Health, NodeHealth},
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
    /// Replicas that run and must not be believed.
    pub(super) corrupt: BTreeSet<ReplicaId>,
    /// Nodes that can't write any more.
    pub(super) failed_disks: BTreeSet<NodeId>,
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
            corrupt: BTreeSet::new(),
            failed_disks: BTreeSet::new(),
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
        self.apply(&MetaCommand::Join { node, member: fresh });
    }

    pub(super) fn kill(&mut self, node: NodeId) {
        self.running.remove(&node);
    }

    /// The state of a shard's replica is wrong from now on.
    pub(super) fn corrupt(&mut self, node: NodeId, shard: u32) {
        let at = self.map.groups[&GroupId::of_shard(shard)].on(node).expect("a replica");
        self.corrupt.insert(at.replica);
    }

    /// A disk fails, and every replica of its node stops.
    pub(super) fn fail_disk(&mut self, node: NodeId) {
        self.failed_disks.insert(node);
        let stopped = self.map.groups.values().filter_map(|set| set.on(node)).map(|at| at.replica);
        self.corrupt.extend(stopped);
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
                disk_failed: self.failed_disks.contains(node),
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
        let unfit = self.corrupt.iter().map(|replica| (*replica, Defect::Corrupt)).collect();
        Health { nodes: nodes.collect(), groups: groups.collect(), unfit, ..Health::default() }
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

    /// What the meta group does with a command of a plan: it must fit the map as it is after the ones before it.
    pub(super) fn apply(&mut self, command: &MetaCommand) {
        if let MetaCommand::StartMigration { reason, .. } = command {
            *self.begun.entry(reason.name()).or_default() += 1;
        }
        let before = self.map.version;
        apply(&mut self.map, 0, None, command).unwrap_or_else(|refused| panic!("{command:?}: {refused}"));
        assert!(self.map.version > before, "{command:?} changes nothing");
    }

    /// The group's leader does what the phase wants, and the meta leader sees it.
    fn advance(&mut self, id: MigrationId) {
        let migration = self.map.migrations[&id];
        let set = &self.map.groups[&migration.group];
        if !self.has_quorum(migration.group, None) {
            return;
        }
        let arrived = migration.incoming.and_then(|id| set.get(id)).is_none_or(|at| self.runs(at));
        let leaves_learner = migration.outgoing.and_then(|id| set.get(id)).is_some_and(|at| at.learner);
        let conf = self.confs.get_mut(&migration.group).expect("a conf");
        match migration.phase {
            _ if migration.cancelled => conf.learners.retain(|id| Some(*id) != migration.incoming),
            Phase::AddLearner => conf.learners.extend(migration.incoming),
            Phase::CatchUp if !arrived => return,
            Phase::CatchUp | Phase::Cleanup => {}
            Phase::JointSwap if leaves_learner => conf.learners.retain(|id| Some(*id) != migration.outgoing),
            Phase::JointSwap => self.swap(&migration),
            Phase::LeaveJoint => conf.voters_outgoing.clear(),
        }
        let to = following(&self.map, &migration);
        self.apply(&MetaCommand::AdvanceMigration { migration: id, from: migration.phase, to, conf_version: 0 });
    }

    fn swap(&mut self, migration: &Migration) {
        let conf = self.confs.get_mut(&migration.group).expect("a conf");
        conf.voters_outgoing.clone_from(&conf.voters);
        conf.voters.retain(|id| Some(*id) != migration.outgoing);
        if let Some(incoming) = migration.incoming.filter(|_| !migration.learner) {
            conf.learners.retain(|id| *id != incoming);
            conf.voters.push(incoming);
        }
    }
}
