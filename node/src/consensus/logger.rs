//! raft-rs logs through slog; this hands its records to `tracing`, at debug level (they are internals).

use slog::{Drain, Logger, Never, OwnedKVList, Record, o};

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            slog::Level::Critical | slog::Level::Error => tracing::error!(target: "raft", "{}", record.msg()),
            slog::Level::Warning => tracing::warn!(target: "raft", "{}", record.msg()),
            slog::Level::Info | slog::Level::Debug | slog::Level::Trace => {
                tracing::debug!(target: "raft", "{}", record.msg());
            }
        }
        Ok(())
    }
}

/// A logger for raft-rs.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing.fuse(), o!())
}
