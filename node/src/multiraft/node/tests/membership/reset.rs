//! A shard whose majority is dead begins anew, empty.

use super::*;
use crate::{
    cluster::command::{self, Refused, ShardReset},
    consensus::{DiskLog, FIRST_INDEX, FIRST_TERM, SnapshotPoint},
    machine::{LogRecord, MAX_GENERATION},
};

/// Five nodes that all vote on the map, and a shard on the first three.
fn map_of_five() -> Arc<ClusterMap> {
    let mut map = map(5, SharedSettings::default());
    map.replication_factor = 3;
    map.groups.get_mut(&SHARD).expect("the shard").replicas.truncate(3);
    Arc::new(map)
}

fn five() -> Cluster {
    let map = map_of_five();
    let node = |id: u64| (NodeId(id), core(id, u128::from(id) + 100, Limits::default(), map.clone()));
    Cluster::of((1..=5).map(node).collect(), Limits::default())
}

fn command(generation: u64, dead: &[u64]) -> MetaCommand {
    let nodes = [4, 5, 1].map(NodeId).to_vec();
    let life = |node: &u64| (NodeId(*node), Incarnation(u128::from(*node) + 100));
    MetaCommand::ResetShards {
        shards: vec![ShardReset { group: SHARD, generation, nodes }],
        dead: dead.iter().map(life).collect(),
    }
}

impl Cluster {
    /// Asks until the meta group's leader has looked around.
    fn reset(&mut self, generation: u64, dead: &[u64]) -> Result<Arc<ClusterMap>, GovernError> {
        for _ in 0..50 {
            match self.govern(command(generation, dead)) {
                Err(GovernError::Unavailable(_)) => self.run_ms(200),
                result => return result,
            }
        }
        panic!("nobody can say");
    }

    fn refused(&mut self, generation: u64, dead: &[u64], why: &str) {
        let result = self.reset(generation, dead);
        match &result {
            Err(GovernError::Refused(Refused::Reason(reason))) if reason.contains(why) => {}
            _ => panic!("{result:?} does not say {why:?}"),
        }
    }
}

#[test]
fn a_shard_whose_majority_is_dead_returns_empty() {
    let mut cluster = five();
    (0..5).for_each(|_| cluster.write_one());
    cluster.refused(1, &[2], "node 2 is heard of in its life");
    cluster.refused(1, &[], "is not lost");
    cluster.kill(NodeId(2));
    cluster.kill(NodeId(3));
    cluster.run_ms(8_000);
    cluster.refused(1, &[2], "is not lost");
    cluster.refused(1, &[2, 1], "node 1 is heard of in its life");
    let lost = cluster.run(1, vec![get("w1")]);
    assert!(lost.is_err(), "{lost:?} without a majority");

    let map = cluster.reset(1, &[2, 3]).expect("it is lost");
    let set = map.groups[&SHARD].clone();
    assert_eq!((set.generation, &set.replicas), (2, &set.founders));
    let states = [2, 3].map(|node| map.members[&NodeId(node)].state);
    assert_eq!(states, [MemberState::Down; 2], "these lives never vote again");
    let again = cluster.reset(1, &[2, 3]).expect("once more");
    assert_eq!(again.groups[&SHARD], set, "nothing is changed by that");

    cluster.written = 0;
    cluster.run_ms(2_000);
    for node in [1, 4, 5] {
        let read = cluster.run(node, vec![get("w1")]).expect("the shard serves again");
        assert_eq!(value(&read[0]), None, "through node {node}");
        let here = cluster.status(node).replica;
        assert_eq!(set.on(NodeId(node)).map(|at| at.replica), Some(here));
    }
    let done = cluster.run(1, vec![put("w1", "0")]).expect("write");
    let versions = matches!(done[..], [Outcome::Stored { version, .. }] if version.0 > 1 << 48);
    assert!(versions, "{done:?} might be taken for a version of what was lost");
    (0..5).for_each(|_| cluster.write_one());
    cluster.check();
}

/// Whoever asks again finds it done, or does it; once.
#[test]
fn a_reset_outlives_a_change_of_the_meta_leader() {
    let mut cluster = five();
    cluster.write_one();
    cluster.kill(NodeId(2));
    cluster.kill(NodeId(3));
    cluster.run_ms(8_000);
    cluster.refused(1, &[], "is not lost");
    let leader = cluster.leader_of(META).expect("a leader");
    let to = [1, 4, 5].map(NodeId).into_iter().find(|node| *node != leader).expect("another");
    let (ticket, deadline_mono_ms) = (Ticket(1 << 32), cluster.now.mono_ms + 3_000);
    let asked = Input::Govern { ticket, command: command(1, &[2, 3]), expected_version: None, deadline_mono_ms };
    cluster.input(leader, asked);
    cluster.input(leader, Input::TransferLeader { group: META, to });
    cluster.run_ms(3_000);
    assert!(cluster.governed.contains_key(&ticket), "it was answered, however");
    let map = cluster.reset(1, &[2, 3]).expect("it is lost, or was");
    assert_eq!(map.groups[&SHARD].generation, 2);
    cluster.written = 0;
    cluster.run_ms(2_000);
    (0..5).for_each(|_| cluster.write_one());
    cluster.check();
}

/// It may be beyond a cut, with another voter that has not heard of it: together they would go on.
#[test]
fn who_was_declared_down_for_its_silence_may_live() {
    let mut cluster = five();
    let paused = SharedSettings { migrations_paused: true, ..SharedSettings::default() };
    cluster.govern(MetaCommand::SetSettings(paused)).expect("no repair");
    cluster.kill(NodeId(2));
    cluster.run_ms(8_000);
    let down = MetaCommand::SetState { node: NodeId(2), incarnation: Incarnation(102), state: MemberState::Down };
    cluster.govern(down).expect("the others decide without it");
    cluster.kill(NodeId(3));
    cluster.run_ms(8_000);
    cluster.refused(1, &[3], "is not lost: 2 of its 3 voters may live");
    let map = cluster.reset(1, &[2, 3]).expect("somebody answers for both");
    assert_eq!(map.groups[&SHARD].generation, 2);
}

/// Beyond it two generations would share their versions.
#[test]
fn a_shard_has_a_last_generation() {
    let mut map = ClusterMap::clone(&map_of_five());
    map.groups.get_mut(&SHARD).expect("the shard").generation = MAX_GENERATION - 1;
    command::apply(&mut map, 0, None, &command(MAX_GENERATION - 1, &[2, 3])).expect("the last one");
    let set = map.groups[&SHARD].clone();
    let founders = set.founders.iter().map(|at| (at.node, at.incarnation));
    let nodes = vec![NodeId(1)];
    let again = MetaCommand::ResetShards {
        shards: vec![ShardReset { group: SHARD, generation: MAX_GENERATION, nodes }],
        dead: founders.filter(|(node, _)| *node != NodeId(1)).collect(),
    };
    let refused = command::apply(&mut map, 0, None, &again).expect_err("no more");
    assert!(refused.to_string().contains("no versions left"), "{refused}");
    let mut machine = Machine::of_generation(ModelStore::new(), MAX_GENERATION);
    let Op::Write(write) = put("k", "v") else { panic!("a write") };
    let record = LogRecord { commands: vec![write], ..LogRecord::default() };
    let outcomes = machine.apply(LogIndex(1), record);
    assert!(matches!(outcomes[..], [Outcome::Stored { version, .. }] if version.0 > u64::MAX - (1 << 48)));
}

/// A new meta leader has no reports yet of the generation whose terms begin anew.
#[test]
fn a_shard_that_was_reset_is_repaired_and_moved_as_any_other() {
    let mut cluster = five();
    cluster.write_one();
    cluster.kill(NodeId(2));
    cluster.kill(NodeId(3));
    cluster.run_ms(8_000);
    cluster.reset(1, &[2, 3]).expect("it is lost");
    cluster.written = 0;
    cluster.join(2, 2_002);
    cluster.until("node 2 has come", |cluster| cluster.settled() && cluster.has_meta(2));
    cluster.until("a leader that reports", |cluster| {
        let leader = cluster.leader_of(META).and_then(|leader| cluster.nodes[&leader].governing());
        leader.is_some_and(|governing| governing.health.groups.contains_key(&SHARD))
    });
    let from = cluster.mapped(SHARD).into_iter().find(|node| *node != NodeId(2)).expect("three");
    if !cluster.mapped(SHARD).contains(&NodeId(2)) {
        cluster.start_move(from.0, 2);
        cluster.until("the move", |cluster| cluster.settled() && cluster.voters(SHARD).contains(&NodeId(2)));
    }
    cluster.check();
}

/// The disk of a node that takes part in the new generation, and had no time for a checkpoint of the map.
fn disk(generation: u64, replica: u64, birth: &Arc<ClusterMap>) -> Restart<ModelStore> {
    let base = SnapshotPoint { index: FIRST_INDEX.0, term: FIRST_TERM.0 };
    let log = DiskLog { base, ..DiskLog::default() };
    let found = Found::Sound { log, checkpoint: None };
    let replica = ReplicaId(replica);
    let on_disk = RestartedGroup { replica, generation, found };
    Restart {
        birth: birth.clone(),
        groups: BTreeMap::from([(SHARD, on_disk)]),
        held: BTreeMap::from([(SHARD, replica)]),
    }
}

fn restarted(map: &Arc<ClusterMap>, disk: Restart<ModelStore>) -> Node<ModelStore> {
    let config = NodeConfig { durable: true, boot: 1, ..config(1, 101, Limits::default()) };
    Node::restart(config, map.clone(), disk, |_| ModelStore::new())
}

fn after_reset(birth: &Arc<ClusterMap>) -> Arc<ClusterMap> {
    let mut map = ClusterMap::clone(birth);
    command::apply(&mut map, 0, None, &command(1, &[2, 3])).expect("it is lost");
    Arc::new(map)
}

#[test]
fn a_disk_that_is_ahead_of_its_map_waits_for_it() {
    let birth = map_of_five();
    let newer = after_reset(&birth);
    let at = *newer.groups[&SHARD].on(NodeId(1)).expect("a replica");
    let now = Now { wall: Timestamp(1_000_000), mono_ms: 1_000 };
    let mut node = restarted(&birth, disk(2, at.replica.0, &birth));
    node.turn(now);
    assert!(node.group_status(SHARD).is_none(), "whom it began with is not known yet");
    node.input(now, Input::Map(newer.clone()));
    let effects = node.turn(now);
    let status = node.group_status(SHARD).expect("it goes on");
    let founders: BTreeSet<ReplicaId> = newer.groups[&SHARD].founders.iter().map(|at| at.replica).collect();
    assert_eq!((status.replica, status.voters.into_iter().collect()), (at.replica, founders));
    assert_eq!(status.health, Health::Serving);
    assert!(effects.destroyed.is_empty(), "{:?}", effects.destroyed);
}

/// It heard nothing while the others went on and changed their configuration.
#[test]
fn a_founder_that_begins_late_begins_as_the_others_did() {
    let birth = map_of_five();
    let mut later = ClusterMap::clone(&after_reset(&birth));
    later.version += 1;
    let set = later.groups.get_mut(&SHARD).expect("the shard");
    set.replicas.retain(|at| at.node != NodeId(4));
    set.changes += 1;
    let founders: BTreeSet<ReplicaId> = set.founders.iter().map(|at| at.replica).collect();
    let now = Now { wall: Timestamp(1_000_000), mono_ms: 1_000 };
    let mut node = core(5, 105, Limits::default(), birth);
    node.input(now, Input::Map(Arc::new(later)));
    node.turn(now);
    let status = node.group_status(SHARD).expect("its replica");
    assert_eq!(status.voters.into_iter().collect::<BTreeSet<_>>(), founders);
}

#[test]
fn a_disk_of_the_lost_generation_is_cleared() {
    let birth = map_of_five();
    let newer = after_reset(&birth);
    let at = *newer.groups[&SHARD].on(NodeId(1)).expect("a replica");
    let now = Now { wall: Timestamp(1_000_000), mono_ms: 1_000 };
    let mut node = restarted(&newer, disk(1, 11, &birth));
    let persist = node.turn(now).persist.expect("a tombstone");
    assert_eq!(persist.destroyed, [(SHARD, ReplicaId(11))]);
    let status = node.group_status(SHARD).expect("its new replica");
    assert_eq!((status.replica, status.entries), (at.replica, 0));
}
