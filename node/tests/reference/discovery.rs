//! "ClusterDiscovery" and "Cluster Discovery Abstraction": the implementations there are, and one of a program's own.

use std::{net::SocketAddr, time::Duration};

use crema::{
    CacheConfig, ClusterDiscovery, DistributedCache, MemberlistConfig, MemberlistDiscovery, NoOpClusterDiscovery,
    PeerManagementConfig, StaticClusterDiscovery,
    cluster::discovery::{DiscoveryError, Found},
};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::rig::{Sample, ports};

#[tokio::test(flavor = "multi_thread")]
async fn available_implementations() -> Sample {
    // Who and where they are is left to the reader.
    let (node_id, [raft_addr, other, gossip]) = (1, ports());
    let seed_nodes: Vec<(u64, SocketAddr)> = vec![(2, other)];
    let memberlist_config = MemberlistConfig { enabled: true, bind_addr: Some(gossip), ..Default::default() };

    // Available implementations:

    // 1. MemberlistDiscovery - Gossip-based discovery using SWIM protocol
    let discovery = MemberlistDiscovery::new(node_id, raft_addr, &memberlist_config, &seed_nodes);
    // Not in the reference, as the other two below.
    assert_eq!(named(&discovery), ("memberlist", 1));

    // 2. StaticClusterDiscovery - Fixed IP list with health checks
    let discovery = StaticClusterDiscovery::new(node_id, raft_addr, seed_nodes);
    assert_eq!(named(&discovery), ("static", 1));

    // 3. NoOpClusterDiscovery - No-op for single-node or manual management
    let discovery = NoOpClusterDiscovery::new(node_id, raft_addr);
    assert_eq!(named(&discovery), ("none", 0));

    // Pass to config
    let config = CacheConfig::new(node_id, raft_addr).with_cluster_discovery(discovery);

    // Not in the reference: a node alone.
    let cache = DistributedCache::new(config).await?;
    cache.put("key", "value").await?;
    cache.shutdown().await;
    Ok(())
}

/// Its name, and how many nodes it was given.
fn named(discovery: &dyn ClusterDiscovery) -> (&'static str, usize) {
    (discovery.name(), discovery.first_members().len())
}

/// "Fixed IP list": two nodes form a cluster by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_list_forms_a_cluster() -> Sample {
    let raft: [SocketAddr; 2] = ports();
    let start = |own: usize| {
        let (node_id, other) = (own as u64 + 1, 1 - own);
        let discovery = StaticClusterDiscovery::new(node_id, raft[own], vec![(other as u64 + 1, raft[other])]);
        DistributedCache::new(CacheConfig::new(node_id, raft[own]).with_cluster_discovery(discovery))
    };
    let (one, two) = tokio::try_join!(start(0), start(1))?;
    one.put("key", "value").await?;
    assert_eq!(two.consistent_get(b"key").await?.as_deref(), Some(&b"value"[..]));
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}

/// "Users create their own discovery implementation": here around one of ours, asking for less.
#[derive(Debug)]
struct Own(StaticClusterDiscovery);

impl ClusterDiscovery for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        self.0.start()
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, DiscoveryError>> {
        self.0.discover()
    }

    fn watch(&self) -> watch::Receiver<Found> {
        self.0.watch()
    }

    fn peer_management(&self) -> PeerManagementConfig {
        PeerManagementConfig::adding()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.0.shutdown()
    }
}

/// A node that was given nobody finds the cluster by it, and is taken in.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_by_a_discovery_of_its_own() -> Sample {
    let [first, second] = ports();
    let one = DistributedCache::new(CacheConfig::new(1, first)).await?;
    one.put("key", "value").await?;
    let found = StaticClusterDiscovery::new(2, second, vec![(1, first)])
        .with_health_checks(Duration::from_millis(50), Duration::from_secs(10));
    let config = CacheConfig::new(2, second).with_cluster_discovery(Own(found));
    let two = DistributedCache::new(config).await?;
    assert_eq!(two.consistent_get(b"key").await?.as_deref(), Some(&b"value"[..]));
    two.shutdown().await;
    one.shutdown().await;
    Ok(())
}
