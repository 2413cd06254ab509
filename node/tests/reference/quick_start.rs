//! "Quick Start": one node, and three that find each other by gossip.

use std::net::SocketAddr;

use tokio::sync::Barrier;

use crate::rig::{Sample, ports};

mod single {
    use std::{net::SocketAddr, time::Duration};

    use crema::{CacheConfig, DistributedCache};

    use crate::rig::Sample;

    // An address that is free now, for 127.0.0.1:9000; the error can go from task to task.
    pub(super) async fn main(address: SocketAddr) -> Sample {
        // Create configuration
        let config =
            CacheConfig::new(1, address).with_max_capacity(100_000).with_default_ttl(Duration::from_secs(3600));

        // Create the distributed cache
        let cache = DistributedCache::new(config).await?;

        // Write operations go through Raft consensus (linearizable)
        cache.put("user:123", "Alice").await?;

        // Fast local read (may be stale on followers)
        if let Some(value) = cache.get(b"user:123").await {
            println!("Found: {:?}", value);
        }

        // Strongly consistent read (always reads from leader)
        if let Some(value) = cache.consistent_get(b"user:123").await? {
            println!("Consistent read: {:?}", value);
        }
        // Not in the reference: what it shows.
        assert_eq!(cache.get(b"user:123").await.as_deref(), Some(&b"Alice"[..]));
        assert_eq!(cache.consistent_get(b"user:123").await?.as_deref(), Some(&b"Alice"[..]));

        // Delete
        cache.delete("user:123").await?;
        // Not in the reference.
        assert_eq!(cache.consistent_get(b"user:123").await?, None);

        // Shutdown gracefully
        cache.shutdown().await;

        Ok(())
    }
}

mod sharded {
    use std::net::SocketAddr;

    use crema::{
        CacheConfig, DistributedCache, MemberlistConfig, MemberlistDiscovery, MultiRaftCacheConfig,
        PeerManagementConfig,
    };
    use tokio::sync::Barrier;

    use crate::rig::{Sample, until};

    // The number of this node, and three addresses each for Raft and for gossip; the reference shows node 1. The barrier
    // keeps a node from leaving before the others are done: two that have left would take the quorum with them.
    pub(super) async fn main(node_id: u64, raft: [SocketAddr; 3], gossip: [SocketAddr; 3], all: &Barrier) -> Sample {
        let own = node_id as usize - 1;
        let raft_addr = raft[own];
        let memberlist_addr = gossip[own];
        let others = |addresses: [SocketAddr; 3]| {
            (1..).zip(addresses).filter(move |(node, _)| *node != node_id).collect::<Vec<(u64, SocketAddr)>>()
        };

        // Configure memberlist for gossip-based discovery
        let memberlist_config = MemberlistConfig {
            enabled: true,
            bind_addr: Some(memberlist_addr),
            advertise_addr: None,
            seed_addrs: others(gossip).into_iter().map(|(_, address)| address).collect(),
            node_name: Some(format!("node-{}", node_id)),
            peer_management: PeerManagementConfig {
                auto_add_peers: true,
                auto_remove_peers: false,
                auto_add_voters: false,
                auto_remove_voters: false,
            },
        };

        // Create MemberlistDiscovery - users create their own discovery implementation
        let raft_peers = others(raft);
        let discovery = MemberlistDiscovery::new(node_id, raft_addr, &memberlist_config, &raft_peers);

        // Configure Multi-Raft with memberlist for shard leader discovery
        let config = CacheConfig::new(node_id, raft_addr)
            .with_seed_nodes(raft_peers)
            .with_max_capacity(100_000)
            .with_cluster_discovery(discovery) // Pass the discovery implementation
            .with_multiraft_config(MultiRaftCacheConfig {
                enabled: true,
                num_shards: 16,          // 16 independent Raft groups
                shard_capacity: 100_000, // Max entries per shard
                auto_init_shards: true,  // Auto-create shards on startup
                leader_broadcast_debounce_ms: 200,
            });

        let cache = DistributedCache::new(config).await?;

        // Operations are automatically routed to the correct shard
        // Keys are assigned via: xxhash64(key) % num_shards
        cache.put("user:123", "Alice").await?;
        cache.put("user:456", "Bob").await?;

        // Check which shard owns a key
        if let Some(coordinator) = cache.multiraft_coordinator() {
            let shard_id = coordinator.shard_for_key(b"user:123");
            println!("Key 'user:123' is in shard {}", shard_id);

            // Get shard statistics
            let stats = coordinator.stats();
            println!("Total shards: {}", stats.total_shards);
            println!("Active shards: {}", stats.active_shards);
            println!("Local leader shards: {}", stats.local_leader_shards);
        }

        // Not in the reference: what it shows.
        assert_eq!(cache.consistent_get(b"user:456").await?.as_deref(), Some(&b"Bob"[..]));
        let coordinator = cache.multiraft_coordinator().expect("it is sharded");
        assert_eq!(coordinator.shard_for_key(b"user:123"), (xxhash_rust::xxh64::xxh64(b"user:123", 0) % 16) as u32);
        assert_eq!(coordinator.stats().total_shards, 16);
        until("every shard is led and serves", || {
            coordinator.stats().active_shards == 16 && coordinator.shard_leaders().values().all(Option::is_some)
        })
        .await;
        all.wait().await;

        cache.shutdown().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_raft_mode() -> Sample {
    let [address] = ports();
    single::main(address).await
}

#[tokio::test(flavor = "multi_thread")]
async fn multi_raft_mode() -> Sample {
    let ports: [SocketAddr; 6] = ports();
    let [r1, r2, r3, g1, g2, g3] = ports;
    let (raft, gossip, all) = ([r1, r2, r3], [g1, g2, g3], Barrier::new(3));
    let main = |node| sharded::main(node, raft, gossip, &all);
    tokio::try_join!(main(1), main(2), main(3)).map(|_| ())
}
