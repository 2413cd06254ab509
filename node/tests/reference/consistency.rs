//! "Consistency Model": reads, writes, and writes that a follower forwards.

use std::time::Duration;

use crema::{DistributedCache, MultiRaftCacheConfig};

use crate::rig::{Sample, three};

/// The sample; `cache` is any node of a cluster.
async fn read_and_write(cache: &DistributedCache) -> Sample {
    // Fast local read - may return stale data on followers
    let value = cache.get(b"key").await;

    // Strongly consistent read - always reads latest committed value
    let linearizable = cache.consistent_get(b"key").await?;

    // Linearizable write
    cache.put("key", "value").await?;

    // Not in the reference: a local read never shows what was not committed.
    for value in [value, linearizable].into_iter().flatten() {
        assert_eq!(value, "value");
    }
    assert_eq!(cache.consistent_get(b"key").await?.as_deref(), Some(&b"value"[..]));
    Ok(())
}

/// "Client → Follower → Leader (Raft Consensus) → Response → Client": whichever node is asked.
async fn on_every_node(multiraft: &MultiRaftCacheConfig) -> Sample {
    let caches = three(multiraft).await;
    for writer in &caches {
        read_and_write(writer).await?;
    }
    for (nth, writer) in caches.iter().enumerate() {
        writer.put("forwarded", format!("by {nth}")).await?;
        for reader in &caches {
            let read = reader.consistent_get(b"forwarded").await?;
            assert_eq!(read.as_deref(), Some(format!("by {nth}").as_bytes()));
        }
    }
    // What a follower shows at once arrives there, too.
    for cache in &caches {
        while cache.get(b"forwarded").await.as_deref() != Some(b"by 2") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for cache in &caches {
        cache.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn single_raft() -> Sample {
    on_every_node(&MultiRaftCacheConfig::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn multi_raft() -> Sample {
    on_every_node(&MultiRaftCacheConfig { enabled: true, num_shards: 4, ..Default::default() }).await
}
