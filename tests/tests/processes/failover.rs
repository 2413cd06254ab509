//! Nodes that die or stand still under load.

use std::time::Duration;

use crema_tests::{cluster::Cluster, load::Load, process::Signal};

const CLIENTS: usize = 64;
/// The promise is 2 s at default timeouts on an idle machine (DESIGN 12), and the figure is printed. What is asserted
/// is that clients get on at all, also on a machine that is busy with other things.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[test]
fn killed_node_loses_no_acknowledged_write() {
    let mut cluster = Cluster::start("kill", 3, &[]);
    let load = Load::start(cluster.resp(), CLIENTS);
    load.wait_answers(100);
    let victim = cluster.busiest();
    cluster.nodes[victim].kill();
    load.wait_answers(200);
    cluster.wait_led();
    load.wait_answers(100);

    let mut survivors = cluster.resp();
    survivors.remove(victim);
    let told = load.finish(&survivors);
    told.judge("kill -9 of the node with most leaders");
    assert!(told.acknowledged() > CLIENTS * 100, "only {} writes", told.acknowledged());
    assert!(told.longest_pause < LONGEST_PAUSE, "a client waited {:?}", told.longest_pause);
}

#[test]
fn paused_leader_serves_nothing_old() {
    let mut cluster = Cluster::start("pause", 3, &[]);
    let load = Load::start(cluster.resp(), CLIENTS);
    load.wait_answers(100);
    let victim = cluster.busiest();
    cluster.nodes[victim].process().signal(Signal::Stop);
    // Not a wait for an event: the pause itself, six election timeouts long, is the fault.
    std::thread::sleep(Duration::from_secs(3));
    cluster.nodes[victim].process().signal(Signal::Cont);
    load.wait_answers(200);
    cluster.wait_led();

    let told = load.finish(&cluster.resp());
    told.judge("3 s pause of the node with most leaders");
    assert!(told.longest_pause < LONGEST_PAUSE, "a client waited {:?}", told.longest_pause);
}
