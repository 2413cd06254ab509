//! Settings of checkpoints, with the names of the library's reference (pure).

use std::{path::PathBuf, time::Duration};

use crate::checkpoint::{Compression, Triggers};

/// When checkpoints are made, where and how fast.
///
/// ```
/// use crema::CheckpointConfig;
///
/// let config = CheckpointConfig::new("./checkpoints").with_log_threshold(10_000).with_compression(true);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// Where the files are: a directory that nothing else writes to.
    pub dir: PathBuf,
    /// When one is due; by default after 10,000 log entries, 64 MiB of them, or an hour.
    pub triggers: Triggers,
    /// How entries are packed; by default with LZ4.
    pub compression: Compression,
    /// What is written in the background, of all shards together; `None` is no limit. 64 MiB/s by default.
    pub bytes_per_s: Option<u64>,
    /// What may wait in memory for the background writer before captures pause; 32 MiB by default.
    pub queue_bytes: u64,
}

impl CheckpointConfig {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            triggers: Triggers::default(),
            compression: Compression::default(),
            bytes_per_s: Some(64 << 20),
            queue_bytes: 32 << 20,
        }
    }

    /// A checkpoint of a shard is due after so many log entries (0 counts as 1).
    #[must_use]
    pub fn with_log_threshold(mut self, entries: u64) -> Self {
        self.triggers.log_entries = entries;
        self
    }

    /// A checkpoint of a shard is due after so many bytes of log entries (0 counts as 1).
    #[must_use]
    pub fn with_log_bytes_threshold(mut self, bytes: u64) -> Self {
        self.triggers.log_bytes = bytes;
        self
    }

    /// A checkpoint of a shard that has changed is due when the last one is so old; `None`: whatever its age.
    #[must_use]
    pub fn with_interval(mut self, interval: Option<Duration>) -> Self {
        self.triggers.interval = interval;
        self
    }

    /// Whether entries are LZ4-compressed.
    #[must_use]
    pub fn with_compression(mut self, compressed: bool) -> Self {
        self.compression = if compressed { Compression::Lz4 } else { Compression::Off };
        self
    }

    /// Background writing of all shards together takes no more than this; `None` is no limit.
    #[must_use]
    pub fn with_rate_limit(mut self, bytes_per_s: Option<u64>) -> Self {
        self.bytes_per_s = bytes_per_s;
        self
    }
}

#[test]
fn the_settings_of_the_reference() {
    let config = CheckpointConfig::new("d").with_log_threshold(5).with_compression(false).with_interval(None);
    let triggers = Triggers { log_entries: 5, log_bytes: 64 << 20, interval: None };
    assert_eq!((config.triggers, config.compression), (triggers, Compression::Off));
    assert_eq!(CheckpointConfig::new("d").triggers.log_entries, 10_000);
    assert_eq!(CheckpointConfig::new("d"), CheckpointConfig::new("d").with_compression(true));
}
