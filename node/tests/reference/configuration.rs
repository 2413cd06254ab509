//! "Configuration": the full example, and the tables of defaults.

use std::net::SocketAddr;

use crate::rig::{Sample, ports};

mod full {
    use std::time::Duration;

    use crema::{
        CacheConfig, MemberlistConfig, MemberlistDiscovery, MultiRaftCacheConfig, PeerManagementConfig, RaftConfig,
        RaftStorageType,
    };

    pub(super) fn config() -> Result<CacheConfig, Box<dyn std::error::Error + Send + Sync>> {
        let node_id = 1;
        let raft_addr = "127.0.0.1:9000".parse()?;

        // Configure memberlist for gossip-based discovery
        let memberlist_config = MemberlistConfig {
            enabled: true,
            bind_addr: Some("127.0.0.1:9100".parse()?),
            advertise_addr: None,
            seed_addrs: vec!["127.0.0.1:9101".parse()?],
            node_name: Some(format!("node-{}", node_id)),
            peer_management: PeerManagementConfig {
                auto_add_peers: true,
                auto_remove_peers: false,
                auto_add_voters: false,
                auto_remove_voters: false,
            },
        };

        // Create MemberlistDiscovery - users create their own discovery implementation
        let raft_peers = vec![(2, "127.0.0.1:9001".parse()?)];
        let discovery = MemberlistDiscovery::new(node_id, raft_addr, &memberlist_config, &raft_peers);

        let config = CacheConfig::new(node_id, raft_addr)
            // Cache settings
            .with_max_capacity(100_000)
            .with_default_ttl(Duration::from_secs(3600))
            // Storage backend
            .with_raft_storage_type(RaftStorageType::RocksDb) // or Memory (default)
            .with_data_dir("./data/node1") // Required for RocksDB
            // Raft settings
            .with_raft_config(RaftConfig { election_tick: 10, heartbeat_tick: 3, ..Default::default() })
            // Cluster discovery - pass your own ClusterDiscovery implementation
            .with_cluster_discovery(discovery)
            // Multi-Raft for sharding (requires cluster discovery)
            .with_multiraft_config(MultiRaftCacheConfig {
                enabled: true,
                num_shards: 16,
                shard_capacity: 100_000,
                auto_init_shards: true,
                leader_broadcast_debounce_ms: 200,
            });
        Ok(config)
    }
}

/// Nothing listens and nothing is written before a cache is made of it.
#[test]
fn cache_config() -> Sample {
    let config = full::config()?;
    assert!(format!("{config:?}").contains("RocksDb"));
    Ok(())
}

/// The same, as two nodes that run, in folders and on ports that are free.
#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn the_configured_cluster_runs() -> Sample {
    use crema::{DistributedCache, MemberlistConfig, MemberlistDiscovery, PeerManagementConfig};
    let data = crate::rig::Folder::new("configured");
    let addresses: [SocketAddr; 4] = ports();
    let [raft, gossip] = [[addresses[0], addresses[1]], [addresses[2], addresses[3]]];
    let start = |own: usize| {
        let (node_id, other) = (own as u64 + 1, 1 - own);
        let memberlist_config = MemberlistConfig {
            enabled: true,
            bind_addr: Some(gossip[own]),
            seed_addrs: vec![gossip[other]],
            peer_management: PeerManagementConfig { auto_add_peers: true, ..Default::default() },
            ..Default::default()
        };
        let peers = vec![(other as u64 + 1, raft[other])];
        let config = crema::CacheConfig::new(node_id, raft[own])
            .with_raft_storage_type(crema::RaftStorageType::RocksDb)
            .with_data_dir(data.join(&format!("node{node_id}")))
            .with_raft_config(crema::RaftConfig { election_tick: 10, heartbeat_tick: 3, ..Default::default() })
            .with_cluster_discovery(MemberlistDiscovery::new(node_id, raft[own], &memberlist_config, &peers))
            .with_multiraft_config(crema::MultiRaftCacheConfig { enabled: true, ..Default::default() });
        DistributedCache::new(config)
    };
    let (one, two) = tokio::try_join!(start(0), start(1))?;
    one.put("key", "value").await?;
    assert_eq!(two.consistent_get(b"key").await?.as_deref(), Some(&b"value"[..]));
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}

#[test]
fn multi_raft_cache_config_has_the_defaults_of_the_table() {
    let crema::MultiRaftCacheConfig {
        enabled,
        num_shards,
        shard_capacity,
        auto_init_shards,
        leader_broadcast_debounce_ms,
    } = crema::MultiRaftCacheConfig::default();
    assert_eq!((enabled, num_shards, shard_capacity), (false, 16, 100_000));
    assert_eq!((auto_init_shards, leader_broadcast_debounce_ms), (true, 200));
}

#[test]
fn memberlist_config_has_the_defaults_of_the_table() {
    let config = crema::MemberlistConfig::default();
    assert_eq!((config.enabled, config.bind_addr, config.node_name), (false, None, None));
    assert_eq!(config.seed_addrs, Vec::<SocketAddr>::new());
    assert!(!config.peer_management.auto_add_peers && !config.peer_management.auto_add_voters);
}

#[tokio::test]
async fn a_node_without_others_needs_no_discovery() -> Sample {
    let [address] = ports();
    let cache = crema::DistributedCache::new(crema::CacheConfig::new(1, address)).await?;
    cache.put("key", "value").await?;
    cache.shutdown().await;
    Ok(())
}
