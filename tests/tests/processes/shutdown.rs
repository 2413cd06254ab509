//! SIGTERM: a clean end in bounded time, with clients connected.

use crema_tests::{cluster::Cluster, load::Load, process::Signal, wait_for};

#[test]
fn terminated_node_ends_cleanly_under_load() {
    let mut cluster = Cluster::start("term", 3, &[]);
    let load = Load::start(cluster.resp(), 32);
    load.wait_answers(50);
    cluster.nodes[0].process().signal(Signal::Term);
    wait_for("the node to be unready", || (!cluster.nodes[0].is_ready()).then_some(()));
    let status = cluster.nodes[0].process().wait_exit();
    assert!(status.success(), "{status}: {}", cluster.nodes[0].output());
    load.wait_answers(100);
    load.finish(&cluster.resp()[1..]).judge("SIGTERM of one node");
}

#[test]
fn whole_cluster_ends_on_sigterm() {
    let mut cluster = Cluster::start("term-all", 3, &[]);
    for node in &mut cluster.nodes {
        node.process().signal(Signal::Term);
    }
    for node in &mut cluster.nodes {
        let status = node.process().wait_exit();
        assert!(status.success(), "node {}: {status}: {}", node.id, node.output());
    }
}

#[test]
fn node_that_waits_for_its_peers_ends_on_sigterm() {
    let mut cluster = Cluster::prepare("alone", 3, &[]);
    cluster.nodes[0].start();
    wait_for("the HTTP door", || cluster.nodes[0].status());
    assert!(!cluster.nodes[0].is_ready(), "one of three can't be ready");
    cluster.nodes[0].process().signal(Signal::Term);
    assert!(cluster.nodes[0].process().wait_exit().success());
}
