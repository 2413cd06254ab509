use std::{net::SocketAddr, time::Duration};

use super::*;
use crate::cache::CacheConfig;

fn config() -> CacheConfig {
    CacheConfig::new(1, SocketAddr::from(([127, 0, 0, 1], 9_000)))
}

fn rocks() -> CacheConfig {
    config().with_raft_storage_type(RaftStorageType::RocksDb)
}

fn storage(config: CacheConfig) -> Result<Storage, Error> {
    Ok(config.into_options()?.storage)
}

/// The field and the reason of a refusal.
fn refusal(config: CacheConfig) -> (&'static str, String) {
    match storage(config) {
        Err(Error::Invalid { field, reason }) => (field, reason),
        other => panic!("it should be refused: {other:?}"),
    }
}

#[test]
fn memory_is_the_default() {
    assert_eq!(storage(config()), Ok(Storage::Memory));
    assert_eq!(storage(config().with_raft_storage_type(RaftStorageType::Memory)), Ok(Storage::Memory));
}

#[test]
fn what_does_nothing_in_memory_is_refused() {
    for (config, wrong) in [
        (config().with_data_dir("d"), "data_dir"),
        (config().with_checkpoint_config(CheckpointConfig::new("c")), "checkpoint_config"),
        (config().with_sync_writes(true), "sync_writes"),
    ] {
        let (field, reason) = refusal(config);
        assert_eq!(field, wrong);
        assert!(reason.contains("RaftStorageType::RocksDb"), "{reason}");
    }
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn a_build_without_rocksdb_says_what_to_do() {
    let (field, reason) = refusal(rocks().with_data_dir("d"));
    assert_eq!(field, "raft_storage_type");
    assert!(reason.contains("build crema with the feature rocksdb"), "{reason}");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_has_the_defaults_and_what_is_given() {
    assert_eq!(storage(rocks().with_data_dir("d")), Ok(Storage::Disk(DiskOptions::new("d"))));
    let checkpoints = CheckpointConfig::new("elsewhere").with_log_threshold(5).with_interval(None);
    let given = rocks().with_data_dir("d").with_sync_writes(false).with_checkpoint_config(checkpoints.clone());
    let wanted = DiskOptions { sync_writes: false, checkpoints, ..DiskOptions::new("d") };
    assert_eq!(storage(given), Ok(Storage::Disk(wanted)));
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_without_a_directory_is_refused() {
    assert_eq!(refusal(rocks()).0, "data_dir");
    assert_eq!(refusal(rocks().with_data_dir("")).0, "data_dir");
}

/// By the check itself, so that every build has it.
#[test]
fn bounds_that_nothing_can_keep_are_named() {
    let base = || CheckpointConfig::new("c");
    let options = |checkpoints| DiskOptions { checkpoints, ..DiskOptions::new("d") };
    assert_eq!(check(&options(base().with_interval(None).with_rate_limit(None))), Ok(()));
    for (checkpoints, wrong) in [
        (base().with_log_threshold(0), "triggers.log_entries"),
        (base().with_log_bytes_threshold(0), "triggers.log_bytes"),
        (base().with_interval(Some(Duration::ZERO)), "triggers.interval"),
        (base().with_rate_limit(Some(0)), "bytes_per_s"),
        (CheckpointConfig { queue_bytes: 0, ..base() }, "queue_bytes"),
        (CheckpointConfig::new(""), "dir"),
        (CheckpointConfig::new("d"), "dir"),
    ] {
        match check(&options(checkpoints)) {
            Err(Error::Invalid { field, .. }) => assert_eq!(field, format!("checkpoint_config.{wrong}")),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}
