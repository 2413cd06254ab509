//! The steps that make a batch durable: all that can fail below a lane, so that tests can let each of them fail.

use std::io;

use rocksdb::{DB, WriteBatch, WriteOptions};

use super::mark::Mark;

/// How a disk is written to.
pub(super) trait Steps: Send + Sync {
    /// Writes a batch, and syncs it with all that was written before it if asked to.
    fn write(&self, db: &DB, batch: WriteBatch, sync: bool) -> io::Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        db.write_opt(batch, &options).map_err(io::Error::other)
    }

    /// Syncs all that was written.
    fn sync(&self, db: &DB) -> io::Result<()> {
        db.flush_wal(true).map_err(io::Error::other)
    }

    /// Notes that a lane's batches up to `number` are synced.
    fn mark(&self, mark: &Mark, lane: u16, number: u64) -> io::Result<()> {
        mark.set(lane, number)
    }

    /// Makes what was noted durable.
    fn sync_mark(&self, mark: &Mark) -> io::Result<()> {
        mark.sync()
    }
}

/// The disk as it is.
pub(super) struct Direct;

impl Steps for Direct {}
