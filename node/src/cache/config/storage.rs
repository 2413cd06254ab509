//! The storage part of [`CacheConfig`](super::CacheConfig): what the reference names, checked into a [`Storage`].

use std::path::PathBuf;

use crate::{
    cache::storage::{DiskOptions, HAS_ROCKSDB, Storage},
    checkpoint::Triggers,
    error::Error,
    storage::CheckpointConfig,
};

/// Where the Raft logs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RaftStorageType {
    /// In memory. A node that restarts has nothing; it joins again and is rebuilt from the others.
    #[default]
    Memory,
    /// In RocksDB, in the data directory ([`with_data_dir`](super::CacheConfig::with_data_dir)). Needs the feature
    /// `rocksdb`.
    RocksDb,
}

/// What was asked for, before it is known whether it makes sense together.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) kind: RaftStorageType,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) checkpoints: Option<CheckpointConfig>,
    pub(super) sync_writes: Option<bool>,
}

impl Wanted {
    /// The checked form.
    pub(super) fn into_storage(self) -> Result<Storage, Error> {
        match self.kind {
            RaftStorageType::Memory => self.memory(),
            RaftStorageType::RocksDb if !HAS_ROCKSDB => invalid(
                "raft_storage_type",
                "RocksDb, which this build has not: build crema with the feature rocksdb",
            ),
            RaftStorageType::RocksDb => self.disk(),
        }
    }

    /// A setting that does nothing is a mistake: whoever gave it believes that there is a disk.
    fn memory(self) -> Result<Storage, Error> {
        let Self { kind: _, data_dir, checkpoints, sync_writes } = self;
        let useless = [
            ("data_dir", data_dir.is_some()),
            ("checkpoint_config", checkpoints.is_some()),
            ("sync_writes", sync_writes.is_some()),
        ];
        match useless.into_iter().find(|(_, given)| *given) {
            Some((field, _)) => invalid(field, "given, but the storage is memory; it needs RaftStorageType::RocksDb"),
            None => Ok(Storage::Memory),
        }
    }

    fn disk(self) -> Result<Storage, Error> {
        let Self { kind: _, data_dir, checkpoints, sync_writes } = self;
        let Some(data_dir) = data_dir.filter(|dir| !dir.as_os_str().is_empty()) else {
            return invalid("data_dir", "missing; RaftStorageType::RocksDb keeps its log there");
        };
        let defaults = DiskOptions::new(data_dir);
        let options = DiskOptions {
            sync_writes: sync_writes.unwrap_or(defaults.sync_writes),
            checkpoints: checkpoints.unwrap_or(defaults.checkpoints),
            ..defaults
        };
        check(&options)?;
        Ok(Storage::Disk(options))
    }
}

/// Refuses bounds that nothing could keep, and a folder that has two owners.
fn check(options: &DiskOptions) -> Result<(), Error> {
    let CheckpointConfig { dir, triggers, compression: _, bytes_per_s, queue_bytes } = &options.checkpoints;
    let Triggers { log_entries, log_bytes, interval } = triggers;
    if dir.as_os_str().is_empty() || *dir == options.data_dir {
        let reason = format!("{dir:?}; checkpoints need a directory that nothing else writes to");
        return invalid("checkpoint_config.dir", reason);
    }
    let zeros = [
        ("checkpoint_config.triggers.log_entries", *log_entries == 0),
        ("checkpoint_config.triggers.log_bytes", *log_bytes == 0),
        ("checkpoint_config.queue_bytes", *queue_bytes == 0),
    ];
    if let Some((field, _)) = zeros.into_iter().find(|(_, zero)| *zero) {
        return invalid(field, "0; it must be at least 1");
    }
    let optional = [
        ("checkpoint_config.triggers.interval", interval.is_some_and(|interval| interval.is_zero())),
        ("checkpoint_config.bytes_per_s", *bytes_per_s == Some(0)),
    ];
    match optional.into_iter().find(|(_, zero)| *zero) {
        Some((field, _)) => invalid(field, "0; it must be more, or None for no bound"),
        None => Ok(()),
    }
}

fn invalid<T>(field: &'static str, reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid { field, reason: reason.into() })
}

#[cfg(test)]
mod tests;
