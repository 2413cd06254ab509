//! Real sockets on loopback: nodes meet, one dies, hints spread, strangers stay out.

use std::{net::SocketAddr, time::Duration};

use tokio::time::timeout;

use super::MemberlistDiscovery;
use crate::{
    cluster::discovery::{
        ClusterDiscovery, DiscoveryError, LeaderGossip, MemberlistConfig, PeerManagementConfig, PeerState,
        swim::Settings,
    },
    types::NodeId,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn raft(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + node as u16))
}

fn config(seeds: Vec<SocketAddr>) -> MemberlistConfig {
    let bind_addr = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    MemberlistConfig { enabled: true, bind_addr, seed_addrs: seeds, ..MemberlistConfig::default() }
}

fn node(node: u64, seeds: &[SocketAddr]) -> MemberlistDiscovery {
    let quick =
        Settings { probe_interval_ms: 300, probe_timeout_ms: 100, sync_interval_ms: 1_000, ..Settings::default() };
    MemberlistDiscovery::new(node, raft(node), &config(seeds.to_vec()), &[]).with_settings(quick)
}

async fn started(node: MemberlistDiscovery) -> MemberlistDiscovery {
    node.start().await.expect("start");
    node
}

/// Three nodes; the seed of all is the first.
async fn three() -> [MemberlistDiscovery; 3] {
    let first = started(node(1, &[])).await;
    let seeds = [first.gossip_addr().expect("it listens")];
    [first, started(node(2, &seeds)).await, started(node(3, &seeds)).await]
}

/// Waits until a node sees exactly these.
async fn sees(node: &MemberlistDiscovery, wanted: &[(u64, PeerState)]) {
    let mut watch = node.watch();
    let all = watch.wait_for(|found| {
        let seen = found.iter().map(|peer| (peer.node.map_or(0, |node| node.0), peer.state));
        seen.eq(wanted.iter().copied())
    });
    let seen = timeout(PATIENCE, all).await;
    assert!(seen.is_ok(), "{wanted:?} never seen by {node:?}: {:?}", node.watch().borrow());
}

async fn hears(node: &MemberlistDiscovery, shard: u32, leader: Option<u64>, epoch: u64) {
    let mut hints = node.hints();
    let heard = hints.wait_for(|hints| hints.leader(shard) == leader.map(NodeId) && hints.epoch(shard) == epoch);
    timeout(PATIENCE, heard).await.expect("in time").expect("it goes on");
}

#[tokio::test]
async fn nodes_meet_and_one_that_goes_is_missed() {
    use PeerState::{Alive, Lost};
    let [one, two, three] = three().await;
    sees(&one, &[(2, Alive), (3, Alive)]).await;
    sees(&two, &[(1, Alive), (3, Alive)]).await;
    sees(&three, &[(1, Alive), (2, Alive)]).await;
    assert_eq!(two.watch().borrow()[0].address, "127.0.0.1:7001");
    assert_eq!(two.discover().await.expect("gossip")[1].address, "127.0.0.1:7003");

    // Without a goodbye.
    drop_silently(three).await;
    sees(&one, &[(2, Alive), (3, Lost)]).await;
    sees(&two, &[(1, Alive), (3, Lost)]).await;
    // With one.
    two.shutdown().await;
    sees(&one, &[(2, Lost), (3, Lost)]).await;
    let again = started(node(2, &[one.gossip_addr().expect("it listens")])).await;
    sees(&one, &[(2, Alive), (3, Lost)]).await;
    again.shutdown().await;
    one.shutdown().await;
}

/// As a process that is killed: its task ends in the middle of whatever it does.
async fn drop_silently(node: MemberlistDiscovery) {
    let task = node.periodic.abort().expect("it runs");
    assert!(task.await.expect_err("aborted").is_cancelled());
}

#[tokio::test]
async fn hints_spread_and_end_with_their_node() {
    let [one, two, three] = three().await;
    two.set_local_shard_leader(0, 4);
    two.set_local_shard_leader(7, 5);
    hears(&one, 0, Some(2), 4).await;
    hears(&three, 7, Some(2), 5).await;
    // The next term's leader is believed, the last term's is not.
    three.set_local_shard_leader(0, 5);
    hears(&one, 0, Some(3), 5).await;
    hears(&two, 0, Some(3), 5).await;
    two.unset_local_shard_leader(0);
    two.set_local_shard_leader(8, 1);
    hears(&one, 8, Some(2), 1).await;
    hears(&one, 0, Some(3), 5).await;
    drop_silently(three).await;
    hears(&one, 0, None, 5).await;
    hears(&one, 7, Some(2), 5).await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn hints_of_more_shards_than_fit_take_turns() {
    let one = started(node(1, &[])).await;
    let two = node(2, &[one.gossip_addr().expect("it listens")]);
    // Far more than one record holds.
    for shard in 0..300 {
        two.set_local_shard_leader(shard, 1);
    }
    let two = started(two).await;
    let mut hints = one.hints();
    let all = hints.wait_for(|hints| hints.known().count() == 300);
    timeout(PATIENCE, all).await.expect("in time").expect("it goes on");
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn who_has_another_key_or_label_stays_out() {
    use PeerState::Alive;
    let first = started(node(1, &[]).with_encryption_key([1; 32]).with_label("c")).await;
    let seeds = [first.gossip_addr().expect("it listens")];
    let strangers = [
        node(2, &seeds).with_encryption_key([2; 32]).with_label("c"),
        node(3, &seeds).with_label("c"),
        node(4, &seeds).with_encryption_key([1; 32]).with_label("d"),
    ];
    for stranger in &strangers {
        stranger.start().await.expect("start");
    }
    // The strangers began first and knock all the while; the friend is let in, they are not.
    let friend = started(node(5, &seeds).with_encryption_key([1; 32]).with_label("c")).await;
    sees(&first, &[(5, Alive)]).await;
    sees(&friend, &[(1, Alive)]).await;
    friend.set_local_shard_leader(0, 1);
    hears(&first, 0, Some(5), 1).await;
    for stranger in &strangers {
        assert!(stranger.watch().borrow().is_empty(), "{stranger:?}");
        stranger.shutdown().await;
    }
    sees(&first, &[(5, Alive)]).await;
    friend.shutdown().await;
    first.shutdown().await;
}

#[tokio::test]
async fn without_gossip_only_the_peers_by_hand_are_known() {
    let peer_management = PeerManagementConfig { auto_remove_peers: true, ..PeerManagementConfig::default() };
    let off = MemberlistConfig { peer_management, ..MemberlistConfig::default() };
    let node = MemberlistDiscovery::new(1, raft(1), &off, &[(1, raft(1)), (2, raft(2))]);
    assert_eq!(node.discover().await.expect("known")[0].address, "127.0.0.1:7002");
    node.start().await.expect("nothing to listen on");
    sees(&node, &[(2, PeerState::Unknown)]).await;
    assert!(node.gossip_addr().is_none() && node.leader_gossip().is_none());
    assert_eq!(node.peer_management(), peer_management);
    node.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_can_be_mended() {
    let taken = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("bound");
    let config = MemberlistConfig { bind_addr: Some(address), ..config(vec![]) };
    let node = MemberlistDiscovery::new(1, raft(1), &config, &[]);
    let error = node.start().await.expect_err("it is taken");
    assert!(matches!(error, DiscoveryError::Listen { address: named, .. } if named == address), "{error}");
    drop(taken);
    node.start().await.expect("free now");
    assert_eq!(node.gossip_addr(), Some(address));
    node.shutdown().await;
    let wrong = MemberlistDiscovery::new(0, raft(1), &config, &[]).start().await;
    assert!(matches!(wrong, Err(DiscoveryError::Invalid { field: "node_id", .. })));
}
