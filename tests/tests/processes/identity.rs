//! A node that lost its memory must not vote again (PROTOCOL 10, 11).

use crema_tests::{
    cluster::{Addresses, Cluster, Node},
    load::Load,
    wait_for,
};

/// The incarnation that a node shows in `/status`.
pub(crate) fn incarnation(node: &Node) -> Option<String> {
    Some(node.status()?.pointer("/node/incarnation")?.as_str()?.to_owned())
}

#[test]
fn restarted_memory_node_comes_back_as_a_new_incarnation() {
    let mut cluster = Cluster::start("restart", 3, &[]);
    let load = Load::start(cluster.resp(), 16);
    load.wait_answers(50);
    let before = incarnation(&cluster.nodes[2]);
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    wait_for("node 3 to be rebuilt", || {
        assert!(cluster.nodes[2].process().is_running(), "node 3 ended: {}", cluster.nodes[2].output());
        cluster.nodes[2].is_ready().then_some(())
    });
    assert_ne!(incarnation(&cluster.nodes[2]), before);
    load.wait_answers(100);
    load.finish(&cluster.resp()).judge("restart of a node in memory mode");
}

/// The cluster that a node belongs to, in `/status`.
pub(crate) fn cluster_uid(node: &Node) -> Option<String> {
    Some(node.status()?.pointer("/node/cluster_uid")?.as_str()?.to_owned())
}

#[test]
fn a_cluster_that_lost_all_its_nodes_is_formed_anew() {
    let mut cluster = Cluster::start("anew", 3, &[]);
    let before = wait_for("the first cluster", || cluster_uid(&cluster.nodes[0]));
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    // The last one has the map and no majority: it can take nobody in, and nothing else may be formed while it lives.
    cluster.nodes[0].start();
    cluster.nodes[1].start();
    for place in [0, 1] {
        let node = &cluster.nodes[place];
        wait_for("the old cluster to be found", || node.output().contains("found a cluster to join").then_some(()));
    }
    assert!(cluster.nodes[..2].iter().all(|node| !node.is_ready() && cluster_uid(node).is_none()));
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    for node in &mut cluster.nodes {
        wait_for("a new cluster", || {
            assert!(node.process().is_running(), "node {} ended: {}", node.id, node.output());
            node.is_ready().then_some(())
        });
        assert!(node.output().contains("NEW, EMPTY cluster"), "it did not say so: {}", node.output());
        assert_ne!(cluster_uid(node).as_deref(), Some(before.as_str()));
    }
    let load = Load::start(cluster.resp(), 16);
    load.wait_answers(50);
    load.finish(&cluster.resp()).judge("a cluster formed anew");
}

#[test]
fn second_process_with_a_node_id_stays_outside() {
    let mut cluster = Cluster::start("impostor", 3, &[]);
    let load = Load::start(cluster.resp(), 16);
    load.wait_answers(50);
    let mut impostors = Cluster::prepare("impostor-2", 3, &[]);
    let impostor = &mut impostors.nodes[1];
    let at = Addresses::free();
    let peers = format!("1={},2={},3={}", cluster.nodes[0].addresses.peer, at.peer, cluster.nodes[2].addresses.peer);
    impostor.addresses = at;
    for (flag, value) in [
        ("--peers", peers),
        ("--peer-addr", at.peer.to_string()),
        ("--resp-addr", at.resp.to_string()),
        ("--http-addr", at.http.to_string()),
    ] {
        let place = impostor.flags.iter().position(|word| word == flag).expect("the flag is there");
        impostor.flags[place + 1] = value;
    }
    impostor.start();
    // While the rightful one lives, Join is refused; it is tried again, for that one may die.
    wait_for("the impostor to be turned away", || impostor.output().contains("waiting to join").then_some(()));
    assert!(!impostor.is_ready(), "two processes are node 2");
    load.wait_answers(50);
    assert!(cluster.nodes[1].process().is_running(), "the rightful node ended: {}", cluster.nodes[1].output());
    load.finish(&cluster.resp()).judge("a second process with the NodeId 2");
}
