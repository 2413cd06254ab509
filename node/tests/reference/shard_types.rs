//! "Shard Types": the words in which shards are described.

use std::time::Duration;

use crema::{MultiRaftBuilder, NodeId, Shard, ShardConfig, ShardId, ShardInfo, ShardRange, ShardState};

use crate::rig::Sample;

#[tokio::test(flavor = "multi_thread")]
async fn shard_types() -> Sample {
    // How many there are, and a hash, are left to the reader.
    let (total_shards, key_hash) = (16, 32);

    // ShardId is just u32
    let shard_id: ShardId = 0;

    // ShardConfig for creating shards
    let config = ShardConfig::new(shard_id, total_shards)
        .with_replicas(3)
        .with_max_capacity(100_000)
        .with_default_ttl(Duration::from_secs(3600));

    // ShardRange represents key ownership
    let range = ShardRange { shard_id: 0, total_shards: 16 };
    assert!(range.contains(key_hash)); // key_hash % 16 == 0

    // Not in the reference: a shard of that configuration (a node alone begins with one replica).
    let coordinator = MultiRaftBuilder::new(1).shards_like(&config).build_and_init().await?;
    let shard: Shard = coordinator.shard(shard_id).expect("one of 16");
    assert_eq!(shard.config(), Some(config.with_replicas(1)));
    assert_eq!(shard.config().map(|config| config.range()), Some(range));
    coordinator.put("key", "value").await?;
    let info = shard.info().expect("joined");
    described(&info);
    coordinator.shutdown().await;
    Ok(())
}

/// The fields of the reference's `ShardInfo`, all of them, with its types.
fn described(info: &ShardInfo) {
    let ShardInfo { shard_id, state, leader, members, entry_count, size_bytes, term, commit_index } = info.clone();
    let typed: (ShardId, ShardState, Option<NodeId>, Vec<NodeId>, u64, u64, u64, u64) =
        (shard_id, state, leader, members, entry_count, size_bytes, term, commit_index);
    println!("{typed:?} is {}", lifecycle(typed.1));
}

/// The variants of the reference's `ShardState`, all of them.
fn lifecycle(state: ShardState) -> &'static str {
    match state {
        ShardState::Initializing => "starting up",
        ShardState::Active => "serving requests",
        ShardState::Transferring => "rebalancing data",
        ShardState::Removing => "being decommissioned",
        ShardState::Stopped => "shut down",
    }
}
