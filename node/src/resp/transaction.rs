//! What a connection has under way between `WATCH` and `EXEC`: watched keys and queued commands, both bounded.
//!
//! Nothing of it is known to a shard until `EXEC` sends it as one guarded command.

use std::{mem, sync::Arc};

use parking_lot::Mutex;

use super::args::Args;
use crate::types::{Key, ShardId, Version};

/// As many as one log entry should carry out at a time.
pub(super) const MAX_QUEUED_COMMANDS: usize = 10_000;
/// Words of the queued commands; with what each adds it still fits one log entry.
pub(super) const MAX_QUEUED_BYTES: usize = 9 << 20;
/// Each is compared in the log.
pub(super) const MAX_WATCHED_KEYS: usize = 1_000;
/// Of all watched keys together.
pub(super) const MAX_WATCHED_BYTES: usize = 1 << 20;

/// Keys, each with the version that was seen; `None` is absent.
pub(super) type Watches = Vec<(Key, Option<Version>)>;

/// A connection's transaction, if any.
#[derive(Default)]
pub(super) struct Transaction {
    queue: Option<Queue>,
    watched: Watched,
}

/// The watched keys. Shared with the `WATCH` that is under way, which adds what it has read; no command behind it is
/// planned before that.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Watches>>);

/// Commands behind `MULTI`.
#[derive(Default)]
pub(super) struct Queue {
    /// Each by its place in the table, and its words.
    pub(super) commands: Vec<(usize, Args)>,
    bytes: usize,
    /// The shard of its keys, once there is one.
    shard: Option<ShardId>,
    /// One of them could not be queued.
    pub(super) is_broken: bool,
}

/// Why a command can't be queued.
pub(super) enum Full {
    Commands,
    Bytes,
}

impl Transaction {
    /// Between `MULTI` and its end.
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    pub(super) fn begin(&mut self) {
        self.queue = Some(Queue::default());
    }

    /// A command was refused while queueing: `EXEC` will refuse all.
    pub(super) fn spoil(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.is_broken = true;
        }
    }

    /// Ends it: what was queued, and what was watched.
    pub(super) fn end(&mut self) -> Option<(Queue, Watches)> {
        let queue = self.queue.take()?;
        Some((queue, self.watched.take()))
    }

    pub(super) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// The commands queued so far; `None` outside of a transaction.
    pub(super) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.commands.len())
    }

    /// Takes the shard of a key into account; whether it is that of all others.
    pub(super) fn is_at(&mut self, shard: ShardId) -> bool {
        match &mut self.queue {
            Some(queue) => *queue.shard.get_or_insert(shard) == shard,
            None => true,
        }
    }

    /// Queues a command.
    pub(super) fn push(&mut self, command: usize, args: &Args) -> Result<(), Full> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        if queue.commands.len() >= MAX_QUEUED_COMMANDS {
            return Err(Full::Commands);
        }
        let bytes = queue.bytes + args.wire_bytes();
        if bytes > MAX_QUEUED_BYTES {
            return Err(Full::Bytes);
        }
        queue.bytes = bytes;
        // What is broken is never carried out, so its commands need no memory.
        if !queue.is_broken {
            queue.commands.push((command, args.detached()));
        }
        Ok(())
    }
}

impl Watched {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Whether so many more keys, of so many bytes together, would be too much.
    pub(super) fn is_full_with(&self, keys: usize, bytes: usize) -> bool {
        let watched = self.0.lock();
        let held: usize = watched.iter().map(|(key, _)| key.len()).sum();
        watched.len() + keys > MAX_WATCHED_KEYS || held + bytes > MAX_WATCHED_BYTES
    }

    /// A key that is watched already keeps the version that was seen first.
    pub(super) fn add(&self, key: Key, version: Option<Version>) {
        let mut watched = self.0.lock();
        if !watched.iter().any(|(known, _)| *known == key) {
            watched.push((key, version));
        }
    }

    /// One of the keys: all are of its shard.
    pub(super) fn any(&self) -> Option<Key> {
        self.0.lock().first().map(|(key, _)| key.clone())
    }

    pub(super) fn take(&self) -> Watches {
        mem::take(&mut *self.0.lock())
    }
}
