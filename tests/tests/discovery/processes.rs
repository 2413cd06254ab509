//! Real nodes that find their cluster through the name server.

use crema_tests::{
    cluster::{Cluster, Node},
    ctl::ctl,
    wait_for,
};

use crate::server::Server;

const TOKEN: &str = "discovery-test";

/// SRV records of a service, as Kubernetes has them for a headless one; the pods are all on this machine.
fn records(service: &str, nodes: &[Node]) -> String {
    let record = |node: &Node| format!("_peer._tcp.{service} SRV 0 10 {} localhost.\n", node.addresses.peer.port());
    nodes.iter().map(record).collect()
}

fn says(node: &mut Node, words: &str) {
    wait_for(&format!("node {} to say {words:?}", node.id), || {
        assert!(node.process().is_running(), "node {} ended: {}", node.id, node.output());
        node.output().contains(words).then_some(())
    });
}

#[test]
fn nodes_find_their_cluster_by_its_name() {
    let mut server = Server::start("");
    let way_in = |name: &str| [("--discovery", format!("dns:{name}.crema.test")), ("--dns-server", server.address())];
    let (nodes, later) = (way_in("nodes"), way_in("later"));
    let mut cluster = Cluster::empty("dns", &["--shards", "16", "--cluster-token", TOKEN]);
    for _ in 0..3 {
        cluster.add_with(&nodes).start();
    }
    // They knock where the records say; nobody there belongs to a cluster, so they wait.
    for node in &mut cluster.nodes {
        says(node, "no address is known");
    }
    server.change(&records("nodes", &cluster.nodes));
    let others: Vec<String> =
        cluster.nodes.iter().map(|node| format!("localhost:{}", node.addresses.peer.port())).collect();
    for node in &mut cluster.nodes {
        for other in &others {
            says(node, &format!("{other}: it belongs to no cluster yet"));
        }
    }
    let first: Vec<String> =
        cluster.nodes.iter().map(|node| format!("{}={}", node.id, node.addresses.peer)).collect();
    let asked = cluster.nodes[1].addresses.peer.to_string();
    ctl(&["init", "--nodes", &first.join(","), "--grpc", &asked, "--token", TOKEN]).expect("init");
    cluster.wait_balanced(&[0, 1, 2], 3);

    // A fourth knows a name that has no records yet, then one of a single member.
    cluster.add_with(&later).start();
    says(&mut cluster.nodes[3], "no address is known");
    server.change(&[records("nodes", &cluster.nodes), records("later", &cluster.nodes[1..2])].concat());
    cluster.wait_balanced(&[0, 1, 2, 3], 3);

    // Who has lost its memory finds the others again.
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.wait_balanced(&[0, 1, 2, 3], 3);
}
