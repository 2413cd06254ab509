//! Groups that sleep in a cluster whose shape changes.

use super::*;
use crate::multiraft::introspect::ailments;

#[test]
fn a_sleeping_group_whose_leader_is_declared_down_finds_another() {
    let mut cluster = cluster(3);
    let meta = cluster.leader_of(META).expect("a leader");
    let set = cluster.map().groups[&SHARD].clone();
    let at = *set.replicas.iter().find(|at| at.node != meta).expect("another");
    cluster.govern(MetaCommand::Prefer { group: SHARD, replica: at.replica }).expect("prefer");
    cluster.until("it leads", |cluster| cluster.leader_of(SHARD) == Some(at.node));
    cluster.run_ms(10_000);
    assert!((1..=3).all(|node| cluster.status(node).asleep), "all replicas sleep");
    let (node, incarnation) = (at.node, at.incarnation);
    cluster.govern(MetaCommand::SetState { node, incarnation, state: MemberState::Down }).expect("down");
    cluster.run_ms(5_000);
    let leader = cluster.leader_of(SHARD).expect("a leader");
    assert_ne!(leader, node);
    cluster.nodes.remove(&node);
    cluster.run(leader.0, vec![put("k", "1")]).expect("write");
}

#[test]
fn an_idle_cluster_sleeps_in_spite_of_its_reports() {
    let mut cluster = three_and_one();
    cluster.run_ms(20_000);
    for (id, node) in &cluster.nodes {
        assert!(node.status().all(|status| status.asleep), "node {id}: {:#?}", node.status().collect::<Vec<_>>());
    }
    let governing = cluster.nodes.values().find_map(Node::governing).expect("somebody governs");
    assert_eq!(governing.health.nodes.len(), 4);
    assert_eq!(governing.health.groups.len(), 2);
    assert!(governing.health.nodes.values().all(|node| node.silent_ms == 0));
}

/// A leader that has just been elected has not heard of every follower's log yet, and says so.
#[test]
fn what_is_known_of_a_sleeping_group_is_how_it_went_to_sleep() {
    let mut cluster = cluster(3);
    for round in 0..8 {
        let set = cluster.map().groups[&SHARD].clone();
        let [_, next, late] = [0, 1, 2].map(|place| set.replicas[place]);
        cluster.disconnect(next.node, late.node);
        cluster.govern(MetaCommand::Prefer { group: SHARD, replica: next.replica }).expect("prefer");
        let led = (0..200).any(|_| {
            cluster.run_ms(50);
            cluster.leader_of(SHARD) == Some(next.node)
        });
        assert!(led, "it leads");
        cluster.run_ms(200);
        cluster.reconnect(next.node, late.node);
        cluster.run_ms(10_000 + 450 * round);
        assert!((1..=3).all(|node| cluster.status(node).asleep), "all replicas sleep");
        let governing = cluster.nodes.values().find_map(Node::governing).expect("somebody governs");
        assert_eq!(ailments(&cluster.map(), governing), [""; 0], "round {round}");
    }
}

/// Between the vote that makes it the leader and the turn in which it learns so, its clock may tick.
#[test]
fn a_new_leader_of_the_meta_group_hears_of_the_sleeping_groups_that_it_leads() {
    let mut cluster = cluster(3);
    let meta = cluster.leader_of(META).expect("a leader");
    let next = *cluster.nodes.keys().find(|node| **node != meta).expect("another");
    let prefer = |cluster: &Cluster, group| {
        let replica = cluster.map().groups[&group].on(next).expect("a replica").replica;
        MetaCommand::Prefer { group, replica }
    };
    cluster.govern(prefer(&cluster, SHARD)).expect("prefer");
    cluster.until("it leads", |cluster| cluster.leader_of(SHARD) == Some(next));
    cluster.run_ms(10_000);
    assert!((1..=3).all(|node| cluster.status(node).asleep), "all replicas sleep");
    cluster.govern(prefer(&cluster, META)).expect("prefer");
    for _ in 0..200 {
        cluster.hasty = Some((next, 4));
        cluster.run_ms(50);
    }
    assert_eq!(cluster.leader_of(META), Some(next));
    cluster.run_ms(2_000);
    let governing = cluster.nodes[&next].governing().expect("it governs");
    assert_eq!(ailments(&cluster.map(), governing), [""; 0]);
}
