//! What the rest of the node asks of a store of logs, and how the store says no.

use std::{error::Error, path::PathBuf};

use raft::eraftpb::{Entry, HardState};

use crate::{
    consensus::{Persist, SnapshotPoint},
    types::{ClusterUid, GroupId, NodeId, ReplicaId},
};

/// The durable logs of this node's replicas.
///
/// One handle belongs to one writer; a group's writes all go through the same handle while the process lives. After a write
/// or sync that failed, and after a request that did not fit, the store is poisoned: nothing is written any more, because
/// what the disk holds is no longer known.
pub trait LogStore: Send {
    /// Makes what one turn asks durable, or several turns that queued up, one behind the other: all or none of it, with
    /// one sync, after which this returns.
    ///
    /// First come the ends of the `destroyed`: each deletes its group's log and leaves a tombstone, so that no id up to
    /// this one ever begins here again (PROTOCOL 11). That works on damaged logs, and for a replica that was never here;
    /// it does nothing when a later one is.
    ///
    /// Then the requests, in their order; a group may have several. One of a replica that is not here begins its life if
    /// it has a [`Persist::reset`], its id is above every one that was ever held in the group, and no replica of the
    /// group is here. One of a replica that this very call destroys is passed over: an earlier turn had asked for it.
    fn commit(&mut self, destroyed: &[(GroupId, ReplicaId)], batch: &[Persist]) -> Result<(), StoreError>;

    /// [`commit`](Self::commit) of requests alone.
    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.commit(&[], batch)
    }

    /// [`commit`](Self::commit) of one end alone.
    fn destroy(&mut self, group: GroupId, replica: ReplicaId) -> Result<(), StoreError> {
        self.commit(&[(group, replica)], &[])
    }

    /// What this node holds or has held of each group, in their order.
    fn groups(&self) -> Vec<(GroupId, Holding)>;

    /// What this node holds or has held of one group.
    fn holding(&self, group: GroupId) -> Option<Holding>;

    /// The whole log of the replica that is here; `None` when there is none. Each record is checked; a damaged log stays
    /// damaged until it is destroyed. Not to be asked while the group is written to.
    fn load(&self, group: GroupId) -> Result<Option<RecoveredLog>, Damage>;
}

/// A replica's log as the disk has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredLog {
    /// Whose log it is.
    pub replica: ReplicaId,
    /// The life of the group that it belongs to.
    pub generation: u64,
    /// The entry before the first one.
    pub base: SnapshotPoint,
    /// Without a gap, in terms that never fall.
    pub entries: Vec<Entry>,
    /// Its term is at least the last entry's, its commit within the log. That of `base` if none was ever written.
    pub hard_state: HardState,
}

/// What this node holds of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// A replica.
    Live {
        /// Its id, which is the highest that was ever here.
        replica: ReplicaId,
        /// The life of the group.
        generation: u64,
    },
    /// None any more.
    Gone {
        /// The highest id that was ever here.
        highest: ReplicaId,
    },
    /// A replica that must never serve or vote again.
    Damaged(Damage),
}

/// A replica's log that cannot be believed. The replica stops, is destroyed here, and is rebuilt from its peers under a new
/// id (PROTOCOL 19).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log of {group} is damaged: {what}")]
pub struct Damage {
    /// The group.
    pub group: GroupId,
    /// Whose log it is; `None` when just that cannot be read.
    pub replica: Option<ReplicaId>,
    /// Which record, and what is wrong with it.
    pub what: String,
}

/// Why a store could not be opened, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{} is in use by another process{}: stop it, or give this node a directory of its own", .path.display(), holder(.pid))]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The other process, when it says.
        pid: Option<u32>,
    },
    /// The directory was made for another node.
    #[error("{} belongs to node {found}, and this is node {expected}: start node {found} with it, or give this node its own directory", .path.display())]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        expected: NodeId,
    },
    /// The directory has been in another cluster.
    #[error("{} belongs to cluster {found}, not to {expected}: join that cluster, or give this node an empty directory", .path.display())]
    OtherCluster {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        found: ClusterUid,
        /// The cluster that it was to enter.
        expected: ClusterUid,
    },
    /// A later release wrote it.
    #[error(
        "{what} has format {found} and this build reads up to {supported}: use the release that wrote it, or a newer one"
    )]
    Newer {
        /// The directory or the record.
        what: String,
        /// Its format.
        found: u32,
        /// The newest that this build reads.
        supported: u32,
    },
    /// What is damaged cannot be assigned to one group, so none of the logs can be believed (PROTOCOL 19).
    #[error("the logs in {} are damaged as a whole: {what}; set the directory aside and let the node join as a new incarnation", .path.display())]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// One replica's log cannot be believed.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A file or the database could not be opened, read or written.
    #[error("{operation} {}", .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the layer below says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An earlier write or sync has failed: what the disk holds is unknown until the process starts anew.
    #[error("nothing is written any more since a write failed: {first}")]
    Poisoned {
        /// The first failure.
        first: String,
    },
    /// The replica is not the one that is here.
    #[error("replica {replica} of {group} is not here{}", .held.map_or_else(String::new, |held| format!(", replica {held} is")))]
    NotHeld {
        /// The group.
        group: GroupId,
        /// Which was named.
        replica: ReplicaId,
        /// Which is here.
        held: Option<ReplicaId>,
    },
    /// The id is at or below one that this node has held (PROTOCOL 11).
    #[error("replica {replica} of {group} can't begin here: replica {highest} has been here, and ids only rise")]
    Reused {
        /// The group.
        group: GroupId,
        /// Which was to be created.
        replica: ReplicaId,
        /// The highest that has been here.
        highest: ReplicaId,
    },
    /// The request does not continue the log that is here: a bug of the caller.
    #[error("the log of {group} can't take that: {what}")]
    Misfit {
        /// The group.
        group: GroupId,
        /// What does not fit.
        what: String,
    },
}

impl StoreError {
    /// An operation on a file or folder that failed.
    #[cfg(feature = "rocksdb")]
    pub(super) fn io(
        operation: &'static str,
        path: &std::path::Path,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Io { operation, path: path.to_owned(), source: source.into() }
    }
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" ({pid})"))
}
