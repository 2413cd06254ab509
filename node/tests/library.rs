//! The embedded library as a program uses it: its public names only, real sockets on loopback.

use std::{net::SocketAddr, time::Duration};

use crema::{
    CacheConfig, CheckpointConfig, DistributedCache, Error, MemberlistConfig, MemberlistDiscovery,
    MultiRaftCacheConfig, PeerManagementConfig, RaftConfig, RaftStorageType, StaticClusterDiscovery,
};

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_KEY: usize = 64 * 1024;
const MAX_VALUE: usize = 8 * 1024 * 1024;

/// Ports that were free a moment ago; all held until the last is known, so that they differ.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address")).collect()
}

fn config(node: u64) -> CacheConfig {
    CacheConfig::new(node, free_addresses(1)[0])
}

async fn alone() -> DistributedCache {
    DistributedCache::new(config(1)).await.expect("a cluster of one")
}

/// Asks until the answer is the wanted one.
async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asked = tokio::time::timeout(PATIENCE, async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

async fn consistent(cache: &DistributedCache, key: &str) -> Option<Vec<u8>> {
    let mut answer = cache.consistent_get(key.as_bytes()).await;
    // A shard may be between two leaders.
    while let Err(Error::Unavailable { .. } | Error::Busy { .. } | Error::NotLeader { .. }) = answer {
        tokio::time::sleep(Duration::from_millis(10)).await;
        answer = cache.consistent_get(key.as_bytes()).await;
    }
    answer.expect("a linearizable read").map(|value| value.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_puts_reads_and_deletes() {
    let cache = alone().await;
    assert_eq!(cache.get(b"k").await, None);
    assert_eq!(cache.consistent_get(b"k").await, Ok(None));
    cache.put("k", "v").await.expect("put");
    assert_eq!(cache.consistent_get(b"k").await.expect("read").as_deref(), Some(&b"v"[..]));
    // The only replica has applied what it acknowledged.
    assert_eq!(cache.get(b"k").await.as_deref(), Some(&b"v"[..]));
    cache.put("k", "w").await.expect("put again");
    assert_eq!(cache.consistent_get(b"k").await.expect("read").as_deref(), Some(&b"w"[..]));
    assert_eq!(cache.delete("k").await, Ok(true));
    assert_eq!(cache.delete("k").await, Ok(false));
    assert_eq!(cache.consistent_get(b"k").await, Ok(None));
    assert_eq!(cache.get(b"k").await, None);
    cache.put("empty", "").await.expect("an empty value");
    assert_eq!(cache.consistent_get(b"empty").await.expect("read").as_deref(), Some(&b""[..]));
    cache.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_expire() {
    let cache = DistributedCache::new(config(1).with_default_ttl(Duration::from_millis(50))).await.expect("a node");
    cache.put("default", "v").await.expect("put");
    cache.put_with_ttl("short", "v", Duration::from_millis(50)).await.expect("put");
    cache.put_with_ttl("long", "v", Duration::from_secs(3_600)).await.expect("put");
    for key in ["default", "short"] {
        until(key, || async { consistent(&cache, key).await.is_none() }).await;
        // What one linearizable read saw expired never comes back, on this node's memory either.
        until(key, || async { cache.get(key.as_bytes()).await.is_none() }).await;
        assert_eq!(consistent(&cache, key).await, None);
        assert_eq!(cache.delete(key).await, Ok(false), "an expired key is not there");
    }
    assert_eq!(consistent(&cache, "long").await.as_deref(), Some(&b"v"[..]));
    cache.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cache_says_so() {
    let cache = alone().await;
    cache.put("k", "v").await.expect("put");
    cache.shutdown().await;
    cache.shutdown().await;
    let error = cache.put("k", "w").await.expect_err("it is stopped");
    assert_eq!(error, Error::ShuttingDown);
    let error = cache.consistent_get(b"k").await.expect_err("it is stopped");
    assert_eq!(error, Error::ShuttingDown);
    assert_eq!(cache.get(b"k").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_agree() {
    let addresses = free_addresses(3);
    let members: Vec<_> = (1..).zip(addresses).collect();
    let starting = members.iter().map(|(node, address)| {
        let others = members.iter().copied().filter(|(other, _)| other != node).collect();
        let config = CacheConfig::new(*node, *address)
            .with_seed_nodes(others)
            .with_multiraft_config(MultiRaftCacheConfig { enabled: true, num_shards: 16, ..Default::default() });
        DistributedCache::new(config)
    });
    let caches = tokio::time::timeout(PATIENCE, futures::future::try_join_all(starting));
    let caches = caches.await.expect("forming in time").expect("a cluster of three");

    // 64 keys meet all shards; each node writes some.
    let keys: Vec<_> = (0..64).map(|n| format!("key:{n}")).collect();
    for (key, writer) in keys.iter().zip(caches.iter().cycle()) {
        // An acknowledged put is what counts; one that a shard without a leader refused is asked for again.
        until(key, || async { writer.put(key.clone(), key.to_uppercase()).await.is_ok() }).await;
        for reader in &caches {
            assert_eq!(consistent(reader, key).await, Some(key.to_uppercase().into_bytes()), "{key}");
        }
    }
    for (key, cache) in keys.iter().flat_map(|key| caches.iter().map(move |cache| (key, cache))) {
        until(key, || async { cache.get(key.as_bytes()).await.as_deref() == Some(key.to_uppercase().as_bytes()) })
            .await;
    }
    assert_eq!(caches[2].delete(keys[0].clone()).await, Ok(true));
    for cache in &caches {
        assert_eq!(consistent(cache, &keys[0]).await, None);
        until("deleted", || async { cache.get(keys[0].as_bytes()).await.is_none() }).await;
    }

    // Two of three are a quorum, and the one that left has handed its leaderships over.
    caches[0].shutdown().await;
    assert_eq!(consistent(&caches[1], &keys[1]).await, Some(keys[1].to_uppercase().into_bytes()));
    until("a write without node 1", || async { caches[1].put("after", "1").await.is_ok() }).await;
    assert_eq!(consistent(&caches[2], "after").await.as_deref(), Some(&b"1"[..]));
    caches[1].shutdown().await;
    caches[2].shutdown().await;
}

/// The field that an error blames.
fn blamed(error: &Error) -> &'static str {
    match error {
        Error::Invalid { field, .. } => field,
        other => panic!("not a wrong field: {other:?}"),
    }
}

#[tokio::test]
async fn wrong_configurations_are_refused_by_name() {
    let raft = |tick_interval_ms, election_tick, heartbeat_tick| {
        config(1).with_raft_config(RaftConfig { tick_interval_ms, election_tick, heartbeat_tick })
    };
    let sharded = |num_shards, auto_init_shards| {
        let multi = MultiRaftCacheConfig { enabled: true, num_shards, auto_init_shards, ..Default::default() };
        config(1).with_multiraft_config(multi)
    };
    let twice = free_addresses(2);
    let table = [
        ("node_id", config(0)),
        ("tick_interval_ms", raft(0, 10, 2)),
        ("election_tick", raft(100, 3, 3)),
        ("election_tick", raft(100, 2, 3)),
        ("election_tick", raft(100, 10, 0)),
        ("election_tick", raft(100, 0, 0)),
        ("num_shards", sharded(0, true)),
        ("num_shards", sharded(16_385, true)),
        ("auto_init_shards", sharded(16, false)),
        ("default_ttl", config(1).with_default_ttl(Duration::ZERO)),
        ("default_ttl", config(1).with_default_ttl(Duration::from_micros(999))),
        ("peers", config(1).with_seed_nodes(vec![(0, twice[0])])),
        ("peers", config(1).with_seed_nodes(vec![(2, twice[0]), (2, twice[1])])),
    ];
    for (field, config) in table {
        let shown = format!("{config:?}");
        let error = DistributedCache::new(config).await.err().unwrap_or_else(|| panic!("accepted: {shown}"));
        assert_eq!(blamed(&error), field, "{shown}");
        assert!(error.to_string().starts_with(&format!("invalid {field}: ")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_by_name() {
    let cache = alone().await;
    let long_key = vec![b'k'; MAX_KEY + 1];
    for key in [&b""[..], &long_key] {
        let key = key.to_vec();
        assert_eq!(blamed(&cache.put(key.clone(), "v").await.expect_err("put")), "key");
        assert_eq!(blamed(&cache.consistent_get(&key).await.expect_err("read")), "key");
        assert_eq!(blamed(&cache.delete(key.clone()).await.expect_err("delete")), "key");
        assert_eq!(cache.get(&key).await, None);
    }
    assert_eq!(blamed(&cache.put("k", vec![0; MAX_VALUE + 1]).await.expect_err("put")), "value");
    let no_time = cache.put_with_ttl("k", "v", Duration::from_micros(999)).await;
    assert_eq!(blamed(&no_time.expect_err("less than a millisecond")), "ttl");
    // The largest there may be are taken.
    cache.put(vec![b'k'; MAX_KEY], vec![1; MAX_VALUE]).await.expect("the largest key and value");
    let largest = cache.consistent_get(&[b'k'; MAX_KEY]).await.expect("read").expect("there");
    assert_eq!(largest.len(), MAX_VALUE);
    cache.put_with_ttl("k", "v", Duration::MAX).await.expect("a life without an end");
    assert_eq!(cache.consistent_get(b"k").await.expect("read").as_deref(), Some(&b"v"[..]));
    cache.shutdown().await;
}

/// Gossip on a port of this machine, with everything that adds.
fn memberlist(gossip: SocketAddr, seeds: Vec<SocketAddr>) -> MemberlistConfig {
    let peer_management = PeerManagementConfig { auto_add_peers: true, auto_add_voters: true, ..Default::default() };
    MemberlistConfig {
        enabled: true,
        bind_addr: Some(gossip),
        seed_addrs: seeds,
        peer_management,
        ..MemberlistConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_members_of_a_discovery_form_and_others_find_them() {
    let ports = free_addresses(8);
    let (raft, gossip) = ports.split_at(4);
    let all: Vec<_> = (1..).zip(raft.iter().copied()).collect();
    let sharded = MultiRaftCacheConfig { enabled: true, num_shards: 4, ..MultiRaftCacheConfig::default() };
    let start = |at: usize, peers: &[(u64, SocketAddr)]| {
        let node = at as u64 + 1;
        let discovery = MemberlistDiscovery::new(node, raft[at], &memberlist(gossip[at], vec![gossip[0]]), peers);
        let config = CacheConfig::new(node, raft[at]).with_cluster_discovery(discovery);
        DistributedCache::new(config.with_multiraft_config(sharded.clone()))
    };
    let (one, two, three) =
        tokio::try_join!(start(0, &all[..3]), start(1, &all[..3]), start(2, &all[..3])).expect("three");
    one.put("k", "v").await.expect("put");
    let four = start(3, &[]).await.expect("it is found and taken in");
    assert_eq!(consistent(&four, "k").await.as_deref(), Some(&b"v"[..]));
    let coordinator = four.multiraft_coordinator().expect("sharded");
    until("node 4 has its share", || async {
        coordinator.shard_info().iter().any(|shard| shard.members.contains(&4))
    })
    .await;
    // The others' discovery has heard of it by gossip.
    until("three others are known", || async { one.metrics().encode().contains("memberlist_nodes 3") }).await;
    for cache in [four, three, two, one] {
        cache.shutdown().await;
    }
}

#[tokio::test]
async fn a_discovery_that_could_never_help_is_refused() {
    let [raft, gossip] = free_addresses(2)[..] else { panic!("two") };
    let shy = MemberlistConfig { peer_management: PeerManagementConfig::default(), ..memberlist(gossip, vec![]) };
    let config = CacheConfig::new(1, raft).with_cluster_discovery(MemberlistDiscovery::new(1, raft, &shy, &[]));
    let error = DistributedCache::new(config).await.err();
    assert!(matches!(error, Some(Error::Invalid { field: "auto_add_peers", .. })), "{error:?}");
    // A list that holds nobody else is a node alone.
    let alone = CacheConfig::new(1, raft).with_cluster_discovery(StaticClusterDiscovery::new(1, raft, vec![]));
    DistributedCache::new(alone).await.expect("a cluster of one").shutdown().await;
}

/// The reference's full example, with its own names; a port of its own where it would listen.
fn as_in_the_reference(raft_addr: SocketAddr) -> CacheConfig {
    let node_id = 1;
    let memberlist_config = MemberlistConfig {
        enabled: true,
        bind_addr: Some(free_addresses(1)[0]),
        advertise_addr: None,
        seed_addrs: vec![free_addresses(1)[0]],
        node_name: Some(format!("node-{node_id}")),
        peer_management: PeerManagementConfig {
            auto_add_peers: true,
            auto_remove_peers: false,
            auto_add_voters: false,
            auto_remove_voters: false,
        },
    };
    let raft_peers = vec![(2, free_addresses(1)[0])];
    let discovery = MemberlistDiscovery::new(node_id, raft_addr, &memberlist_config, &raft_peers);
    CacheConfig::new(node_id, raft_addr)
        .with_max_capacity(100_000)
        .with_default_ttl(Duration::from_secs(3600))
        .with_raft_storage_type(RaftStorageType::RocksDb)
        .with_data_dir("./data/node1")
        .with_raft_config(RaftConfig { election_tick: 10, heartbeat_tick: 3, ..Default::default() })
        .with_cluster_discovery(discovery)
        .with_multiraft_config(MultiRaftCacheConfig {
            enabled: true,
            num_shards: 16,
            shard_capacity: 100_000,
            auto_init_shards: true,
            leader_broadcast_debounce_ms: 200,
        })
}

#[tokio::test]
async fn storage_that_can_not_be_is_refused_before_anything_is_started() {
    let memory = || config(1).with_raft_storage_type(RaftStorageType::Memory);
    let checkpoints = CheckpointConfig::new("./checkpoints").with_log_threshold(10_000).with_compression(true);
    let of_no_use = memory().with_checkpoint_config(checkpoints);
    let zero = as_in_the_reference(free_addresses(1)[0])
        .with_checkpoint_config(CheckpointConfig::new("./checkpoints").with_log_threshold(0));
    let zero_field =
        if cfg!(feature = "rocksdb") { "checkpoint_config.triggers.log_entries" } else { "raft_storage_type" };
    for (config, wrong) in
        [(memory().with_data_dir("./data/node1"), "data_dir"), (of_no_use, "checkpoint_config"), (zero, zero_field)]
    {
        match DistributedCache::new(config).await.err() {
            Some(Error::Invalid { field, .. }) => assert_eq!(field, wrong),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}
