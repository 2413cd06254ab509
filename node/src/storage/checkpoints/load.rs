//! Finds the newest sound checkpoint of a replica, and falls back to the older.

use super::{CheckpointError, CheckpointId, CheckpointReader, ReadError, Shared, name::FileName};
use crate::{
    checkpoint::{Head, Part},
    machine::store::Entry,
    types::{ClusterUid, GroupId, ReplicaId},
};

/// Whose state is looked for, as the log store knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterUid,
    /// The group.
    pub group: GroupId,
    /// The life of the group.
    pub generation: u64,
    /// Its replica on this node.
    pub replica: ReplicaId,
}

/// What recovery begins with.
#[derive(Debug)]
pub struct Recovered {
    /// The newest sound checkpoint, if there is any.
    pub checkpoint: Option<LoadedCheckpoint>,
    /// Newer ones that are not sound, the newest first. If a needed one is among them, the log does not go on from
    /// what is left, and the replica is damaged (PROTOCOL 17, 19).
    pub damaged: Vec<Damage>,
}

/// A checkpoint that was read to its end and found sound.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// Which.
    pub id: CheckpointId,
    /// All but the entries.
    pub head: Head,
    /// The entries, for [`Machine::restore`](crate::machine::Machine::restore).
    pub entries: Vec<Entry>,
}

/// A published checkpoint that is not what was written.
#[derive(Debug)]
pub struct Damage {
    /// Which.
    pub id: CheckpointId,
    /// What shows it.
    pub error: ReadError,
}

/// Why a replica's checkpoints can't be looked for at all. The node must not start on them.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A damaged file can't be set aside.
    #[error("set the damaged {id} aside")]
    SetAside {
        /// Which.
        id: CheckpointId,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// A file can't be opened.
    #[error("load the {id}")]
    Open {
        /// Which.
        id: CheckpointId,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// Written by a newer release.
    #[error("load the {id}; start the release that wrote it, or a newer one")]
    Newer {
        /// Which.
        id: CheckpointId,
        /// What is new.
        #[source]
        source: ReadError,
    },
    /// Of another cluster.
    #[error("the {id} is of cluster {found}, this node's is {expected}; give this node its own directory")]
    OtherCluster {
        /// Which.
        id: CheckpointId,
        /// This node's.
        expected: ClusterUid,
        /// The file's.
        found: ClusterUid,
    },
}

impl Shared {
    pub(super) fn newest(&self, owner: &Owner) -> Result<Recovered, LoadError> {
        let mut damaged = Vec::new();
        for id in self.published(owner.group, owner.replica) {
            match self.load(id, owner) {
                Ok(checkpoint) if checkpoint.head.cluster != owner.cluster => {
                    let found = checkpoint.head.cluster;
                    return Err(LoadError::OtherCluster { id, expected: owner.cluster, found });
                }
                Ok(checkpoint) => return Ok(Recovered { checkpoint: Some(checkpoint), damaged }),
                Err(source @ ReadError::Open { .. }) => return Err(LoadError::Open { id, source }),
                Err(source @ ReadError::Newer { .. }) => return Err(LoadError::Newer { id, source }),
                Err(
                    error @ (ReadError::Io { .. }
                    | ReadError::Damaged { .. }
                    | ReadError::DamagedVersion { .. }
                    | ReadError::Misplaced { .. }),
                ) => {
                    // It must not count as one of the two that are kept; it stays for people to look at.
                    self.rename(FileName::Published(id), FileName::Damaged(id))
                        .map_err(|source| LoadError::SetAside { id, source })?;
                    damaged.push(Damage { id, error });
                }
            }
        }
        Ok(Recovered { checkpoint: None, damaged })
    }

    fn load(&self, id: CheckpointId, owner: &Owner) -> Result<LoadedCheckpoint, ReadError> {
        let path = self.path(&FileName::Published(id));
        let mut reader = CheckpointReader::open(self.files.as_ref(), &path)?;
        let (mut head, mut entries) = (None, Vec::new());
        while let Some(part) = reader.part()? {
            match part {
                Part::Head(found) => head = Some(*found),
                Part::Entries(more) => entries.extend(more),
                Part::End => {}
            }
        }
        let misplaced = |what| ReadError::Misplaced { path: path.clone(), what };
        let head = head.ok_or(misplaced("head"))?;
        let agrees = [
            ("group", head.group == id.group),
            ("index", head.index() == id.index),
            ("generation", head.generation == owner.generation || head.cluster != owner.cluster),
        ];
        match agrees.iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(misplaced(what)),
            None => Ok(LoadedCheckpoint { id, head, entries }),
        }
    }
}
