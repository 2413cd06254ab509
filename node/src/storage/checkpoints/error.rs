//! What can go wrong with checkpoint files, by what was being done.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::name::CheckpointId;
use crate::checkpoint::DecodeError;

/// What was being done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The directory was being made.
    CreateDirectory,
    /// The directory was being listed.
    List,
    /// The file was being created.
    Create,
    /// Bytes were being written.
    Write,
    /// Bytes were being forced to the disk.
    Sync,
    /// The file was getting its name.
    Rename,
    /// The name was being forced to the disk.
    SyncDirectory,
    /// Bytes were being read.
    Read,
    /// The file was being removed.
    Remove,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateDirectory => "create directory",
            Self::List => "list",
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::SyncDirectory => "sync directory",
            Self::Read => "read",
            Self::Remove => "remove",
        })
    }
}

/// Why a checkpoint was not published. Those published before are as they were.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{step} {}", path.display())]
    Io {
        /// What.
        step: Step,
        /// Of which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A sync has failed before in this process.
    #[error(
        "no checkpoint is written any more: a sync has failed, so what is on the disk is not known; check the disk and restart the node"
    )]
    Poisoned,
    /// The first bytes are not a checkpoint's.
    #[error("{id} begins with no sound head")]
    Head {
        /// What was being written.
        id: CheckpointId,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The bytes are those of another checkpoint, or there are too few.
    #[error("{id} was given the bytes of another checkpoint, or none")]
    OtherHead {
        /// What was being written.
        id: CheckpointId,
    },
}

impl CheckpointError {
    /// Whether the disk can't be trusted any more: the node must stop (PROTOCOL 20). Otherwise nothing has changed,
    /// and the next try may succeed, for instance once a full disk has room again.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Io { step, .. } => match step {
                Step::Sync | Step::Rename | Step::SyncDirectory => true,
                Step::CreateDirectory | Step::List | Step::Create | Step::Write | Step::Read | Step::Remove => false,
            },
            Self::Poisoned => true,
            Self::Head { .. } | Self::OtherHead { .. } => false,
        }
    }
}

/// Why a checkpoint file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file can't be opened; this says nothing of its bytes.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk does not give the bytes back.
    #[error("read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing is broken, but a newer release wrote it.
    #[error("{} is not for this release", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What is new.
        #[source]
        source: DecodeError,
    },
    /// It is not what was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What shows it.
        #[source]
        source: DecodeError,
    },
    /// The format's version alone was changed: all else is sound as this build wrote it.
    #[error("{} is damaged: its format version is {found}, the rest is sound as another", path.display())]
    DamagedVersion {
        /// The file.
        path: PathBuf,
        /// What it says now.
        found: u16,
    },
    /// It is sound, but not what its name and its owner say.
    #[error("{} is damaged: its {what} is not that of its name and owner", path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

/// Says what was being attempted.
pub(super) trait Attempt<T> {
    /// Names the step and the file of an I/O error.
    fn during(self, step: Step, path: &Path) -> Result<T, CheckpointError>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn during(self, step: Step, path: &Path) -> Result<T, CheckpointError> {
        self.map_err(|source| CheckpointError::Io { step, path: path.to_owned(), source })
    }
}
