//! Three nodes, one in each terminal: `cargo run -p crema --example cluster -- 1`, then `2`, then `3`.
//!
//! Each waits for the others, then writes a key of its own and reads everybody's. With `--data-dir DIR` it keeps its log in
//! `DIR/nodeN`, and finds what it wrote when all three are started again (with `--features rocksdb`).

use std::{net::SocketAddr, path::Path, time::Duration};

use crema::{CacheConfig, DistributedCache, MultiRaftCacheConfig, RaftStorageType};

const NODES: u64 = 3;

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9_000 + node as u16 - 1))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (node, data_dir) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [node] => (node, None),
        [node, "--data-dir", dir] => (node, Some(dir)),
        _ => return Err("usage: cluster 1|2|3 [--data-dir DIR]".into()),
    };
    let node: u64 = node.parse()?;
    if !(1..=NODES).contains(&node) {
        return Err(format!("node {node}; there are 1 to {NODES}").into());
    }
    let others = (1..=NODES).filter(|other| *other != node).map(|other| (other, address(other))).collect();
    let mut config = CacheConfig::new(node, address(node))
        .with_seed_nodes(others)
        .with_multiraft_config(MultiRaftCacheConfig { enabled: true, ..Default::default() });

    if let Some(dir) = data_dir {
        let own = Path::new(dir).join(format!("node{node}"));
        config = config.with_raft_storage_type(RaftStorageType::RocksDb).with_data_dir(own);
    }

    println!("node {node} waits for the others");
    let cache = DistributedCache::new(config).await?;
    if cache.consistent_get(format!("hello:{node}").as_bytes()).await?.is_some() {
        println!("node {node} finds hello:{node} of its last run");
    }
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
