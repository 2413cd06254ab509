//! Logs in RocksDB: one database for all replicas of a node, one write batch and one sync per turn of a worker.
//!
//! A data directory holds `LOCK` (one process at a time), `MARK` (how much was synced, see `mark`) and the database in
//! `log/`. Each worker's writer has a [`RocksLane`]: its batches are numbered and counted in the database itself, so
//! that a batch that vanished is noticed wherever in the write-ahead log it was:
//!
//! - a lane's number is above its count: a batch in the middle is missing;
//! - its number is below its mark: acknowledged batches at the end are missing.
//!
//! Both damage all logs at once, for nobody can say whose batches they were (PROTOCOL 19); so does what RocksDB itself
//! cannot read of its write-ahead log or its manifest.

mod directory;
mod lane;
mod load;
mod mark;
mod options;
mod record;
#[cfg(test)]
mod tests;
mod write;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use rocksdb::{BoundColumnFamily, DB, ErrorKind, WriteBatch, WriteOptions};

pub use self::{directory::set_aside, lane::RocksLane, record::Identity};
use self::{lane::Lane, mark::Mark, record::Bounds};
use super::{Damage, Holding, StoreError};
use crate::types::{ClusterUid, GroupId, Incarnation, NodeId, ReplicaId};

/// The database's folder.
const DATABASE: &str = "log";
/// The lane of what is not a worker's: the identity, and nothing else.
const CONTROL: u16 = 0;

/// How logs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether a write returns only after the disk has it. Without, a power failure may lose what was acknowledged.
    pub sync_writes: bool,
    /// Writers that will have a lane each.
    pub lanes: u16,
    /// Entries in memory before they are sorted into a file; a few of these may be there at once.
    pub memtable_bytes: usize,
    /// The write-ahead log's length, which bounds the time of a start.
    pub wal_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { sync_writes: true, lanes: 1, memtable_bytes: 64 << 20, wal_bytes: 256 << 20 }
    }
}

/// Who opens a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node that must own it, or will.
    pub node: NodeId,
    /// The life of its data if the directory is new; random.
    pub new_incarnation: Incarnation,
}

/// The open store of one node. The lanes keep it open, too.
pub struct RocksLogs {
    shared: Arc<Shared>,
    control: Lane,
    identity: Identity,
    lanes: u16,
}

/// What all lanes use.
struct Shared {
    path: PathBuf,
    db: DB,
    mark: Mark,
    sync_writes: bool,
    replicas: Mutex<BTreeMap<GroupId, Replica>>,
    /// The first failure of a write or sync: nothing is written after it.
    poison: OnceLock<String>,
    /// Given back last.
    _lock: File,
}

/// What is known of a group's replica without reading its log.
#[derive(Clone, Debug)]
enum Replica {
    Live(Live),
    Gone { highest: ReplicaId },
    Damaged(Damage),
}

/// A replica that is here, as of the last batch that was begun.
#[derive(Clone, Copy, Debug)]
struct Live {
    replica: ReplicaId,
    generation: u64,
    bounds: Bounds,
    /// Term and vote, once they were written by this process.
    vote: Option<(u64, u64)>,
}

impl RocksLogs {
    /// Opens a data directory, or makes it when there is nothing. Logs are read by [`super::LogStore::load`], not here.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::OtherNode`] and [`StoreError::Newer`] say whose the directory is;
    /// [`StoreError::Damaged`] that all of its logs are lost (see [`set_aside`]); [`StoreError::Io`] the rest.
    pub fn open(path: &Path, claim: Claim, options: &LogOptions) -> Result<Self, StoreError> {
        assert!(options.lanes < mark::LANES, "{} lanes; there is room for {}", options.lanes, mark::LANES);
        let lock = directory::lock(path)?;
        let damaged = |what: &str| StoreError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let folder = path.join(DATABASE);
        let has_database = folder.join("CURRENT").exists();
        let (mark, synced) = match Mark::open(path)? {
            Some(found) => found,
            None if folder.exists() => return Err(damaged("MARK is missing")),
            None => (Mark::create(path)?, Vec::new()),
        };
        let synced_by = |lane: u16| synced.get(usize::from(lane)).copied().unwrap_or(0);
        // The first batch is the identity: until it is marked, making the directory has not ended and may begin again.
        let complete = synced_by(CONTROL) > 0;
        if complete && !has_database {
            return Err(damaged("the database is missing"));
        }
        if !complete && folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| StoreError::io("remove", &folder, error))?;
        }
        let db = open_database(path, &folder, options, !complete)?;
        let replicas = Mutex::default();
        let sync_writes = options.sync_writes;
        let shared =
            Shared { path: path.to_owned(), db, mark, sync_writes, replicas, poison: OnceLock::new(), _lock: lock };
        let shared = Arc::new(shared);
        let identity = if complete {
            shared.check_lanes(synced_by)?;
            shared.read_identity()?
        } else {
            Identity { node: claim.node, incarnation: claim.new_incarnation, cluster: None }
        };
        let mut logs =
            Self { control: Lane::new(CONTROL, synced_by(CONTROL)), identity, lanes: options.lanes, shared };
        logs.control.number = logs.shared.lane_number(CONTROL)?;
        if !complete {
            logs.write_identity(identity)?;
            logs.shared.mark.sync()?;
        }
        if identity.node != claim.node {
            let (found, expected) = (identity.node, claim.node);
            return Err(StoreError::OtherNode { path: path.to_owned(), found, expected });
        }
        *logs.shared.replicas.lock() = logs.shared.read_replicas()?;
        Ok(logs)
    }

    /// Whose directory it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Notes durably which cluster the node has entered; nothing is to do when it is noted already.
    ///
    /// # Errors
    /// [`StoreError::OtherCluster`] when it is another one.
    pub fn enter(&mut self, cluster: ClusterUid) -> Result<(), StoreError> {
        match self.identity.cluster {
            Some(found) if found == cluster => Ok(()),
            Some(found) => Err(StoreError::OtherCluster { path: self.shared.path.clone(), found, expected: cluster }),
            None => self.write_identity(Identity { cluster: Some(cluster), ..self.identity }),
        }
    }

    /// A handle for each writer, as many as [`LogOptions::lanes`]; to be called once.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a lane's record can't be read.
    pub fn lanes(&self) -> Result<Vec<RocksLane>, StoreError> {
        let lane = |id| {
            let lane = Lane::new(id, self.shared.lane_number(id)?);
            Ok(RocksLane::new(Arc::clone(&self.shared), lane))
        };
        (1..=self.lanes).map(lane).collect()
    }

    /// Makes everything that was written durable, whatever [`LogOptions::sync_writes`] says; for the end of a process.
    ///
    /// # Errors
    /// When that fails; the store is poisoned then.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.shared.check_poison()?;
        let synced = self.shared.db.flush_wal(true).map_err(|error| self.shared.io("sync", error));
        self.shared.or_poison(synced.and_then(|()| self.shared.mark.sync()))
    }

    fn write_identity(&mut self, identity: Identity) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(&self.shared.family(options::IDENTITY), record::NODE_KEY, record::node_record(&identity));
        self.control.commit(&self.shared, batch, true)?;
        self.identity = identity;
        Ok(())
    }
}

impl Shared {
    fn family(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(name).expect("opened with every family")
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|error| self.io("write", error))
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(first) => Err(StoreError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    /// Passes a result on; a failure ends all writing, whoever tries.
    fn or_poison<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            // Only the first failure tells why.
            let _ = self.poison.set(chain(error));
        }
        result
    }

    fn io(&self, operation: &'static str, error: rocksdb::Error) -> StoreError {
        StoreError::io(operation, &self.path.join(DATABASE), error)
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what }
    }
}

impl Replica {
    fn holding(&self) -> Holding {
        match self {
            Self::Live(Live { replica, generation, .. }) => {
                Holding::Live { replica: *replica, generation: *generation }
            }
            Self::Gone { highest } => Holding::Gone { highest: *highest },
            Self::Damaged(damage) => Holding::Damaged(damage.clone()),
        }
    }
}

fn open_database(path: &Path, folder: &Path, options: &LogOptions, create: bool) -> Result<DB, StoreError> {
    let opened = DB::open_cf_descriptors(&options::database(options, create), folder, options::families(options));
    opened.map_err(|error| match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged { path: path.to_owned(), what: error.to_string() },
        _ => StoreError::io("open", folder, error),
    })
}

/// An error with its causes, for what has to be told again later.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
