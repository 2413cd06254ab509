//! Nodes with a disk lose nothing that they acknowledged, whatever kills them (DESIGN 7).

use std::env;

use crema_tests::{
    cluster::{Cluster, Node},
    load::Load,
};

use crate::identity::{cluster_uid, incarnation};

/// Checkpoints come and logs are cut many times in a test.
const OFTEN: [&str; 4] = ["--checkpoint-entries", "200", "--checkpoint-interval", "off"];

/// How often nodes are killed; by hand `CREMA_KILLS=200`.
fn kills() -> usize {
    let wish = env::var("CREMA_KILLS").ok();
    wish.map_or(60, |wish| wish.parse().unwrap_or_else(|_| panic!("CREMA_KILLS={wish}: it must be a number")))
}

/// Draws the same for every run of a test.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn nodes_killed_again_and_again() {
    let mut cluster = Cluster::start_durable("kills", 3, &OFTEN);
    let lives: Vec<_> = cluster.nodes.iter().map(|node| (incarnation(node), cluster_uid(node))).collect();
    let load = Load::start(cluster.resp(), 16);
    load.wait_answers(50);
    let mut draw = Draw(7);
    for _ in 0..kills() {
        let victims: Vec<usize> = match draw.below(5) {
            0 => vec![0, 1, 2],
            1 => vec![0, 2],
            other => vec![other as usize - 2],
        };
        victims.iter().for_each(|&place| cluster.nodes[place].kill());
        // A node that comes back may be killed again while it reads its data.
        victims.iter().for_each(|&place| cluster.nodes[place].start());
        if draw.below(4) > 0 {
            load.wait_answers(1 + draw.below(20));
        }
    }
    cluster.nodes.iter_mut().for_each(Node::wait_ready);
    load.wait_answers(20);
    let told = load.finish(&cluster.resp());
    told.judge("kills of nodes with a disk");
    cluster.assert_equal_states();
    let after: Vec<_> = cluster.nodes.iter().map(|node| (incarnation(node), cluster_uid(node))).collect();
    assert_eq!(lives, after, "every node is the one that it was");
}

#[test]
fn a_cluster_that_is_stopped_and_started_goes_on() {
    let mut cluster = Cluster::start_durable("stopped", 3, &OFTEN);
    let load = Load::start(cluster.resp(), 16);
    load.wait_answers(100);
    for _ in 0..2 {
        cluster.nodes.iter_mut().for_each(Node::stop);
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster.nodes.iter_mut().for_each(Node::wait_ready);
        load.wait_answers(20);
    }
    load.finish(&cluster.resp()).judge("a cluster stopped and started");
    cluster.assert_equal_states();
}

#[test]
fn a_node_that_comes_back_elsewhere_is_found() {
    let mut cluster = Cluster::start_durable("moved", 3, &OFTEN);
    let load = Load::start(cluster.resp(), 8);
    load.wait_answers(20);
    let life = incarnation(&cluster.nodes[2]);
    cluster.nodes[2].kill();
    cluster.nodes[2].move_to_free_ports();
    cluster.nodes[2].start();
    cluster.nodes[2].wait_ready();
    assert_eq!(incarnation(&cluster.nodes[2]), life);
    // Its votes are needed now.
    cluster.nodes[0].kill();
    let address = cluster.nodes[2].addresses.resp;
    load.wait_answers(20);
    load.finish(&[address, cluster.nodes[1].addresses.resp]).judge("a node at another address");
}
