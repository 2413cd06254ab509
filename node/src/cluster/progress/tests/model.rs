//! A group without Raft: its ConfState, leaders with any earlier copy of the map, reports that arrive late and twice.
//! Whatever the order, the map never drops a replica that votes, and in the end both agree.

use proptest::prelude::*;

use super::{SHARD, cluster};
use crate::{
    checkpoint::ConfState,
    cluster::{
        command::{Incoming, MetaCommand, apply},
        map::{ClusterMap, Reason},
        progress::{Applied, Wanted, next_step, wanted_step},
    },
    consensus::ConfStep,
    placement::{GroupHealth, Health, NodeHealth, PeerHealth},
    types::{Draw, NodeId, ReplicaId},
};

struct Model {
    draw: Draw,
    /// Every map that ever was, the newest last.
    maps: Vec<ClusterMap>,
    conf: ConfState,
    conf_version: u64,
    /// Every report that was ever sent.
    reports: Vec<(u64, ConfState)>,
    leader: ReplicaId,
}

impl Model {
    fn new(seed: u64) -> Self {
        let map = cluster(5, 3);
        let voters: Vec<_> = map.groups[&SHARD].voters().map(|at| at.replica).collect();
        let (leader, conf) = (voters[0], ConfState { voters, ..ConfState::default() });
        let reports = vec![(0, conf.clone())];
        Self { draw: Draw::new(seed), maps: vec![map], conf, conf_version: 0, reports, leader }
    }

    fn map(&self) -> &ClusterMap {
        self.maps.last().expect("the first at least")
    }

    fn commit(&mut self, command: &MetaCommand) {
        let mut map = self.map().clone();
        if apply(&mut map, 1, None, command).is_err() {
            return;
        }
        let listed = |map: &ClusterMap| map.groups[&SHARD].replicas.iter().map(|at| at.replica).collect::<Vec<_>>();
        let kept = listed(&map);
        for gone in listed(self.map()).into_iter().filter(|replica| !kept.contains(replica)) {
            let votes = self.conf.voters.contains(&gone) || self.conf.voters_outgoing.contains(&gone);
            assert!(!votes, "{command:?} drops {gone}, which votes in {:?}", self.conf);
        }
        self.maps.push(map);
    }

    /// Somebody asks for some migration, or rolls one back.
    fn plan(&mut self) {
        let map = self.map().clone();
        if let Some(migration) = map.migration_of(SHARD) {
            if self.draw.below(8) == 0 {
                self.commit(&MetaCommand::CancelMigration(migration.id));
            }
            return;
        }
        let replicas = &map.groups[&SHARD].replicas;
        let some = replicas[self.draw.below(replicas.len() as u64) as usize];
        let incoming = match self.draw.below(3) {
            0 => Incoming::None,
            1 => Incoming::New(NodeId(1 + self.draw.below(5))),
            _ => replicas.iter().find(|at| at.learner).map_or(Incoming::None, |at| Incoming::Promote(at.replica)),
        };
        let outgoing = (self.draw.below(3) > 0).then_some(some.replica);
        let (group, learner, reason) = (SHARD, self.draw.below(3) == 0, Reason::Balance);
        self.commit(&MetaCommand::StartMigration { group, incoming, outgoing, learner, reason });
    }

    /// The group's leader acts by a copy of the map that is `behind` versions old.
    fn lead(&mut self, behind: usize) {
        let map = &self.maps[self.maps.len() - 1 - behind.min(self.maps.len() - 1)];
        let applied = Applied { conf: &self.conf, version: self.conf_version };
        match wanted_step(map, SHARD, applied, self.leader) {
            Wanted::Nothing => {}
            Wanted::TransferAway => self.elect(true),
            Wanted::Propose(step, _) => self.change(step),
        }
        self.reports.push((self.conf_version, self.conf.clone()));
    }

    /// Any voter, of the outgoing half too; `away` asks for another one of those that stay.
    fn elect(&mut self, away: bool) {
        let outgoing = if away { &[][..] } else { &self.conf.voters_outgoing };
        let able: Vec<_> =
            self.conf.voters.iter().chain(outgoing).filter(|id| !away || **id != self.leader).collect();
        self.leader = *able[self.draw.below(able.len() as u64) as usize];
    }

    fn change(&mut self, step: ConfStep) {
        let conf = &mut self.conf;
        match step {
            ConfStep::AddLearner(replica) => {
                assert!(!conf.voters.contains(&replica) && !conf.learners.contains(&replica));
                conf.learners.push(replica);
            }
            ConfStep::RemoveLearner(replica) => {
                assert!(conf.learners.contains(&replica));
                conf.learners.retain(|id| *id != replica);
            }
            ConfStep::EnterJoint { add, remove } => {
                assert!(conf.voters_outgoing.is_empty(), "joint twice");
                assert!(add.is_none_or(|replica| conf.learners.contains(&replica)));
                assert!(remove.is_none_or(|replica| conf.voters.contains(&replica)));
                conf.voters_outgoing = conf.voters.clone();
                conf.learners.retain(|id| Some(*id) != add);
                conf.voters.extend(add);
                conf.voters.retain(|id| Some(*id) != remove);
            }
            ConfStep::LeaveJoint => {
                assert!(!conf.voters_outgoing.is_empty() && conf.voters.contains(&self.leader), "it removes itself");
                conf.voters_outgoing.clear();
            }
            ConfStep::Renew(replica) => assert!(conf.voters.contains(&replica)),
        }
        assert!(!conf.voters.is_empty(), "nobody votes");
        self.conf_version += 1;
    }

    /// The meta leader hears a report, perhaps one from long ago.
    fn govern(&mut self, report: usize) {
        let (conf_version, conf) = self.reports[report].clone();
        let map = self.map();
        let peers = conf.learners.iter().map(|id| (*id, PeerHealth { matched: 5, snapshot: false })).collect();
        let group = GroupHealth { conf_version, conf, last: 5, peers, ..Default::default() };
        let node = NodeHealth { map_version: map.version, ..Default::default() };
        let nodes = map.members.keys().map(|id| (*id, node)).collect();
        let health = Health { nodes, groups: [(SHARD, group)].into(), ..Health::default() };
        let Some(migration) = map.migration_of(SHARD) else { return };
        if let Some(command) = next_step(map, migration, &health) {
            self.commit(&command);
        }
    }

    fn step(&mut self) {
        match self.draw.below(8) {
            0 => self.plan(),
            1 => self.elect(false),
            2..5 => {
                let behind = self.draw.below(6) as usize;
                self.lead(behind);
            }
            _ => {
                let any = self.draw.below(self.reports.len() as u64) as usize;
                let report = if self.draw.below(2) == 0 { any } else { self.reports.len() - 1 };
                self.govern(report);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.lead(0);
            self.govern(self.reports.len() - 1);
        }
        self.lead(0);
    }
}

fn sorted(ids: impl Iterator<Item = ReplicaId>) -> Vec<ReplicaId> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn map_and_conf_state_come_together(seed: u64) {
        let mut model = Model::new(seed);
        while model.conf_version == 0 {
            model.step();
        }
        for _ in 0..200 {
            model.step();
        }
        model.settle();
        let set = &model.map().groups[&SHARD];
        prop_assert!(model.map().migrations.is_empty(), "{:?} with {:?}", model.map().migrations, model.conf);
        prop_assert!(model.conf.voters_outgoing.is_empty());
        prop_assert_eq!(sorted(set.voters().map(|at| at.replica)), sorted(model.conf.voters.iter().copied()));
        let learners = set.replicas.iter().filter(|at| at.learner).map(|at| at.replica);
        prop_assert_eq!(sorted(learners), sorted(model.conf.learners.iter().copied()));
    }
}
