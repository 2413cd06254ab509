//! DNS discovery against a real name server (BIND) on loopback whose records change.
//!
//! Run by `tests/run discovery`, which installs the server.

mod server;

use std::time::Duration;

use crema::cluster::discovery::{ClusterDiscovery, DiscoveryError, DnsDiscovery};
use crema_tests::{PATIENCE, process::Signal};
use server::Server;

fn discovery(server: &Server, name: &str) -> DnsDiscovery {
    DnsDiscovery::new(name, 7000)
        .with_resolver(server.address())
        .with_interval(Duration::from_millis(50))
        .with_timeout(Duration::from_secs(5))
}

/// Waits until the periodic look has found exactly these.
async fn finds(discovery: &DnsDiscovery, wanted: &[&str]) {
    let mut watch = discovery.watch();
    let all = watch.wait_for(|found| found.iter().map(|peer| peer.address.as_str()).eq(wanted.iter().copied()));
    let seen = tokio::time::timeout(PATIENCE, all).await.map(|_| ());
    assert!(seen.is_ok(), "{wanted:?} never found: {:?}", discovery.watch().borrow());
}

/// One look now, as addresses.
async fn look(discovery: &DnsDiscovery) -> Result<Vec<String>, DiscoveryError> {
    let found = discovery.discover().await?;
    Ok(found.iter().map(|peer| peer.address.clone()).collect())
}

const POD_0: &str = "_peer._tcp.nodes SRV 0 10 7000 pod-0.nodes\npod-0.nodes A 127.0.0.10\n";
const POD_1: &str = "_peer._tcp.nodes SRV 0 10 7001 pod-1.nodes\npod-1.nodes A 127.0.0.11\n";
const ADDRESSES: &str = "nodes A 127.0.0.10\nnodes A 127.0.0.11\nnodes AAAA ::1\n";

#[tokio::test]
async fn pods_come_and_go() {
    let mut server = Server::start("");
    let discovery = discovery(&server, "nodes.crema.test");
    assert_eq!(look(&discovery).await.expect("an answer"), [""; 0], "nobody yet is an answer");
    discovery.start().await.expect("start");
    server.change(POD_0);
    finds(&discovery, &["pod-0.nodes.crema.test:7000"]).await;
    server.change(&[POD_0, POD_1].concat());
    finds(&discovery, &["pod-0.nodes.crema.test:7000", "pod-1.nodes.crema.test:7001"]).await;
    server.change(POD_1);
    finds(&discovery, &["pod-1.nodes.crema.test:7001"]).await;
    server.change("");
    finds(&discovery, &[]).await;
    discovery.shutdown().await;
}

#[tokio::test]
async fn addresses_serve_until_there_are_names() {
    let mut server = Server::start(ADDRESSES);
    let discovery = discovery(&server, "nodes.crema.test.");
    discovery.start().await.expect("start");
    finds(&discovery, &["127.0.0.10:7000", "127.0.0.11:7000", "[::1]:7000"]).await;
    server.change(&[ADDRESSES, POD_0].concat());
    finds(&discovery, &["pod-0.nodes.crema.test:7000"]).await;
    discovery.shutdown().await;
}

#[tokio::test]
async fn a_name_that_is_not_there_differs_from_a_server_that_fails() {
    let server = Server::start(POD_0);
    assert_eq!(look(&discovery(&server, "nobody.crema.test")).await.expect("NXDOMAIN"), [""; 0]);
    assert_eq!(look(&discovery(&server, "pod-0.nodes.crema.test")).await.expect("a host"), ["127.0.0.10:7000"]);
    // A zone whose file is missing is answered with SERVFAIL, a stranger's with REFUSED.
    for unknown in ["nodes.broken.test", "nodes.elsewhere.test"] {
        let error = look(&discovery(&server, unknown)).await.expect_err(unknown);
        assert!(matches!(error, DiscoveryError::Lookup { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_last_answer_outlives_the_server_for_a_while() {
    let mut server = Server::start(POD_0);
    let name = ["pod-0.nodes.crema.test:7000"];
    let short = Duration::from_millis(100);
    let patient = discovery(&server, "nodes.crema.test").with_timeout(short);
    let hasty = discovery(&server, "nodes.crema.test").with_timeout(short).with_stale_answers_for(Duration::ZERO);
    for one in [&patient, &hasty] {
        one.start().await.expect("start");
        finds(one, &name).await;
    }
    // A paused server is silent, a killed one is not there: neither is an answer.
    server.signal(Signal::Stop);
    finds(&hasty, &[]).await;
    assert_eq!(look(&patient).await.expect("the last answer"), name);
    assert!(matches!(look(&hasty).await, Err(DiscoveryError::Lookup { .. })));
    server.signal(Signal::Cont);
    finds(&hasty, &name).await;
    server.kill();
    finds(&hasty, &[]).await;
    assert_eq!(look(&patient).await.expect("the last answer"), name);
    server.restart(&[POD_0, POD_1].concat());
    for one in [&patient, &hasty] {
        finds(one, &["pod-0.nodes.crema.test:7000", "pod-1.nodes.crema.test:7001"]).await;
        one.shutdown().await;
    }
}
