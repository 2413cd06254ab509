//! The reference's samples about shards, as a program writes them: public names only, real sockets on loopback.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use crema::{
    CacheConfig, DistributedCache, Error, MultiRaftBuilder, MultiRaftCacheConfig, MultiRaftCoordinator,
    MultiRaftStats, NodeId, Shard, ShardConfig, ShardId, ShardInfo, ShardRange, ShardState,
};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Asks until the answer is the wanted one.
async fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !ask() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

async fn alone() -> MultiRaftCoordinator {
    let coordinator = MultiRaftBuilder::new(1)
        .num_shards(16)
        .replica_factor(3)
        .shard_capacity(100_000)
        .default_ttl(Duration::from_secs(3600))
        .build_and_init()
        .await
        .expect("a node");
    until("every shard is led", || coordinator.shard_leaders().values().all(|leader| *leader == Some(1))).await;
    coordinator
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_runs_by_itself() {
    let coordinator = alone().await;
    coordinator.put("key", "value").await.expect("put");
    assert_eq!(coordinator.get(b"key").await.expect("get").as_deref(), Some(&b"value"[..]));
    let shard_id: ShardId = coordinator.shard_for_key(b"key");
    until("the entry is counted", || {
        let info: Vec<ShardInfo> = coordinator.shard_info();
        info[shard_id as usize].entry_count == 1
    })
    .await;
    let info = &coordinator.shard_info()[shard_id as usize];
    assert_eq!((info.shard_id, info.state, info.leader), (shard_id, ShardState::Active, Some(1)));
    assert_eq!(info.members, [1]);
    assert!(info.size_bytes > 0 && info.term > 0 && info.commit_index > 0, "{info:?}");

    let stats: MultiRaftStats = coordinator.stats();
    assert_eq!((stats.total_shards, stats.active_shards, stats.local_leader_shards), (16, 16, 16));
    assert_eq!(stats.total_entries, 1);
    assert!(stats.operations_per_sec >= 0.0);
    let shard: Shard = coordinator.shard(shard_id).expect("one of 16");
    assert_eq!((shard.id(), shard.info().expect("joined").state), (shard_id, ShardState::Active));
    assert_eq!(shard.config().expect("joined").default_ttl, Some(Duration::from_secs(3600)));
    assert!(coordinator.shard(16).is_none());
    assert_eq!(coordinator.migrations(), []);

    assert_eq!(coordinator.delete(b"key").await, Ok(true));
    assert_eq!(coordinator.delete(b"key").await, Ok(false));
    assert!(matches!(coordinator.get(b"").await, Err(Error::Invalid { .. })));
    coordinator.shutdown().await;
    assert_eq!(coordinator.put("key", "value").await, Err(Error::ShuttingDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_steer_and_the_map_decides() {
    let coordinator = alone().await;
    let leaders: HashMap<ShardId, Option<NodeId>> = coordinator.shard_leaders();
    assert_eq!(leaders.len(), 16);
    // Node 2 has no voter of anything.
    assert!(!coordinator.set_shard_leader(0, 2));
    assert!(!coordinator.set_shard_leader_if_newer(0, 2, 99));
    assert!(!coordinator.set_shard_leader(16, 1), "there is no shard 16");
    assert_eq!(coordinator.shard_leaders(), leaders);
    assert!(coordinator.set_shard_leader_if_newer(3, 1, 7));
    assert!(!coordinator.set_shard_leader_if_newer(3, 1, 7), "the same again");
    assert!(!coordinator.set_shard_leader_if_newer(3, 1, 6), "older");
    assert!(coordinator.set_shard_leader(4, 1));
    assert!(!coordinator.set_local_shard_leader(5, 2), "this is node 1");
    assert!(coordinator.set_local_shard_leader(5, 1));
    let invalidated = coordinator.invalidate_leader_for_node(1);
    assert_eq!(invalidated, [3, 4, 5]);
    assert_eq!(coordinator.invalidate_leader_for_node(1), [0; 0]);
    // The replica here knows better than any hint.
    assert_eq!(coordinator.shard_leaders(), leaders);
    coordinator.put("still", "works").await.expect("put");
    coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sharded_cache_has_a_coordinator() {
    let config = CacheConfig::new(1, free_address());
    let cache = DistributedCache::new(config).await.expect("a node");
    assert!(cache.multiraft_coordinator().is_none(), "one Raft group needs none");
    cache.shutdown().await;

    let multi = MultiRaftCacheConfig {
        enabled: true,
        num_shards: 16,
        shard_capacity: 100_000,
        auto_init_shards: true,
        leader_broadcast_debounce_ms: 200,
    };
    let config = CacheConfig::new(1, free_address()).with_multiraft_config(multi);
    let cache = DistributedCache::new(config).await.expect("a node");
    let coordinator = cache.multiraft_coordinator().expect("it is sharded");
    until("every shard is led", || coordinator.stats().local_leader_shards == 16).await;
    cache.put("user:123", "Alice").await.expect("put");
    assert_eq!(coordinator.get(b"user:123").await.expect("get").as_deref(), Some(&b"Alice"[..]));
    // The node belongs to the cache.
    coordinator.shutdown().await;
    cache.put("user:456", "Bob").await.expect("put");
    cache.shutdown().await;
}

#[test]
fn shards_are_described() {
    let (shard_id, total_shards) = (0, 16);
    let config = ShardConfig::new(shard_id, total_shards)
        .with_replicas(3)
        .with_max_capacity(100_000)
        .with_default_ttl(Duration::from_secs(3600));
    assert_eq!((config.replicas, config.max_capacity), (3, 100_000));
    let range = ShardRange { shard_id: 0, total_shards: 16 };
    assert_eq!(config.range(), range);
    assert!(range.contains(32) && !range.contains(33));
    assert!(!ShardRange { shard_id: 0, total_shards: 0 }.contains(0));
}

#[tokio::test]
async fn wrong_builders_are_refused_by_name() {
    for (builder, field) in [
        (MultiRaftBuilder::new(0), "node_id"),
        (MultiRaftBuilder::new(1).num_shards(0), "num_shards"),
        (MultiRaftBuilder::new(1).replica_factor(0), "replica_factor"),
        (MultiRaftBuilder::new(1).seed_nodes(vec![(2, free_address())]), "raft_addr"),
    ] {
        let error = builder.build_and_init().await.err().expect("it must be refused");
        assert!(error.to_string().starts_with(&format!("invalid {field}: ")), "{error}");
    }
}
