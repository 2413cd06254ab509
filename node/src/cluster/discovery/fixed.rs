//! A list of addresses, and whether somebody answers at each.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::watch, time::timeout};

use crate::{
    cluster::discovery::{ClusterDiscovery, Discovered, DiscoveryError, Found, PeerState, periodic::Owned},
    types::NodeId,
};

/// A peer is lost when it failed so many checks in a row: one may fall into a restart.
const FAILURES_TO_BE_LOST: u32 = 3;

/// The peers of a fixed list, each checked by connecting to it; nobody is ever added or taken away.
#[derive(Debug)]
pub struct StaticClusterDiscovery {
    periodic: Owned,
    checks: Arc<Checks>,
    interval: Duration,
}

impl StaticClusterDiscovery {
    /// For a node, where it listens for its peers, and the others; the node itself may be listed and is left out.
    #[must_use]
    pub fn new(node_id: u64, raft_addr: SocketAddr, peers: Vec<(u64, SocketAddr)>) -> Self {
        let others = peers.into_iter().filter(|(node, address)| *node != node_id && *address != raft_addr);
        Self::from_addresses(others.map(|(node, address)| (Some(NodeId(node)), address.to_string())).collect())
    }

    /// For a list of names and ports, of which some may be known by number.
    #[must_use]
    pub fn from_addresses(peers: Vec<(Option<NodeId>, String)>) -> Self {
        let peers = peers.into_iter().map(|(node, address)| Peer { node, address, failures: Mutex::new(None) });
        Self {
            periodic: Owned::new("static"),
            checks: Arc::new(Checks { peers: peers.collect(), timeout: Duration::from_secs(1) }),
            interval: Duration::from_secs(5),
        }
    }

    /// How often each peer is checked (5 s), and how long a check may take (1 s).
    #[must_use]
    pub fn with_health_checks(self, interval: Duration, timeout: Duration) -> Self {
        let peers = self.checks.peers.iter().map(Peer::fresh).collect();
        Self { interval, checks: Arc::new(Checks { peers, timeout }), ..self }
    }
}

impl ClusterDiscovery for StaticClusterDiscovery {
    fn name(&self) -> &'static str {
        "static"
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        Box::pin(async {
            if self.interval.is_zero() {
                return Err(DiscoveryError::Invalid { field: "interval", reason: "0".to_owned() });
            }
            // The list needs no look.
            self.periodic.publish(self.checks.known());
            let (periodic, checks) = (self.periodic.share(), self.checks.clone());
            self.periodic.every(self.interval, move || {
                let (periodic, checks) = (periodic.clone(), checks.clone());
                async move { _ = periodic.publish(checks.run().await) }
            });
            Ok(())
        })
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, DiscoveryError>> {
        Box::pin(async { Ok(self.periodic.publish(self.checks.run().await)) })
    }

    fn watch(&self) -> watch::Receiver<Found> {
        self.periodic.watch()
    }

    fn first_members(&self) -> Vec<(NodeId, String)> {
        self.checks.peers.iter().filter_map(|peer| Some((peer.node?, peer.address.clone()))).collect()
    }

    /// Those of the list that it was not given the numbers of.
    fn finds_others(&self) -> bool {
        self.checks.peers.iter().any(|peer| peer.node.is_none())
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.periodic.shutdown()
    }
}

#[derive(Debug)]
struct Checks {
    peers: Vec<Peer>,
    timeout: Duration,
}

#[derive(Debug)]
struct Peer {
    node: Option<NodeId>,
    address: String,
    /// Checks that failed since the last good one; `None` before the first check.
    failures: Mutex<Option<u32>>,
}

impl Checks {
    async fn run(&self) -> Vec<Discovered> {
        join_all(self.peers.iter().map(|peer| peer.check(self.timeout))).await;
        self.known()
    }

    fn known(&self) -> Vec<Discovered> {
        self.peers.iter().map(Peer::shown).collect()
    }
}

impl Peer {
    fn fresh(&self) -> Self {
        Self { node: self.node, address: self.address.clone(), failures: Mutex::new(None) }
    }

    /// A connection says that something listens; who it is, the handshake finds out.
    async fn check(&self, limit: Duration) {
        let answered = matches!(timeout(limit, TcpStream::connect(&self.address)).await, Ok(Ok(_)));
        let mut failures = self.failures.lock();
        *failures = if answered { Some(0) } else { Some(failures.map_or(1, |failed| failed.saturating_add(1))) };
    }

    fn shown(&self) -> Discovered {
        let state = match *self.failures.lock() {
            None => PeerState::Unknown,
            Some(0) => PeerState::Alive,
            Some(FAILURES_TO_BE_LOST..) => PeerState::Lost,
            // Of a peer that never answered nothing is known yet; one that did is given the benefit of the doubt.
            Some(_) => PeerState::Unknown,
        };
        Discovered { address: self.address.clone(), node: self.node, state }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use tokio::{net::TcpListener, time::timeout};

    use super::StaticClusterDiscovery;
    use crate::cluster::discovery::{ClusterDiscovery, PeerState};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn states(discovery: &StaticClusterDiscovery) -> Vec<PeerState> {
        discovery.watch().borrow().iter().map(|peer| peer.state).collect()
    }

    async fn until(discovery: &StaticClusterDiscovery, wanted: &[PeerState]) {
        let mut watch = discovery.watch();
        let reached = watch.wait_for(|found| found.iter().map(|peer| peer.state).eq(wanted.iter().copied()));
        timeout(PATIENCE, reached).await.expect("in time").expect("it goes on");
    }

    #[tokio::test]
    async fn peers_are_checked_lost_and_found_again() {
        let here = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (a, b) = (here.local_addr().expect("bound"), there.local_addr().expect("bound"));
        let own: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let mut peers = vec![(2, a), (3, b)];
        peers.sort_by_key(|(_, address)| address.to_string());
        let gone = peers.iter().position(|(_, address)| *address == b).expect("listed");
        let discovery = StaticClusterDiscovery::new(1, own, [vec![(1, own)], peers].concat())
            .with_health_checks(Duration::from_millis(10), Duration::from_secs(10));
        assert_eq!(states(&discovery), [], "not started");
        discovery.start().await.expect("start");
        discovery.start().await.expect("again");
        until(&discovery, &[PeerState::Alive; 2]).await;
        drop(there);
        let mut wanted = [PeerState::Alive; 2];
        wanted[gone] = PeerState::Lost;
        until(&discovery, &wanted).await;
        let _back = TcpListener::bind(b).await.expect("the same port");
        until(&discovery, &[PeerState::Alive; 2]).await;
        discovery.shutdown().await;
        discovery.shutdown().await;
        assert_eq!(discovery.watch().borrow().len(), 2, "what was known stays to be read");
    }

    #[tokio::test]
    async fn one_look_needs_no_start_and_a_peer_that_never_answered_is_not_lost_at_once() {
        let held = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = held.local_addr().expect("bound").to_string();
        drop(held);
        let discovery = StaticClusterDiscovery::from_addresses(vec![(None, address.clone())]);
        let found = discovery.discover().await.expect("a look");
        assert_eq!((found[0].address.as_str(), found[0].node, found[0].state), (&*address, None, PeerState::Unknown));
        discovery.discover().await.expect("a look");
        assert_eq!(discovery.discover().await.expect("a look")[0].state, PeerState::Lost);
    }
}
