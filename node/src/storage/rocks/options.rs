//! RocksDB set up for logs: written in order, read at a start only, deleted soon.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, InfoLogger, LogLevel,
    MergeOperands, Options,
};

use super::{
    LogOptions,
    record::{self, Kind},
};

/// Entries.
pub(super) const LOG: &str = "log";
/// Term, vote and commit index of each replica.
pub(super) const HARD_STATE: &str = "hard_state";
/// Who this node is, and which replicas are or were here.
pub(super) const IDENTITY: &str = "identity";
/// Where each log begins and ends, and what each lane has written.
pub(super) const META: &str = "meta";
/// RocksDB wants it; nothing is in it.
const DEFAULT: &str = "default";

/// Small records that are overwritten all the time: a flush leaves next to nothing.
const SMALL_MEMTABLE_BYTES: usize = 8 << 20;
/// Memtables of a family before writers wait for a flush.
const MEMTABLES: i32 = 4;
/// Files are open only while they are read: at a start and in compactions.
const OPEN_FILES: i32 = 256;
/// Nothing is read twice.
const CACHE_BYTES: usize = 4 << 20;
/// What was truncated goes at the first compaction: rarely, and a lot at once.
const LEVEL0_COMPACTION_FILES: i32 = 8;
/// No debt of compactions ever slows a writer down: truncation bounds what there is.
const LEVEL0_SLOWDOWN_FILES: i32 = 64;
const LEVEL0_STOP_FILES: i32 = 128;
/// A flush and a compaction at once: the cores are for the shards.
const BACKGROUND_JOBS: i32 = 2;
/// A few lines for each file.
const MANIFEST_BYTES: usize = 64 << 10;

/// Of the database as a whole.
pub(super) fn database(options: &LogOptions, create: bool) -> Options {
    let mut db = Options::default();
    db.create_if_missing(create);
    db.create_missing_column_families(create);
    db.set_paranoid_checks(true);
    // An incomplete record at the end was never acknowledged; a damaged one before it stops the start. No recycling: the
    // modes that recycle drop everything behind a flipped bit in silence (PROTOCOL 19).
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_recycle_log_file_num(0);
    // The lanes know what is missing. RocksDB tries again by itself after a failed sync and would note in its manifest what
    // a second one only seems to have brought to the disk; a start would then miss what was never acknowledged.
    db.set_track_and_verify_wals_in_manifest(false);
    db.set_max_total_wal_size(options.wal_bytes);
    db.set_db_write_buffer_size(options.memtable_bytes.saturating_mul(2));
    db.set_max_background_jobs(BACKGROUND_JOBS);
    db.set_max_open_files(OPEN_FILES);
    // There are a few files: a start is over before so many threads have begun.
    db.set_max_file_opening_threads(1);
    db.set_manifest_preallocation_size(MANIFEST_BYTES);
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, tell));
    db
}

/// What RocksDB has to say goes where everything goes that this process has to say.
fn tell(level: LogLevel, text: &str) {
    match level {
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => tracing::debug!("RocksDB: {text}"),
        LogLevel::Warn => tracing::warn!("RocksDB: {text}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!("RocksDB: {text}"),
    }
}

/// All families, with their own options.
pub(super) fn families(options: &LogOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let small = options.memtable_bytes.min(SMALL_MEMTABLE_BYTES);
    let mut meta = family(&cache, small);
    meta.set_merge_operator_associative("crema.add", add);
    vec![
        ColumnFamilyDescriptor::new(DEFAULT, family(&cache, small)),
        ColumnFamilyDescriptor::new(LOG, family(&cache, options.memtable_bytes)),
        ColumnFamilyDescriptor::new(HARD_STATE, family(&cache, small)),
        ColumnFamilyDescriptor::new(IDENTITY, family(&cache, small)),
        ColumnFamilyDescriptor::new(META, meta),
    ]
}

fn family(cache: &Cache, memtable_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    let mut family = Options::default();
    family.set_block_based_table_factory(&blocks);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size(memtable_bytes);
    family.set_max_write_buffer_number(MEMTABLES);
    family.set_level_zero_file_num_compaction_trigger(LEVEL0_COMPACTION_FILES);
    family.set_level_zero_slowdown_writes_trigger(LEVEL0_SLOWDOWN_FILES);
    family.set_level_zero_stop_writes_trigger(LEVEL0_STOP_FILES);
    family.set_soft_pending_compaction_bytes_limit(0);
    family.set_hard_pending_compaction_bytes_limit(0);
    family
}

/// The sum of a lane's counts; `None`, which RocksDB takes for corruption, when one of them is damaged.
fn add(key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let mut sum = 0_u64;
    for record in existing.into_iter().chain(operands) {
        sum = sum.checked_add(record::read_number(Kind::LaneCount, key, record).ok()?)?;
    }
    Some(record::number_record(Kind::LaneCount, key, sum))
}
