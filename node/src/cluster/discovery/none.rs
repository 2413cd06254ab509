//! No discovery: for a node alone, and for peers managed by hand.

use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    cluster::discovery::{ClusterDiscovery, DiscoveryError, Found},
    types::NodeId,
};

/// Finds nobody, ever. What a cache without another discovery uses.
#[derive(Debug)]
pub struct NoOpClusterDiscovery {
    node: NodeId,
    raft_addr: SocketAddr,
    found: watch::Sender<Found>,
}

impl NoOpClusterDiscovery {
    /// For a node and where it listens for its peers; both only to be shown.
    #[must_use]
    pub fn new(node_id: u64, raft_addr: SocketAddr) -> Self {
        Self { node: NodeId(node_id), raft_addr, found: watch::Sender::new(Found::default()) }
    }

    /// The node that it was made for.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where that node listens for its peers.
    #[must_use]
    pub fn raft_addr(&self) -> SocketAddr {
        self.raft_addr
    }
}

impl ClusterDiscovery for NoOpClusterDiscovery {
    fn name(&self) -> &'static str {
        "none"
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        Box::pin(async { Ok(()) })
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, DiscoveryError>> {
        Box::pin(async { Ok(Found::default()) })
    }

    fn watch(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
