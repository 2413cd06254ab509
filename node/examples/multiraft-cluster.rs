//! Three nodes and 16 shards in one process: where keys go, who leads, and what the coordinator knows.
//!
//! `cargo run -p crema --example multiraft-cluster`

use std::{net::SocketAddr, time::Duration};

use crema::{CacheConfig, DistributedCache, MultiRaftCacheConfig};
use futures::future::{join_all, try_join_all};

const NODES: u64 = 3;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_010 + node as u16))
}

fn config(node: u64) -> CacheConfig {
    let others = (1..=NODES).filter(|other| *other != node).map(|other| (other, address(other))).collect();
    CacheConfig::new(node, address(node)).with_seed_nodes(others).with_multiraft_config(MultiRaftCacheConfig {
        enabled: true,
        num_shards: 16,
        ..Default::default()
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let caches = try_join_all((1..=NODES).map(|node| DistributedCache::new(config(node)))).await?;
    let coordinator = caches[0].multiraft_coordinator().ok_or("sharded, so there is a coordinator")?;
    while coordinator.shard_leaders().values().any(Option::is_none) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    for name in ["Alice", "Bob", "Carol"] {
        let key = format!("user:{name}");
        caches[0].put(key.clone(), name).await?;
        let shard = coordinator.shard_for_key(key.as_bytes());
        let leader = coordinator.shard_leaders()[&shard].ok_or("every shard is led")?;
        println!("{key} is in shard {shard}, which node {leader} leads");
    }

    for info in coordinator.shard_info().iter().filter(|info| info.entry_count > 0) {
        println!("shard {}: {:?}, on nodes {:?}", info.shard_id, info.state, info.members);
    }
    let stats = coordinator.stats();
    println!("{} of {} shards are active", stats.active_shards, stats.total_shards);
    println!("{} shards are led by node 1", stats.local_leader_shards);
    println!("{} migrations under way", coordinator.migrations().len());

    join_all(caches.iter().map(DistributedCache::shutdown)).await;
    Ok(())
}
