//! What is wanted of leaders in each phase; and a model group under stale maps, stale reports and any order.

mod model;

use std::collections::BTreeMap;

use super::{Applied, CAUGHT_UP_ENTRIES, SILENT_MS, Wanted, next_step, wanted_step};
use crate::{
    checkpoint::ConfState,
    cluster::{
        command::{Incoming, MetaCommand, apply},
        initial::{ClusterSpec, initial_map},
        map::{ClusterMap, Member, MemberState, Migration, Phase, Reason, SUPPORTED_LEVELS, SharedSettings},
    },
    consensus::ConfStep,
    partitioning::SlotHash,
    placement::{Defect, GroupHealth, Health, NodeHealth, PeerHealth},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

const SHARD: GroupId = GroupId(1);

fn cluster(nodes: u64, replication_factor: u32) -> ClusterMap {
    let spec = ClusterSpec {
        num_shards: 1,
        slot_hash: SlotHash::Crc16,
        replication_factor,
        settings: SharedSettings::default(),
    };
    let member = |node: u64| Member {
        incarnation: Incarnation(u128::from(node)),
        address: format!("n{node}:7000"),
        host: String::new(),
        zone: String::new(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: String::new(),
    };
    let members: BTreeMap<_, _> = (1..=nodes).map(|node| (NodeId(node), member(node))).collect();
    initial_map(ClusterUid(1), &spec, members).expect("a map")
}

fn ids(replicas: &[u64]) -> Vec<ReplicaId> {
    replicas.iter().copied().map(ReplicaId).collect()
}

/// `voters / learners / outgoing voters`.
fn conf(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> ConfState {
    let (voters, learners, voters_outgoing) = (ids(voters), ids(learners), ids(outgoing));
    ConfState { voters, learners, voters_outgoing, ..ConfState::default() }
}

fn run(map: &mut ClusterMap, command: &MetaCommand) {
    apply(map, 1, None, command).unwrap_or_else(|refused| panic!("{command:?}: {refused}"));
}

fn start(map: &mut ClusterMap, incoming: Incoming, outgoing: Option<u64>, learner: bool) {
    let outgoing = outgoing.map(ReplicaId);
    let reason = Reason::Asked;
    run(map, &MetaCommand::StartMigration { group: SHARD, incoming, outgoing, learner, reason });
}

fn only(map: &ClusterMap) -> Migration {
    *map.migrations.values().next().expect("a migration")
}

/// Three voters 5@2 6@3 7@4 of the shard; replica 8 comes to node 1 for 7.
fn swap_in(phase: Phase) -> ClusterMap {
    let mut map = cluster(4, 3);
    start(&mut map, Incoming::New(NodeId(1)), Some(7), false);
    while only(&map).phase != phase {
        let Migration { id: migration, phase: from, .. } = only(&map);
        let to = super::following(&map, &only(&map));
        run(&mut map, &MetaCommand::AdvanceMigration { migration, from, to, conf_version: 9 });
    }
    map
}

fn wanted(map: &ClusterMap, conf: &ConfState, own: u64) -> String {
    wanted_at(map, conf, map.groups[&SHARD].conf_version, own)
}

fn wanted_at(map: &ClusterMap, conf: &ConfState, version: u64, own: u64) -> String {
    match wanted_step(map, SHARD, Applied { conf, version }, ReplicaId(own)) {
        Wanted::Nothing => "nothing".to_owned(),
        Wanted::TransferAway => "transfer".to_owned(),
        Wanted::Propose(step, peers) => {
            let peers: Vec<_> = peers.iter().map(|p| format!(" {}@{} {}", p.replica, p.node, p.address)).collect();
            let id = |id: Option<ReplicaId>| id.map_or("-".to_owned(), |id| id.to_string());
            let step = match step {
                ConfStep::AddLearner(replica) => format!("learner {replica}"),
                ConfStep::RemoveLearner(replica) => format!("remove {replica}"),
                ConfStep::EnterJoint { add, remove } => format!("joint +{} -{}", id(add), id(remove)),
                ConfStep::LeaveJoint => "leave".to_owned(),
                ConfStep::Renew(replica) => format!("renew {replica}"),
            };
            step + &peers.concat()
        }
    }
}

#[test]
fn each_phase_wants_what_the_conf_state_lacks() {
    let map = swap_in(Phase::AddLearner);
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[], &[]), 5), "learner 8 8@1 n1:7000");
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 5), "nothing");
    let map = swap_in(Phase::CatchUp);
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 5), "nothing");
    let map = swap_in(Phase::JointSwap);
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 5), "joint +8 -7 8@1 n1:7000");
    assert_eq!(wanted(&map, &conf(&[5, 6, 8], &[], &[5, 6, 7]), 5), "nothing");
    assert_eq!(wanted(&map, &conf(&[5, 6, 8], &[], &[]), 5), "nothing");
    let map = swap_in(Phase::LeaveJoint);
    assert_eq!(wanted(&map, &conf(&[5, 6, 8], &[], &[5, 6, 7]), 5), "leave");
    assert_eq!(wanted(&map, &conf(&[5, 6, 8], &[], &[]), 5), "nothing");
    assert_eq!(wanted(&swap_in(Phase::Cleanup), &conf(&[5, 6, 8], &[], &[]), 5), "nothing");
}

#[test]
fn a_leader_that_goes_hands_over_first() {
    let map = swap_in(Phase::JointSwap);
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 7), "transfer");
    // Elected meanwhile, by the outgoing half: it must not leave itself out.
    assert_eq!(wanted(&map, &conf(&[5, 6, 8], &[], &[5, 6, 7]), 7), "transfer");
    assert_eq!(wanted(&swap_in(Phase::LeaveJoint), &conf(&[5, 6, 8], &[], &[5, 6, 7]), 7), "transfer");
}

#[test]
fn the_only_voter_enters_the_joint_configuration_itself() {
    let mut map = cluster(2, 1);
    start(&mut map, Incoming::New(NodeId(1)), Some(3), false);
    for (from, to) in [(Phase::AddLearner, Phase::CatchUp), (Phase::CatchUp, Phase::JointSwap)] {
        let to = Some(to);
        run(&mut map, &MetaCommand::AdvanceMigration { migration: MigrationId(1), from, to, conf_version: 0 });
    }
    assert_eq!(wanted(&map, &conf(&[3], &[4], &[]), 3), "joint +4 -3 4@1 n1:7000");
    assert_eq!(wanted(&map, &conf(&[4], &[], &[3]), 3), "transfer");
}

#[test]
fn a_joint_group_without_a_migration_leaves() {
    assert_eq!(wanted(&cluster(3, 3), &conf(&[4, 5, 6], &[], &[4, 5, 6]), 5), "leave");
}

#[test]
fn a_pause_holds_copies_back() {
    let mut map = swap_in(Phase::AddLearner);
    map.settings.migrations_paused = true;
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[], &[]), 5), "nothing");
}

#[test]
fn a_learner_that_was_dropped_is_taken_out_and_one_that_is_newer_is_not() {
    let map = cluster(4, 3);
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 5), "nothing");
    let mut map = swap_in(Phase::CatchUp);
    run(&mut map, &MetaCommand::CancelMigration(MigrationId(1)));
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 5), "remove 8");
    let from = Phase::CatchUp;
    run(&mut map, &MetaCommand::AdvanceMigration { migration: MigrationId(1), from, to: None, conf_version: 0 });
    assert_eq!(wanted(&map, &conf(&[5, 6, 7], &[8], &[]), 5), "remove 8");
}

/// A report of the shard's leader, replica 5, with its log at 1,000.
fn health(conf: ConfState, matched: u64, snapshot: bool) -> Health {
    let peers = [(ReplicaId(8), PeerHealth { matched, snapshot })].into();
    let group = GroupHealth { leader: ReplicaId(5), conf_version: 9, conf, last: 1_000, peers, ..Default::default() };
    let node = NodeHealth { map_version: 1, ..Default::default() };
    Health {
        nodes: (1..=4).map(|id| (NodeId(id), node)).collect(),
        groups: [(SHARD, group)].into(),
        ..Health::default()
    }
}

fn next(map: &ClusterMap, health: &Health) -> Option<Phase> {
    match next_step(map, &only(map), health)? {
        MetaCommand::AdvanceMigration { to, .. } => to,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_learner_has_caught_up_only_with_its_snapshot_and_within_the_window() {
    let map = swap_in(Phase::CatchUp);
    let caught_up = |matched, snapshot| next(&map, &health(conf(&[5, 6, 7], &[8], &[]), matched, snapshot));
    assert_eq!(caught_up(1_000 - CAUGHT_UP_ENTRIES, false), Some(Phase::JointSwap));
    assert_eq!(caught_up(1_000 - CAUGHT_UP_ENTRIES - 1, false), None);
    assert_eq!(caught_up(1_000, true), None);
    let mut short = health(conf(&[5, 6, 7], &[8], &[]), 0, false);
    short.groups.get_mut(&SHARD).expect("the shard").last = 3;
    assert_eq!(next(&map, &short), None, "it has not answered yet");
}

#[test]
fn the_map_follows_the_conf_state() {
    let before = conf(&[5, 6, 7], &[8], &[]);
    let joint = conf(&[5, 6, 8], &[], &[5, 6, 7]);
    let after = conf(&[5, 6, 8], &[], &[]);
    let then = |phase, conf: &ConfState| next(&swap_in(phase), &health(conf.clone(), 1, false));
    assert_eq!(then(Phase::AddLearner, &conf(&[5, 6, 7], &[], &[])), None);
    assert_eq!(then(Phase::AddLearner, &before), Some(Phase::CatchUp));
    assert_eq!(then(Phase::JointSwap, &before), None);
    assert_eq!(then(Phase::JointSwap, &joint), Some(Phase::LeaveJoint));
    assert_eq!(then(Phase::JointSwap, &after), Some(Phase::LeaveJoint));
    assert_eq!(then(Phase::LeaveJoint, &joint), None);
    assert_eq!(then(Phase::LeaveJoint, &after), Some(Phase::Cleanup));
}

#[test]
fn an_older_report_than_the_last_step_says_nothing() {
    let mut map = swap_in(Phase::LeaveJoint);
    map.groups.get_mut(&SHARD).expect("the shard").conf_version = 10;
    assert_eq!(next_step(&map, &only(&map), &health(conf(&[5, 6, 8], &[], &[]), 1, false)), None);
}

#[test]
fn cleanup_ends_when_the_node_has_seen_it_or_can_not_see_it() {
    let map = swap_in(Phase::Cleanup);
    let end = |health: &Health| next_step(&map, &only(&map), health).is_some();
    let mut health = health(conf(&[5, 6, 8], &[], &[]), 1, false);
    assert!(!end(&health));
    assert!(!end(&Health::default()), "a new meta leader listens first");
    let node = |silent_ms, map_version| NodeHealth { silent_ms, map_version, ..Default::default() };
    health.nodes.insert(NodeId(4), node(0, map.version));
    assert!(end(&health));
    health.nodes.insert(NodeId(4), node(SILENT_MS + 1, 1));
    assert!(end(&health));
    health.nodes.insert(NodeId(4), node(0, 1));
    let mut dead = map.clone();
    dead.members.get_mut(&NodeId(4)).expect("a member").incarnation = Incarnation(99);
    assert!(next_step(&dead, &only(&dead), &health).is_some());
}

#[test]
fn who_can_not_arrive_is_rolled_back_before_the_swap() {
    for phase in [Phase::AddLearner, Phase::CatchUp, Phase::JointSwap] {
        let map = swap_in(phase);
        let mut dead = map.clone();
        dead.members.get_mut(&NodeId(1)).expect("a member").incarnation = Incarnation(99);
        let report = health(conf(&[5, 6, 7], &[8], &[]), 1, false);
        let mut silent = report.clone();
        silent.nodes.get_mut(&NodeId(1)).expect("a node").silent_ms = SILENT_MS + 1;
        let cancel = (phase < Phase::JointSwap).then_some(MetaCommand::CancelMigration(MigrationId(1)));
        let is_cancel = |step: Option<MetaCommand>| step.filter(|s| matches!(s, MetaCommand::CancelMigration(_)));
        assert_eq!(is_cancel(next_step(&dead, &only(&dead), &report)), cancel);
        assert_eq!(is_cancel(next_step(&map, &only(&map), &silent)), cancel);
        assert_eq!(is_cancel(next_step(&map, &only(&map), &report)), None);
    }
}

#[test]
fn a_rolled_back_migration_ends_when_the_learner_is_out() {
    let mut map = swap_in(Phase::CatchUp);
    run(&mut map, &MetaCommand::CancelMigration(MigrationId(1)));
    assert_eq!(next_step(&map, &only(&map), &health(conf(&[5, 6, 7], &[8], &[]), 1_000, false)), None);
    let end = next_step(&map, &only(&map), &health(conf(&[5, 6, 7], &[], &[]), 1, false)).expect("the end");
    run(&mut map, &end);
    assert!(map.migrations.is_empty() && map.groups[&SHARD].get(ReplicaId(8)).is_none());
}

/// Replica 7 goes and nothing comes: 5 and 6 would have to agree.
fn removal() -> ClusterMap {
    let mut map = cluster(4, 3);
    start(&mut map, Incoming::None, Some(7), false);
    map
}

/// Node 3, with replica 6, is silent.
fn half_silent(conf: ConfState, conf_version: u64) -> Health {
    let mut health = health(conf, 1, false);
    health.nodes.get_mut(&NodeId(3)).expect("a node").silent_ms = SILENT_MS + 1;
    health.groups.get_mut(&SHARD).expect("the shard").conf_version = conf_version;
    health
}

#[test]
fn a_swap_begins_from_the_version_that_the_map_names() {
    let mut map = removal();
    let voters = conf(&[5, 6, 7], &[], &[]);
    assert_eq!(wanted_at(&map, &voters, 0, 5), "joint +- -7");
    assert_eq!(wanted_at(&map, &voters, 4, 5), "nothing");
    // The map hears of the newer one, and names it.
    let mut newer = health(voters.clone(), 1, false);
    newer.groups.get_mut(&SHARD).expect("the shard").conf_version = 4;
    let again = next_step(&map, &only(&map), &newer).expect("a step");
    run(&mut map, &again);
    assert_eq!((only(&map).phase, map.groups[&SHARD].conf_version), (Phase::JointSwap, 4));
    assert_eq!(wanted_at(&map, &voters, 4, 5), "joint +- -7");
}

#[test]
fn a_swap_whose_voters_could_not_decide_is_called_off() {
    let mut map = removal();
    let voters = conf(&[5, 6, 7], &[], &[]);
    let cancel = next_step(&map, &only(&map), &half_silent(voters.clone(), 0)).expect("a step");
    assert_eq!(cancel, MetaCommand::CancelMigration(MigrationId(1)));
    run(&mut map, &cancel);
    assert_eq!(wanted_at(&map, &voters, 0, 5), "renew 5");
    assert_eq!(next_step(&map, &only(&map), &half_silent(voters.clone(), 0)), None, "it may still begin");
    assert_eq!(wanted_at(&map, &voters, 1, 5), "nothing");
    // A leader with the map as it was can do nothing any more.
    assert_eq!(wanted_at(&removal(), &voters, 1, 5), "nothing");
    let end = next_step(&map, &only(&map), &half_silent(voters, 1)).expect("the end");
    run(&mut map, &end);
    assert!(map.migrations.is_empty() && map.groups[&SHARD].get(ReplicaId(7)).is_some());
}

#[test]
fn nobody_votes_who_is_known_to_be_unfit() {
    let map = swap_in(Phase::JointSwap);
    let before = || health(conf(&[5, 6, 7], &[8], &[]), 1_000, false);
    let next_with = |unfit: &[(u64, Defect)]| {
        let unfit = unfit.iter().map(|(replica, defect)| (ReplicaId(*replica), *defect)).collect();
        next_step(&map, &only(&map), &Health { unfit, ..before() })
    };
    let cancel = Some(MetaCommand::CancelMigration(MigrationId(1)));
    assert_eq!(next_with(&[]), None);
    assert_eq!(next_with(&[(5, Defect::Corrupt), (6, Defect::Corrupt)]), None, "8 is sound, and they vote");
    assert_eq!(next_with(&[(8, Defect::Corrupt)]), cancel);
    assert_eq!(next_with(&[(5, Defect::Stopped), (6, Defect::Stopped)]), cancel, "8 alone is no majority");
    // Whom 7 leaves behind has nothing to go on with.
    let map = removal();
    let unfit = [(ReplicaId(5), Defect::Corrupt), (ReplicaId(6), Defect::Corrupt)].into();
    let mut last = Health { unfit, ..health(conf(&[5, 6, 7], &[], &[]), 1, false) };
    last.groups.get_mut(&SHARD).expect("the shard").conf_version = 0;
    assert_eq!(next_step(&map, &only(&map), &last), cancel);
}

#[test]
fn a_swap_that_had_begun_before_it_was_called_off_goes_on() {
    for joint in [conf(&[5, 6], &[], &[5, 6, 7]), conf(&[5, 6], &[], &[])] {
        let mut map = removal();
        run(&mut map, &MetaCommand::CancelMigration(MigrationId(1)));
        assert_eq!(wanted_at(&map, &joint, 1, 5), "nothing");
        let on = next_step(&map, &only(&map), &half_silent(joint, 1)).expect("a step");
        run(&mut map, &on);
        assert_eq!((only(&map).phase, only(&map).cancelled), (Phase::LeaveJoint, false));
    }
}

#[test]
fn a_swap_that_is_called_off_takes_its_learner_back_but_not_one_that_was_there_before() {
    let before = conf(&[5, 6, 7], &[8], &[]);
    let mut map = swap_in(Phase::JointSwap);
    run(&mut map, &MetaCommand::CancelMigration(MigrationId(1)));
    assert_eq!(wanted_at(&map, &before, 9, 5), "remove 8");
    let end = next_step(&map, &only(&map), &half_silent(conf(&[5, 6, 7], &[], &[]), 10)).expect("the end");
    run(&mut map, &end);
    assert!(map.migrations.is_empty() && map.groups[&SHARD].get(ReplicaId(8)).is_none());

    let mut map = cluster(4, 3);
    start(&mut map, Incoming::New(NodeId(1)), None, true);
    for (from, to) in [(Phase::AddLearner, Some(Phase::CatchUp)), (Phase::CatchUp, None)] {
        run(&mut map, &MetaCommand::AdvanceMigration { migration: MigrationId(1), from, to, conf_version: 9 });
    }
    start(&mut map, Incoming::Promote(ReplicaId(8)), Some(7), false);
    let (migration, from, to) = (MigrationId(2), Phase::CatchUp, Some(Phase::JointSwap));
    run(&mut map, &MetaCommand::AdvanceMigration { migration, from, to, conf_version: 9 });
    run(&mut map, &MetaCommand::CancelMigration(migration));
    assert_eq!(wanted_at(&map, &before, 9, 5), "renew 5");
    let end = next_step(&map, &only(&map), &half_silent(before, 10)).expect("the end");
    run(&mut map, &end);
    assert!(map.migrations.is_empty() && map.groups[&SHARD].get(ReplicaId(8)).is_some_and(|at| at.learner));
}
