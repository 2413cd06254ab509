//! A checkpoint being written, and the steps that publish it.

use std::{path::PathBuf, sync::Arc, sync::atomic::Ordering};

use super::{CheckpointError, CheckpointId, OutFile, Shared, Step, error::Attempt, name::FileName};
use crate::{
    checkpoint::{Decoder, Part},
    types::LogIndex,
};

/// Bytes that wait in the system's cache at most: one sync of everything at the end would make the log's syncs wait.
const SYNC_EVERY_BYTES: u64 = 8 << 20;

/// A checkpoint under a name of its own that nobody takes for a checkpoint. Dropped unpublished, it is removed.
#[derive(Debug)]
pub struct Draft {
    shared: Arc<Shared>,
    id: CheckpointId,
    name: FileName,
    file: Box<dyn OutFile>,
    head: HeadCheck,
    bytes: u64,
    unsynced: u64,
    published: bool,
}

/// Whether the bytes are those of the checkpoint that they are published as.
#[derive(Debug)]
enum HeadCheck {
    Reading(Box<Decoder>),
    Right,
}

/// What came of a checkpoint that is now durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which.
    pub id: CheckpointId,
    /// Its length.
    pub bytes: u64,
    /// The index of the older of the two newest checkpoints: the log up to it (included) may go. `None` while there is
    /// only one, which must not be relied on alone.
    pub log_until: Option<LogIndex>,
}

impl Draft {
    pub(super) fn create(shared: Arc<Shared>, id: CheckpointId) -> Result<Self, CheckpointError> {
        if shared.is_poisoned() {
            return Err(CheckpointError::Poisoned);
        }
        let name = FileName::Draft(id, shared.drafts.fetch_add(1, Ordering::Relaxed));
        let path = shared.path(&name);
        let file = shared.files.create(&path).during(Step::Create, &path)?;
        let head = HeadCheck::Reading(Box::default());
        Ok(Self { shared, id, name, file, head, bytes: 0, unsynced: 0, published: false })
    }

    /// Which checkpoint it is to be.
    #[must_use]
    pub fn id(&self) -> CheckpointId {
        self.id
    }

    /// Appends the next bytes of the format, as an [`Encoder`](crate::checkpoint::Encoder) gives them. After an error
    /// the draft is of no more use.
    ///
    /// # Errors
    /// When the file can't be written or synced, or the bytes don't begin with this checkpoint's head.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.check_head(bytes)?;
        let path = self.path();
        self.file.write(bytes).during(Step::Write, &path)?;
        self.bytes += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES { self.sync() } else { Ok(()) }
    }

    /// Makes it the replica's newest checkpoint: once this returns, it outlives any crash. Older ones than the two
    /// newest are removed.
    ///
    /// The caller has written all pieces, the [footer](crate::checkpoint::Encoder::finish) last, and has synced the log
    /// up to this index (PROTOCOL 17).
    ///
    /// # Errors
    /// When it is not this checkpoint, or a step fails; see [`CheckpointError::is_fatal`].
    pub fn publish(mut self) -> Result<Published, CheckpointError> {
        match self.head {
            HeadCheck::Right => {}
            HeadCheck::Reading(_) => return Err(CheckpointError::OtherHead { id: self.id }),
        }
        self.sync()?;
        self.certain(self.shared.rename(self.name, FileName::Published(self.id)))?;
        self.published = true;
        let dir = &self.shared.config.dir;
        let synced = self.shared.files.sync_dir(dir).during(Step::SyncDirectory, dir);
        self.certain(synced)?;
        let log_until = self.shared.prune(self.id.group, self.id.replica);
        Ok(Published { id: self.id, bytes: self.bytes, log_until })
    }

    fn check_head(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        let id = self.id;
        let HeadCheck::Reading(decoder) = &mut self.head else { return Ok(()) };
        decoder.feed(bytes);
        match decoder.part().map_err(|source| CheckpointError::Head { id, source })? {
            Some(Part::Head(head)) if (head.group, head.index()) == (id.group, id.index) => {
                self.head = HeadCheck::Right;
                Ok(())
            }
            Some(Part::Head(_) | Part::Entries(_) | Part::End) => Err(CheckpointError::OtherHead { id }),
            None => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), CheckpointError> {
        let path = self.path();
        let synced = self.file.sync().during(Step::Sync, &path);
        self.unsynced = 0;
        self.certain(synced)
    }

    /// After a failure here the disk can't be trusted: the kernel may have dropped what it could not write.
    fn certain(&self, result: Result<(), CheckpointError>) -> Result<(), CheckpointError> {
        result.inspect_err(|_| self.shared.poison())
    }

    fn path(&self) -> PathBuf {
        self.shared.path(&self.name)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.shared.remove(self.name)
        {
            tracing::warn!(id = %self.id, %error, "an unfinished checkpoint could not be removed; the next start does it");
        }
    }
}
