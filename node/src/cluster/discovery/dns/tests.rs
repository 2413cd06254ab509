//! What needs no real server: settings, servers that are silent, and what an SRV record says. The suite `discovery` of
//! `tests/run` has a real one.

use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RData, rdata::SRV};

use super::{DnsDiscovery, target};
use crate::cluster::discovery::{ClusterDiscovery, DiscoveryError};

fn srv(target: &str, port: u16) -> RData {
    RData::SRV(SRV::new(0, 10, port, Name::from_ascii(target).expect("a name")))
}

#[test]
fn a_target_is_a_name_and_its_port() {
    let address = |data: RData| target(&data).map(|found| found.address);
    assert_eq!(address(srv("pod-0.crema.ns.svc.", 7000)).as_deref(), Some("pod-0.crema.ns.svc:7000"));
    assert_eq!(address(srv(".", 7000)), None, "decidedly not there");
    assert_eq!(address(srv("pod-0.", 0)), None);
    assert_eq!(address(RData::A("127.0.0.1".parse().expect("an address"))), None);
}

#[tokio::test]
async fn wrong_settings_are_refused_by_name() {
    let long = format!("{}.test", "a".repeat(64));
    let table = [
        ("name", DnsDiscovery::new("", 7000)),
        ("name", DnsDiscovery::new(".", 7000)),
        ("name", DnsDiscovery::new(long, 7000)),
        ("port", DnsDiscovery::new("crema.test", 0)),
        ("resolver", DnsDiscovery::new("crema.test", 7000).with_resolver("localhost")),
        ("resolver", DnsDiscovery::new("crema.test", 7000).with_resolver("127.0.0.1")),
        ("interval", DnsDiscovery::new("crema.test", 7000).with_interval(Duration::ZERO)),
    ];
    for (wrong, discovery) in table {
        match discovery.start().await {
            Err(DiscoveryError::Invalid { field, .. }) => assert_eq!(field, wrong),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_silent_server_is_no_answer() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let discovery = DnsDiscovery::new("crema.test", 7000)
        .with_resolver(silent.local_addr().expect("bound").to_string())
        .with_timeout(Duration::from_millis(50));
    let error = discovery.discover().await.expect_err("not to know is not to find nobody");
    let DiscoveryError::Lookup { name, .. } = error else { panic!("{error:?}") };
    assert_eq!(name, "_peer._tcp.crema.test.");
    discovery.shutdown().await;
}
