//! A node that lost its memory must not vote again (PROTOCOL 10, 11).

use crema_tests::{
    cluster::{Addresses, Cluster, Node},
    load::Load,
    wait_for,
};

/// The incarnation that a node shows in `/status`.
fn incarnation(node: &Node) -> Option<String> {
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
