//! One node inside this program: `cargo run -p crema --example basic`.

use std::time::Duration;

use crema::{CacheConfig, DistributedCache};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = CacheConfig::new(1, "127.0.0.1:9000".parse()?)
        .with_max_capacity(100_000)
        .with_default_ttl(Duration::from_secs(3_600));
    let cache = DistributedCache::new(config).await?;

    // Through the log: acknowledged once a quorum has it.
    cache.put("user:123", "Alice").await?;
    cache.put_with_ttl("session:9", "token", Duration::from_secs(60)).await?;

    // From this node's memory, at once.
    println!("local read:        {:?}", cache.get(b"user:123").await);
    // As of now, on whichever node.
    println!("linearizable read: {:?}", cache.consistent_get(b"user:123").await?);

    println!("deleted:           {}", cache.delete("user:123").await?);
    println!("afterwards:        {:?}", cache.consistent_get(b"user:123").await?);

    cache.shutdown().await;
    Ok(())
}
