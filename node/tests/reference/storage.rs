//! "Storage Configuration": in memory, and on disk.

use crema::{CacheConfig, RaftStorageType};

use crate::rig::{Sample, ports};

#[tokio::test(flavor = "multi_thread")]
async fn memory_storage() -> Sample {
    // A free address, for 127.0.0.1:9000.
    let [address] = ports();
    let config = CacheConfig::new(1, address).with_raft_storage_type(RaftStorageType::Memory); // Default

    // Not in the reference: data is lost on restart.
    assert_eq!(RaftStorageType::default(), RaftStorageType::Memory);
    let cache = crema::DistributedCache::new(config.clone()).await?;
    cache.put("key", "value").await?;
    cache.shutdown().await;
    let cache = crema::DistributedCache::new(config).await?;
    assert_eq!(cache.consistent_get(b"key").await?, None);
    cache.shutdown().await;
    Ok(())
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn rocksdb_storage() -> Sample {
    // A free address, and a folder for "./data".
    let ([address], data) = (ports(), crate::rig::Folder::new("rocksdb"));
    let config = CacheConfig::new(1, address)
        .with_raft_storage_type(RaftStorageType::RocksDb)
        .with_data_dir(data.join("node1")); // Required for RocksDB

    // Not in the reference: the data is there after a restart.
    let cache = crema::DistributedCache::new(config.clone()).await?;
    cache.put("key", "value").await?;
    cache.shutdown().await;
    let cache = crema::DistributedCache::new(config).await?;
    assert_eq!(cache.consistent_get(b"key").await?.as_deref(), Some(&b"value"[..]));
    cache.shutdown().await;
    Ok(())
}

/// "Required for RocksDB", and refused by name without; so is the feature that a build lacks.
#[tokio::test]
async fn rocksdb_needs_a_directory() {
    let [address] = ports();
    let config = CacheConfig::new(1, address).with_raft_storage_type(RaftStorageType::RocksDb);
    let field = if cfg!(feature = "rocksdb") { "data_dir" } else { "raft_storage_type" };
    let error = crema::DistributedCache::new(config).await.err();
    assert!(matches!(&error, Some(crema::Error::Invalid { field: named, .. }) if *named == field), "{error:?}");
}
