//! Three nodes, one in each terminal: `cargo run -p crema --example cluster -- 1`, then `2`, then `3`.
//!
//! Each waits for the others, then writes a key of its own and reads everybody's.

use std::{net::SocketAddr, time::Duration};

use crema::{CacheConfig, DistributedCache, MultiRaftCacheConfig};

const NODES: u64 = 3;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + node as u16 - 1))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let node: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).ok_or("usage: cluster 1|2|3")?;
    if !(1..=NODES).contains(&node) {
        return Err(format!("node {node}; there are 1 to {NODES}").into());
    }
    let others = (1..=NODES).filter(|other| *other != node).map(|other| (other, address(other))).collect();
    let config = CacheConfig::new(node, address(node))
        .with_seed_nodes(others)
        .with_multiraft_config(MultiRaftCacheConfig { enabled: true, ..Default::default() });

    println!("node {node} waits for the others");
    let cache = DistributedCache::new(config).await?;
    cache.put(format!("hello:{node}"), format!("from node {node}")).await?;
    // Not before everybody has written, and not gone before everybody has read.
    for other in 1..=NODES {
        while cache.consistent_get(format!("hello:{other}").as_bytes()).await?.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("node {node} reads hello:{other}");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    cache.shutdown().await;
    Ok(())
}
