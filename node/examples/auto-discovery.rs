//! Nodes that find each other by gossip, one in each terminal: `cargo run -p crema --example auto-discovery -- 1`, then
//! `2` and `3`, and later `4`, `5`, …
//!
//! The first three know each other and form the cluster. The others know only where node 1 gossips: they find the cluster,
//! join it and get their share of its shards. Ctrl-C ends one.

use std::{net::SocketAddr, time::Duration};

use crema::{
    CacheConfig, DistributedCache, MemberlistConfig, MemberlistDiscovery, MultiRaftCacheConfig, PeerManagementConfig,
};

/// The nodes that form the cluster.
const FIRST: u64 = 3;

fn raft_address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_020 + node as u16))
}

fn gossip_address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_120 + node as u16))
}

fn config(node: u64) -> CacheConfig {
    let memberlist = MemberlistConfig {
        enabled: true,
        bind_addr: Some(gossip_address(node)),
        advertise_addr: None,
        seed_addrs: vec![gossip_address(1)],
        node_name: Some(format!("node-{node}")),
        peer_management: PeerManagementConfig {
            auto_add_peers: true,
            auto_remove_peers: false,
            auto_add_voters: true,
            auto_remove_voters: false,
        },
    };
    let others = (1..=FIRST).filter(|other| node <= FIRST && *other != node);
    let raft_peers: Vec<_> = others.map(|other| (other, raft_address(other))).collect();
    let discovery = MemberlistDiscovery::new(node, raft_address(node), &memberlist, &raft_peers);
    CacheConfig::new(node, raft_address(node))
        .with_seed_nodes(raft_peers)
        .with_cluster_discovery(discovery)
        .with_multiraft_config(MultiRaftCacheConfig {
            enabled: true,
            num_shards: 16,
            leader_broadcast_debounce_ms: 200,
            ..Default::default()
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let node: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).ok_or("usage: auto-discovery NODE")?;
    if !(1..=50).contains(&node) {
        return Err(format!("node {node}; 1 to 50 have a port here").into());
    }
    println!("node {node} looks for the others");
    let cache = DistributedCache::new(config(node)).await?;
    println!("node {node} is in the cluster");
    cache.put(format!("hello:{node}"), format!("from node {node}")).await?;
    for other in 1..=FIRST {
        while cache.consistent_get(format!("hello:{other}").as_bytes()).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("node {node} reads hello:{other}");
    }
    let coordinator = cache.multiraft_coordinator().ok_or("sharded, so there is a coordinator")?;
    let mine = || coordinator.shard_info().iter().filter(|info| info.members.contains(&node)).count();
    while mine() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("node {node} has a replica of {} shards", mine());

    tokio::signal::ctrl_c().await?;
    cache.shutdown().await;
    println!("node {node} has left its shards to the others");
    Ok(())
}
