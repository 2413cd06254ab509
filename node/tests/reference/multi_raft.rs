//! "Multi-Raft Scaling": how keys find their shards, hints at leaders, and the coordinator by itself.

use std::{collections::HashMap, time::Duration};

use crema::{
    CacheRouter, Error, MultiRaftBuilder, MultiRaftCacheConfig, MultiRaftCoordinator, MultiRaftStats, NodeId,
    ShardId, ShardInfo, ShardRouter,
};
use xxhash_rust::xxh64::xxh64;

use crate::rig::{Sample, three, until};

#[tokio::test(flavor = "multi_thread")]
async fn multi_raft_api() -> Sample {
    // Who they are is left to the reader.
    let (node_id, leader_node_id, failed_node_id): (NodeId, NodeId, NodeId) = (1, 1, 2);

    // Direct coordinator usage (for advanced use cases)
    let coordinator = MultiRaftBuilder::new(node_id)
        .num_shards(16)
        .replica_factor(3)
        .shard_capacity(100_000)
        .default_ttl(Duration::from_secs(3600))
        .build_and_init()
        .await?;

    // Cache operations
    coordinator.put("key", "value").await?;
    let value = coordinator.get(b"key").await?;
    coordinator.delete(b"key").await?;

    // Shard introspection
    let shard_id = coordinator.shard_for_key(b"key");
    let shard_info: Vec<ShardInfo> = coordinator.shard_info();
    let stats: MultiRaftStats = coordinator.stats();

    // Leader management
    coordinator.set_shard_leader(shard_id, leader_node_id);
    let leaders = coordinator.shard_leaders(); // HashMap<ShardId, Option<NodeId>>

    // Invalidate leaders when a node fails
    let invalidated = coordinator.invalidate_leader_for_node(failed_node_id);

    // Not in the reference: what they are.
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    assert_eq!((shard_info.len(), stats.total_shards), (16, 16));
    let leaders: HashMap<ShardId, Option<NodeId>> = leaders;
    assert_eq!(leaders[&shard_id], Some(1));
    assert_eq!(invalidated, [0; 0], "no hint names node 2");
    coordinator.shutdown().await;
    Ok(())
}

/// The sample of "Gossip-Based Routing", for a shard that `node_id` leads.
fn gossip(coordinator: &MultiRaftCoordinator, shard_id: ShardId, node_id: NodeId, leader_id: NodeId, epoch: u64) {
    // Shard leader info is encoded in memberlist metadata
    // Format: "shard_id:leader_id:epoch,..."

    // When a node becomes leader of a shard:
    coordinator.set_local_shard_leader(shard_id, node_id); // Queues broadcast

    // When receiving gossip about shard leaders:
    coordinator.set_shard_leader_if_newer(shard_id, leader_id, epoch); // Epoch check
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_based_routing() -> Sample {
    let sharded = MultiRaftCacheConfig { enabled: true, num_shards: 4, ..Default::default() };
    let caches = three(&sharded).await;
    let [one, ..] = &caches;
    let coordinator = one.multiraft_coordinator().expect("it is sharded");
    until("every shard is led", || coordinator.shard_leaders().values().all(Option::is_some)).await;
    let leader = coordinator.shard_leaders()[&0].expect("led");
    gossip(coordinator, 0, 1, leader, 1_000_000);
    assert!(!coordinator.set_shard_leader_if_newer(0, leader, 1_000_000), "not newer");
    assert!(!coordinator.set_shard_leader_if_newer(0, 9, 2_000_000), "nobody is node 9");
    assert_eq!(coordinator.invalidate_leader_for_node(leader), [0]);
    // A hint saves a hop at most; operations find their way without.
    one.put("key", "value").await?;
    for cache in &caches {
        cache.shutdown().await;
    }
    Ok(())
}

/// The metadata of the gossip, as the reference writes it.
#[test]
fn leader_hints_have_the_format_of_the_reference() {
    use crema::cluster::discovery::LeaderHints;
    let known = LeaderHints::decode("3:2:7,5:1:9").expect("shard_id:leader_id:epoch,...");
    let mut hints = LeaderHints::default();
    known.into_iter().for_each(|hint| assert!(hints.set_if_newer(hint)));
    assert_eq!(hints.encode(None, 100), ("3:2:7,5:1:9".to_owned(), None));
    let known: Vec<_> = hints.known().map(|hint| (hint.shard, hint.leader.0, hint.epoch)).collect();
    assert_eq!(known, [(3, 2, 7), (5, 1, 9)]);
}

/// "Key → Shard Mapping (versioned)", "Forward to Leader", "MOVED Response".
#[tokio::test(flavor = "multi_thread")]
async fn the_request_router() -> Sample {
    let sharded = MultiRaftCacheConfig { enabled: true, num_shards: 16, ..Default::default() };
    let caches = three(&sharded).await;
    let coordinator = caches[0].multiraft_coordinator().expect("it is sharded");
    let router: ShardRouter = coordinator.router();
    until("every shard is led", || (0..router.num_shards()).all(|shard| router.leader(shard).is_some())).await;
    for n in 0..100 {
        let key = format!("user:{n}");
        // shard_id = xxhash64(key) % num_shards
        let shard_id = (xxh64(key.as_bytes(), 0) % u64::from(router.num_shards())) as ShardId;
        let route = router.route(key.as_bytes());
        assert_eq!((route.shard, route.version), (shard_id, router.version()));
        assert_eq!(route.slot, router.slot_for_key(key.as_bytes()));
        assert_eq!(route.is_local, route.leader == Some(1));
        assert!(route.address.is_some(), "{route:?}");
        let elsewhere = crema::ShardRoute { shard: (shard_id + 1) % 16, ..route.clone() };
        assert_eq!(router.check(&elsewhere), Err(Error::Moved { slot: route.slot, shard: shard_id }));
        let nobody = crema::ShardRoute { leader: None, ..route };
        assert!(matches!(router.check(&nobody), Err(Error::NotLeader { .. })));
    }
    let nowhere = crema::ShardRoute { slot: u16::MAX, ..router.route(b"key") };
    assert!(matches!(router.check(&nowhere), Err(Error::Invalid { field: "slot", .. })));
    // The node's own router, with every operation there is.
    let router: &CacheRouter = caches[0].router();
    assert!(router.get_local(b"nothing").is_none());
    for cache in &caches {
        cache.shutdown().await;
    }
    Ok(())
}
