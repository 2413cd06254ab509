//! A node that lost its memory must not vote again (PROTOCOL 10, 11).

use crema_tests::{
    cluster::{Addresses, Cluster},
    load::Load,
    process::Process,
};

/// The process ends with an error that names the NodeId and both lives of it.
fn assert_refused(process: &mut Process, id: u64) {
    let status = process.wait_exit();
    let output = process.output();
    assert!(!status.success(), "it ended well: {output}");
    let text = output.to_lowercase();
    assert!(text.contains("incarnation"), "no word of incarnations: {output}");
    assert!(text.contains(&format!("node {id}")), "no word of node {id}: {output}");
    let ids = text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 32);
    let ids: std::collections::BTreeSet<&str> = ids.collect();
    assert!(ids.len() >= 2, "both incarnations should be named: {output}");
}

#[test]
fn restarted_memory_node_is_refused_and_the_cluster_goes_on() {
    let mut cluster = Cluster::start("restart", 3, &[]);
    let load = Load::start(cluster.resp(), 16);
    load.wait_answers(50);
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    assert_refused(cluster.nodes[2].process(), 3);
    load.wait_answers(100);
    load.finish(&cluster.resp()[..2]).judge("restart of a node in memory mode");
}

#[test]
fn second_process_with_a_node_id_is_refused() {
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
    assert_refused(impostor.process(), 2);
    load.wait_answers(50);
    assert!(cluster.nodes[1].process().is_running(), "the rightful node ended: {}", cluster.nodes[1].output());
    load.finish(&cluster.resp()).judge("a second process with the NodeId 2");
}
