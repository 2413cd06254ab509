//! "Checkpointing": settings, the format of the files, and recovery from them.

use crema::{
    CheckpointConfig, CheckpointManager,
    checkpoint::{ConfState, Encoder, Head, decode_all},
    machine::{Machine, codec::FEATURE_LEVEL, model::ModelStore},
    storage::checkpoints::CheckpointId,
    types::{ClusterUid, GroupId, LogIndex, ReplicaId, Term},
};

use crate::rig::{Folder, Sample};

#[test]
fn settings() -> Sample {
    let config = CheckpointConfig::new("./checkpoints")
        .with_log_threshold(10_000) // Checkpoint after 10K log entries
        .with_compression(true); // Enable LZ4 compression

    // Snapshots are automatically created based on configured triggers

    // Not in the reference: they are the defaults, and a manager takes them, in a folder that is removed again.
    assert_eq!(config, CheckpointConfig::new("./checkpoints"));
    let folder = Folder::new("checkpoints");
    let manager = CheckpointManager::open(CheckpointConfig { dir: folder.join("checkpoints"), ..config })?;
    assert_eq!(manager.list()?, []);
    Ok(())
}

/// "Binary format with magic bytes "MCRS"", version and flags, index and term, CRC32.
#[test]
fn format() -> Sample {
    let folder = Folder::new("format");
    let manager = CheckpointManager::open(CheckpointConfig::new(folder.join("checkpoints")))?;
    let mut machine = Machine::new(ModelStore::new());
    let head = Head {
        term: Term(7),
        cluster: ClusterUid(1),
        group: GroupId(1),
        generation: 1,
        feature_level: FEATURE_LEVEL,
        conf: ConfState { voters: vec![ReplicaId(1)], ..ConfState::default() },
        machine: machine.begin_capture(),
        ..Head::default()
    };
    let (encoder, header) = Encoder::with_compression(&head, manager.config().compression);
    let mut draft = manager.begin(CheckpointId { group: GroupId(1), replica: ReplicaId(1), index: LogIndex(0) })?;
    draft.write(&header)?;
    draft.write(&encoder.finish()?)?;
    draft.publish()?;

    let [file] = &manager.list()?[..] else { panic!("one file") };
    let mut bytes = std::fs::read(&file.path)?;
    assert_eq!(&bytes[..4], b"MCRS");
    let (read, entries) = decode_all(&bytes)?;
    assert_eq!((read.term, read.index(), entries.len()), (Term(7), LogIndex(0), 0));
    // No bit of it may be another one.
    for at in 0..bytes.len() {
        bytes[at] ^= 1;
        assert!(decode_all(&bytes).is_err(), "byte {at}");
        bytes[at] ^= 1;
    }
    Ok(())
}

/// "Recovery Process": the latest checkpoint, then the log behind it.
#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn recovery() -> Sample {
    use crema::{CacheConfig, DistributedCache, RaftStorageType};

    use crate::rig::{ports, until};

    let (folder, [address]) = (Folder::new("recovery"), ports());
    let data_dir = folder.join("node1");
    let checkpoints =
        CheckpointConfig::new(data_dir.join("checkpoints")).with_log_threshold(10).with_rate_limit(None);
    let config = CacheConfig::new(1, address)
        .with_raft_storage_type(RaftStorageType::RocksDb)
        .with_data_dir(data_dir)
        .with_checkpoint_config(checkpoints.clone());
    let cache = DistributedCache::new(config.clone()).await?;
    for n in 0..50 {
        cache.put(format!("key:{n}"), format!("value {n}")).await?;
    }
    until("a checkpoint is counted", || {
        let made = cache.metrics().read("crema_checkpoints_total", &[]);
        made.is_some_and(|made| made.number() > 0.0)
    })
    .await;
    cache.put("last", "in the log").await?;
    cache.shutdown().await;

    // While no node uses the directory, anybody may look.
    let files = CheckpointManager::open(checkpoints)?.list()?;
    assert!(!files.is_empty());
    assert_eq!(&std::fs::read(&files[0].path)?[..4], b"MCRS");

    let cache = DistributedCache::new(config).await?;
    for n in 0..50 {
        let value = cache.consistent_get(format!("key:{n}").as_bytes()).await?;
        assert_eq!(value.as_deref(), Some(format!("value {n}").as_bytes()));
    }
    assert_eq!(cache.consistent_get(b"last").await?.as_deref(), Some(&b"in the log"[..]));
    cache.shutdown().await;
    Ok(())
}
