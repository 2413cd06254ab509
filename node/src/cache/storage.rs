//! Where a node keeps its logs, as a value: the doors of the configuration make it, the node wires what it says.
//!
//! It must compile in a build without RocksDB: whether that can be used is [`HAS_ROCKSDB`], and who asks for it in vain
//! is told so before anything is started.

use std::path::PathBuf;

use crate::{
    checkpoint::{Compression, Triggers},
    storage::CheckpointConfig,
};

/// Whether this build can keep logs on disk: crema was built with the feature `rocksdb`.
pub const HAS_ROCKSDB: bool = cfg!(feature = "rocksdb");

/// The folder of the checkpoints in a data directory, unless they are given another one.
const CHECKPOINTS: &str = "checkpoints";

/// Where a node keeps its logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// In memory: a node that restarts is rebuilt from the others.
    #[default]
    Memory,
    /// On disk: a node that restarts goes on from there.
    Disk(DiskOptions),
}

/// How a node uses its data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The directory; made if it is not there. One node owns it, for ever.
    pub data_dir: PathBuf,
    /// Whether a write is acknowledged only once the disk has it. Without, a power failure may lose what was
    /// acknowledged; the end of the process alone does not.
    pub sync_writes: bool,
    /// The length of the write-ahead log, which bounds the time of a start.
    pub wal_bytes: u64,
    /// Log entries in memory before they are sorted into a file; a few of these may be there at once.
    pub memtable_bytes: usize,
    /// When checkpoints are made, where and how fast.
    pub checkpoints: CheckpointConfig,
}

/// How the core makes checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CheckpointPolicy {
    pub(super) triggers: Triggers,
    pub(super) compression: Compression,
}

impl Storage {
    /// Of use for snapshots, too, in memory.
    pub(super) fn checkpoints(&self) -> CheckpointPolicy {
        match self {
            Self::Memory => CheckpointPolicy::default(),
            Self::Disk(DiskOptions { checkpoints, .. }) => {
                CheckpointPolicy { triggers: checkpoints.triggers, compression: checkpoints.compression }
            }
        }
    }
}

impl DiskOptions {
    /// The defaults, in this directory; checkpoints in its folder `checkpoints`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let checkpoints = CheckpointConfig::new(data_dir.join(CHECKPOINTS));
        Self { data_dir, sync_writes: true, wal_bytes: 256 << 20, memtable_bytes: 64 << 20, checkpoints }
    }
}

#[cfg(all(test, feature = "rocksdb"))]
#[test]
fn the_defaults_are_those_of_the_log() {
    let DiskOptions { sync_writes, wal_bytes, memtable_bytes, .. } = DiskOptions::new("d");
    let log = crate::storage::LogOptions::default();
    assert_eq!((sync_writes, wal_bytes, memtable_bytes), (log.sync_writes, log.wal_bytes, log.memtable_bytes));
}
