//! Clusters that change their shape under load, with no failed request and no lost write.

use crema_tests::{cluster::Cluster, ctl::ctl, load::Load, process::Signal, wait_for};

pub(crate) const TOKEN: &str = "processes-test";
const CLIENTS: usize = 64;

/// Fails requests where the promise is none: shown with what they were told.
fn assert_no_failures(told: &crema_tests::load::Told) {
    assert!(told.errors.is_empty(), "requests failed: {:?}", told.errors);
}

pub(crate) fn admin(cluster: &Cluster, place: usize, args: &[&str]) -> Result<String, String> {
    let address = cluster.nodes[place].addresses.peer.to_string();
    let args: Vec<&str> = args.iter().copied().chain(["--grpc", &address, "--token", TOKEN]).collect();
    ctl(&args).map_err(|error| format!("cremactl {args:?}: {error}"))
}

#[test]
fn three_to_five_to_three() {
    let flags = ["--cluster-token", TOKEN];
    let mut cluster = Cluster::start("scale", 3, &flags);
    let mut load = Load::start(cluster.resp(), CLIENTS - 16);
    load.wait_answers(50);
    cluster.add().start();
    cluster.add().start();
    cluster.wait_balanced(&[0, 1, 2, 3, 4], 3);
    // Some clients are at the nodes that will go again.
    load.add(cluster.resp(), 16);
    load.wait_answers(50);

    // The one is stopped and then removed; the other the other way round, as an operator does that scales down.
    for (place, stop_first) in [(4, true), (3, false)] {
        let id = cluster.nodes[place].id.to_string();
        admin(&cluster, 0, &["drain", &id]).expect("a drain");
        wait_for("an empty node", || (cluster.nodes[place].hosted()? == 0).then_some(()));
        if !stop_first {
            admin(&cluster, 0, &["remove", &id]).expect("a removal");
            let node = &cluster.nodes[place];
            wait_for("it to serve no more", || node.output().contains("waits to be stopped").then_some(()));
        }
        cluster.nodes[place].process().signal(Signal::Term);
        let status = cluster.nodes[place].process().wait_exit();
        assert!(status.success(), "{status}: {}", cluster.nodes[place].output());
        if stop_first {
            admin(&cluster, 0, &["remove", &id]).expect("a removal");
        }
    }
    cluster.wait_balanced(&[0, 1, 2], 3);
    load.wait_answers(50);
    let told = load.finish(&cluster.resp()[..3]);
    told.judge("3 to 5 to 3 nodes");
    assert_no_failures(&told);
}

#[test]
fn a_node_restarted_empty_twenty_times() {
    let mut cluster = Cluster::start("empty", 3, &["--cluster-token", TOKEN]);
    let load = Load::gentle(cluster.resp(), 16);
    for round in 0..20 {
        let place = round % 3;
        cluster.nodes[place].kill();
        load.wait_answers(5);
        cluster.nodes[place].start();
        cluster.wait_balanced(&[0, 1, 2], 3);
        load.wait_answers(5);
    }
    load.finish(&cluster.resp()).judge("20 restarts of empty nodes");
}
