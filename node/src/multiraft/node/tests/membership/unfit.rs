//! Replicas whose state can't be believed, and nodes whose map can't.

use super::*;
use crate::types::LogIndex;

impl Cluster {
    fn corrupt(&mut self, node: NodeId) {
        let node = self.nodes.get_mut(&node).expect("a node");
        node.groups.get_mut(&SHARD).expect("a replica").health = Health::Corrupt { index: LogIndex(1) };
        node.dirty.insert(SHARD);
    }
}

/// Simulator, seed 217410: a cut-off voter let nobody in who had come meanwhile, and they needed its vote to go on.
#[test]
fn a_map_from_another_node_is_acted_by_and_spread() {
    let mut cluster = cluster(3);
    let mut cut_off = cluster.nodes.remove(&NodeId(3)).expect("node");
    cluster.kill(NodeId(3));
    let settings = SharedSettings { migrations_paused: true, ..SharedSettings::default() };
    let map = cluster.govern(MetaCommand::SetSettings(settings)).expect("settings");
    cut_off.input(cluster.now, Input::Map(map.clone()));
    let spread = cut_off.turn(cluster.now).map.expect("the network and the other workers must have it");
    assert_eq!((spread.version, cut_off.map().version), (map.version, map.version));
    cut_off.input(cluster.now, Input::Map(map));
    assert!(cut_off.turn(cluster.now).map.is_none(), "once is enough");
}

/// Simulator, seed 217471: nobody could take over before the configuration had a sound voter, and nobody but a corrupt
/// leader could change it.
#[test]
fn a_corrupt_leader_goes_on_with_a_migration() {
    let mut cluster = three_and_one();
    let set = cluster.mapped(SHARD);
    let to = *nodes(&[1, 2, 3, 4]).difference(&set).next().expect("one is free");
    let from = *set.first().expect("three");
    cluster.start_move(from.0, to.0);
    cluster.until("the learner is level", |cluster| {
        cluster.map().migration_of(SHARD).is_some_and(|migration| migration.phase == Phase::JointSwap)
    });
    cluster.kill(*set.last().expect("three"));
    for node in set.iter().take(2) {
        cluster.corrupt(*node);
    }
    cluster.run_ms(20_000);
    let leader = cluster.leader_of(SHARD).expect("a leader");
    assert_eq!(cluster.status(leader.0).health, Health::Serving);
    cluster.write_one();
}

/// On another node; with none to spare it is taken out first, and its node gets a new one.
#[test]
fn a_corrupt_replica_is_replaced() {
    for (mut cluster, spare) in [(three_and_one(), true), (cluster(3), false)] {
        let set = cluster.mapped(SHARD);
        let sick = *set.first().expect("three");
        let old = cluster.map().groups[&SHARD].on(sick).expect("a replica").replica;
        cluster.corrupt(sick);
        cluster.until("the repair", |cluster| {
            let map = cluster.map();
            cluster.settled() && map.groups[&SHARD].get(old).is_none() && map.groups[&SHARD].voters().count() == 3
        });
        assert_eq!(cluster.mapped(SHARD).contains(&sick), !spare);
        cluster.check();
    }
}
