//! Checkpoint files: the whole state of a replica at one index, in the format of [`crate::checkpoint`].
//!
//! A file appears under its name at once and whole: it is written under another name, synced, renamed, and the directory
//! synced. The newest [`KEPT`] of a replica stay, so that damage to one leaves another; the log is needed from the older
//! of them on. Whoever opens a [`CheckpointManager`] owns the directory (the lock of the data directory sees to that);
//! [`scan`] and [`CheckpointReader`] only look.
//!
//! What must never happen: a file under a checkpoint's name that was not whole when it got the name; a log cut behind
//! a checkpoint whose directory was not synced; anything written after a sync has failed.

mod background;
mod config;
mod draft;
mod error;
mod files;
mod index;
mod load;
mod name;
mod pace;
mod read;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

pub use self::{
    background::{BackgroundWriter, CheckpointSink, Report},
    config::CheckpointConfig,
    draft::{Draft, Published},
    error::{CheckpointError, ReadError, Step},
    files::{DiskFiles, Files, Listed, OutFile},
    load::{Damage, LoadError, LoadedCheckpoint, Owner, Recovered},
    name::CheckpointId,
    read::CheckpointReader,
};
use self::{error::Attempt, index::Index, name::FileName};
use crate::types::{GroupId, LogIndex, ReplicaId};

/// How many checkpoints of a replica are kept.
pub const KEPT: usize = 2;

/// A published checkpoint, as the directory lists it. Whether it is sound shows only when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Whose and when, by its name.
    pub id: CheckpointId,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// When it was written, in milliseconds since the Unix epoch, where the file system knows.
    pub modified_ms: Option<u64>,
}

/// The checkpoints of one directory: makes, finds and removes them. Clones share it.
#[derive(Clone, Debug)]
pub struct CheckpointManager {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: CheckpointConfig,
    files: Arc<dyn Files>,
    index: Mutex<Index>,
    /// Set when a sync has failed: what is on the disk is no longer known, and a later sync that succeeds proves nothing.
    poisoned: AtomicBool,
    /// Names drafts apart.
    drafts: AtomicU64,
}

impl CheckpointManager {
    /// Opens the directory, which is made if it is not there, and removes what a crash has left half-written.
    ///
    /// # Errors
    /// When the directory can't be made, listed, cleaned or synced.
    pub fn open(config: CheckpointConfig) -> Result<Self, CheckpointError> {
        Self::open_with(config, Arc::new(DiskFiles))
    }

    /// As [`open`](Self::open), on other files than the system's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(config: CheckpointConfig, files: Arc<dyn Files>) -> Result<Self, CheckpointError> {
        let (index, poisoned, drafts) = (Mutex::default(), AtomicBool::new(false), AtomicU64::new(0));
        let manager = Self { shared: Arc::new(Shared { config, files, index, poisoned, drafts }) };
        manager.shared.take_stock()?;
        Ok(manager)
    }

    /// Where the files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.config.dir
    }

    /// The settings that it was opened with.
    #[must_use]
    pub fn config(&self) -> &CheckpointConfig {
        &self.shared.config
    }

    /// Begins a checkpoint that the caller writes itself, at full speed: for a snapshot that came in and that the
    /// replica waits for. Checkpoints of its own go through a [`BackgroundWriter`].
    ///
    /// # Errors
    /// When its file can't be created, or after a failed sync.
    pub fn begin(&self, id: CheckpointId) -> Result<Draft, CheckpointError> {
        Draft::create(Arc::clone(&self.shared), id)
    }

    /// What is published, by replica and index.
    ///
    /// # Errors
    /// When the directory can't be listed.
    pub fn list(&self) -> Result<Vec<CheckpointFile>, CheckpointError> {
        scan(self.shared.files.as_ref(), self.dir())
    }

    /// The replicas that any file here belongs to. Those that this node no longer has are to be
    /// [forgotten](Self::forget).
    #[must_use]
    pub fn replicas(&self) -> BTreeSet<(GroupId, ReplicaId)> {
        self.shared.index.lock().replicas()
    }

    /// Removes every file of a replica that was destroyed. Drafts of it must be over: give a [`BackgroundWriter`] the
    /// task where there is one.
    ///
    /// # Errors
    /// When a file can't be removed.
    pub fn forget(&self, group: GroupId, replica: ReplicaId) -> Result<(), CheckpointError> {
        let published = self.shared.published(group, replica).into_iter().map(FileName::Published);
        let damaged = self.shared.damaged(group, replica).into_iter().map(FileName::Damaged);
        published.chain(damaged).try_for_each(|name| self.shared.remove(name))
    }

    /// The newest sound checkpoint of a replica, whole, and what was found damaged on the way to it. Damaged files are
    /// set aside under a name of their own until two sound ones have taken their place.
    ///
    /// Whether the log goes on from it without a gap is for the caller to see (PROTOCOL 17).
    ///
    /// # Errors
    /// [`LoadError`]: when a file can't be opened or set aside, or is not for this build or this cluster. An older file is
    /// no way out of these.
    pub fn newest(&self, owner: &Owner) -> Result<Recovered, LoadError> {
        self.shared.newest(owner)
    }
}

/// The published checkpoints in a directory, by replica and index; changes nothing, so it may look at a directory that
/// a node uses. Other files are passed over.
///
/// # Errors
/// When the directory can't be listed.
pub fn scan(files: &dyn Files, dir: &Path) -> Result<Vec<CheckpointFile>, CheckpointError> {
    let published = |Listed { name, bytes, modified_ms }| match FileName::parse(&name)? {
        FileName::Published(id) => Some(CheckpointFile { id, path: dir.join(name), bytes, modified_ms }),
        FileName::Draft(..) | FileName::Damaged(_) => None,
    };
    let mut found: Vec<_> = files.list(dir).during(Step::List, dir)?.into_iter().filter_map(published).collect();
    found.sort_unstable_by_key(|file| file.id);
    Ok(found)
}

impl Shared {
    fn path(&self, name: &FileName) -> PathBuf {
        self.config.dir.join(name.to_string())
    }

    /// Makes the directory, learns what is in it, and removes drafts that a crash has left.
    ///
    /// What is seen is made durable before anybody relies on it: a process that was killed may have left a name that
    /// the disk does not have yet, and a log that is reset to that checkpoint must not outlive it.
    fn take_stock(&self) -> Result<(), CheckpointError> {
        let dir = &self.config.dir;
        self.files.create_dir(dir).during(Step::CreateDirectory, dir)?;
        for listed in self.files.list(dir).during(Step::List, dir)? {
            match FileName::parse(&listed.name) {
                Some(name @ FileName::Draft(..)) => self.remove(name)?,
                Some(name @ (FileName::Published(_) | FileName::Damaged(_))) => self.index.lock().add(name),
                None => {}
            }
        }
        self.files.sync_dir(dir).during(Step::SyncDirectory, dir)
    }

    /// The published checkpoints of a replica, the newest first.
    fn published(&self, group: GroupId, replica: ReplicaId) -> Vec<CheckpointId> {
        self.index.lock().published(group, replica)
    }

    fn damaged(&self, group: GroupId, replica: ReplicaId) -> Vec<CheckpointId> {
        self.index.lock().damaged(group, replica)
    }

    /// Gives a file another name.
    fn rename(&self, from: FileName, to: FileName) -> Result<(), CheckpointError> {
        let (old, new) = (self.path(&from), self.path(&to));
        self.files.rename(&old, &new).during(Step::Rename, &new)?;
        let mut index = self.index.lock();
        index.remove(from);
        index.add(to);
        Ok(())
    }

    /// Removes a file; one that is gone already is no error.
    fn remove(&self, name: FileName) -> Result<(), CheckpointError> {
        let path = self.path(&name);
        match self.files.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).during(Step::Remove, &path),
            Ok(()) | Err(_) => {
                self.index.lock().remove(name);
                Ok(())
            }
        }
    }

    /// Removes what the newest checkpoints of a replica have made useless, and says up to where they make its log so.
    /// There is no hurry: what can't be removed now is tried again after the next checkpoint.
    fn prune(&self, group: GroupId, replica: ReplicaId) -> Option<LogIndex> {
        let published = self.published(group, replica);
        let oldest = published.get(KEPT - 1)?;
        let useless = published.iter().skip(KEPT).copied().map(FileName::Published);
        let damaged = self.damaged(group, replica).into_iter().map(FileName::Damaged);
        for name in useless.chain(damaged) {
            if let Err(error) = self.remove(name) {
                tracing::warn!(%group, error = &error as &dyn std::error::Error, "an old checkpoint stays for now");
            }
        }
        Some(oldest.index)
    }

    /// Notes a failure after which nothing on the disk is certain.
    fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }
}
