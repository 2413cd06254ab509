//! The flags of `start` that say where logs are kept.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, value_parser};
use crema::{CheckpointConfig, cache::DiskOptions};

use super::parse::duration;

/// The heading of the flags of checkpoints.
const CHECKPOINTS: &str = "Storage: checkpoints";

/// Where logs are kept. All but `--storage` are of use on disk only; the defaults are those of [`DiskOptions::new`].
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct StorageFlags {
    /// Where the logs are. With `memory` a node that restarts is rebuilt from the others; with `rocksdb` it goes on from its
    /// data directory.
    #[arg(long, value_enum, default_value_t = StorageKind::Memory, env = "CREMA_STORAGE")]
    pub(crate) storage: StorageKind,
    /// The data directory, for the logs and checkpoints of this node alone. Made if it is not there.
    #[arg(long, env = "CREMA_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Whether a write is acknowledged only once the disk has it. Without, a power failure may lose what was acknowledged.
    #[arg(long, default_value_t = defaults().sync_writes, action = clap::ArgAction::Set, env = "CREMA_SYNC_WRITES")]
    pub(crate) sync_writes: bool,
    /// Length of the write-ahead log, in bytes; it bounds the time of a start. 1 MiB or more.
    #[arg(long, default_value_t = defaults().wal_bytes, value_parser = value_parser!(u64).range(1 << 20..), env = "CREMA_WAL_BYTES")]
    pub(crate) wal_bytes: u64,
    /// Bytes of log entries in memory before they are sorted into a file. 64 KiB to 4 GiB.
    #[arg(long, default_value_t = memtable_bytes(), value_parser = value_parser!(u64).range(64 << 10..=4 << 30), env = "CREMA_MEMTABLE_BYTES")]
    pub(crate) memtable_bytes: u64,
    /// A checkpoint of a shard is due after so many log entries.
    #[arg(long, help_heading = CHECKPOINTS, default_value_t = checkpoints().triggers.log_entries, value_parser = value_parser!(u64).range(1..), env = "CREMA_CHECKPOINT_ENTRIES")]
    pub(crate) checkpoint_entries: u64,
    /// A checkpoint of a shard is due after so many bytes of log entries.
    #[arg(long, help_heading = CHECKPOINTS, default_value_t = checkpoints().triggers.log_bytes, value_parser = value_parser!(u64).range(1..), env = "CREMA_CHECKPOINT_BYTES")]
    pub(crate) checkpoint_bytes: u64,
    /// A checkpoint of a shard that has changed is due when the last one is so old, as `30m` or `1h`; or `off`.
    #[arg(long, help_heading = CHECKPOINTS, default_value = "1h", value_parser = interval, env = "CREMA_CHECKPOINT_INTERVAL")]
    pub(crate) checkpoint_interval: Interval,
    /// How the entries of a checkpoint are packed.
    #[arg(long, help_heading = CHECKPOINTS, value_enum, default_value_t = Packing::Lz4, env = "CREMA_CHECKPOINT_COMPRESSION")]
    pub(crate) checkpoint_compression: Packing,
    /// Bytes a second that checkpoints of all shards together are written with; 0 is no limit.
    #[arg(long, help_heading = CHECKPOINTS, default_value_t = checkpoints().bytes_per_s.unwrap_or(0), env = "CREMA_CHECKPOINT_RATE")]
    pub(crate) checkpoint_rate: u64,
}

/// Where logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageKind {
    /// In memory.
    Memory,
    /// On disk.
    #[value(name = "rocksdb")]
    RocksDb,
}

/// How a checkpoint is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packing {
    /// With LZ4.
    Lz4,
    /// Not at all.
    Off,
}

/// A time, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Option<Duration>);

impl StorageFlags {
    /// What they say of a node whose data is here.
    pub(crate) fn disk(&self, data_dir: PathBuf) -> DiskOptions {
        let Self { storage: _, data_dir: _, sync_writes, wal_bytes, memtable_bytes, .. } = *self;
        let defaults = DiskOptions::new(data_dir);
        let rate = Some(self.checkpoint_rate).filter(|rate| *rate > 0);
        let checkpoints = defaults
            .checkpoints
            .with_log_threshold(self.checkpoint_entries)
            .with_log_bytes_threshold(self.checkpoint_bytes)
            .with_interval(self.checkpoint_interval.0)
            .with_compression(self.checkpoint_compression == Packing::Lz4)
            .with_rate_limit(rate);
        // The parser's bound fits every machine that has the memory.
        let memtable_bytes = usize::try_from(memtable_bytes).unwrap_or(usize::MAX);
        DiskOptions { data_dir: defaults.data_dir, sync_writes, wal_bytes, memtable_bytes, checkpoints }
    }
}

fn defaults() -> DiskOptions {
    DiskOptions::new("")
}

fn checkpoints() -> CheckpointConfig {
    defaults().checkpoints
}

fn memtable_bytes() -> u64 {
    defaults().memtable_bytes as u64
}

/// `off`, or a time above 0.
fn interval(text: &str) -> Result<Interval, String> {
    match text {
        "off" => Ok(Interval(None)),
        text => match duration(text).map_err(|wrong| format!("{wrong}; or off"))? {
            Duration::ZERO => Err("an interval is more than 0; write off for none".to_owned()),
            time => Ok(Interval(Some(time))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        flags: StorageFlags,
    }

    fn parse(line: &str) -> StorageFlags {
        let words = std::iter::once("x").chain(line.split_whitespace());
        <Only as clap::Parser>::try_parse_from(words).expect(line).flags
    }

    #[test]
    fn the_defaults_are_the_librarys() {
        assert_eq!(parse("").storage, StorageKind::Memory);
        assert_eq!(parse("--storage rocksdb").disk("d".into()), DiskOptions::new("d"));
    }

    #[test]
    fn every_flag_is_carried_on() {
        let flags = parse(
            "--sync-writes false --wal-bytes 1048577 --memtable-bytes 65537 --checkpoint-entries 3 --checkpoint-bytes 4 \
             --checkpoint-interval 2m --checkpoint-compression off --checkpoint-rate 5",
        );
        let checkpoints = DiskOptions::new("d")
            .checkpoints
            .with_log_threshold(3)
            .with_log_bytes_threshold(4)
            .with_interval(Some(Duration::from_secs(120)))
            .with_compression(false)
            .with_rate_limit(Some(5));
        let wanted = DiskOptions {
            data_dir: "d".into(),
            sync_writes: false,
            wal_bytes: 1_048_577,
            memtable_bytes: 65_537,
            checkpoints,
        };
        assert_eq!(flags.disk("d".into()), wanted);
        let unbound = parse("--checkpoint-interval off --checkpoint-rate 0").disk("d".into()).checkpoints;
        assert_eq!((unbound.triggers.interval, unbound.bytes_per_s), (None, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--storage disk",
            "--sync-writes maybe",
            "--wal-bytes 0",
            "--memtable-bytes 0",
            "--checkpoint-entries 0",
            "--checkpoint-bytes 0",
            "--checkpoint-interval 0s",
            "--checkpoint-interval never",
            "--checkpoint-compression zstd",
            "--checkpoint-rate -1",
        ] {
            let words = std::iter::once("x").chain(line.split_whitespace());
            assert!(<Only as clap::Parser>::try_parse_from(words).is_err(), "{line}");
        }
    }
}
