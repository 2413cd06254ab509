//! Logs in RocksDB: one database for all replicas of a node, one write batch and one sync per turn of a worker.
//!
//! A data directory holds `LOCK` (one process at a time), `MARK` (how much was synced, see `mark`) and the database in
//! `log/`; [`CheckpointManager`](crate::storage::CheckpointManager) has a folder of its own beside them. Each worker's writer has a [`RocksLane`]: its batches are numbered and counted in the database itself, so
//! that a batch that vanished is noticed wherever in the write-ahead log it was:
//!
//! - a lane's number is above its count: a batch in the middle is missing;
//! - its number is below its mark: acknowledged batches at the end are missing.
//!
//! Both damage all logs at once, for nobody can say whose batches they were (PROTOCOL 19); so does what RocksDB itself
//! cannot read of its write-ahead log or its manifest.

mod directory;
mod identity;
mod lane;
mod load;
mod mark;
mod options;
mod record;
mod steps;
#[cfg(test)]
mod tests;
mod wal;
mod write;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rocksdb::{BoundColumnFamily, DB, ErrorKind, WriteBatch};

pub use self::{
    directory::{has_earlier_life, retire, set_aside},
    lane::RocksLane,
    record::Identity,
};
use self::{
    lane::Lane,
    mark::Mark,
    record::Bounds,
    steps::{Direct, Steps},
};
use super::{Damage, Holding, RecoveredLog, StoreError};
use crate::{
    error::chain,
    types::{GroupId, Incarnation, NodeId, ReplicaId},
};

/// The database's folder.
const DATABASE: &str = "log";
/// The lane of what is not a worker's: the identity, and nothing else.
const CONTROL: u16 = 0;

/// How logs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether a write returns only after the disk has it.
    ///
    /// Without, a write returns once the operating system has it. The end of the process alone then loses nothing, also
    /// when it is killed. A power failure or a crash of the system may lose the last seconds: acknowledged writes, and
    /// votes, so that even the promises of other nodes that still have theirs are broken. When such a crash leaves a later
    /// part and not an earlier one, that is seen at the next start, and all logs of the node are [damaged](StoreError::Damaged).
    /// Synced all the same are the beginnings and ends of replicas, who the node is, and everything by
    /// [`RocksLogs::sync`] at the end of a process.
    pub sync_writes: bool,
    /// Writers that will have a lane each; at most [`MAX_LANES`](Self::MAX_LANES). It may be another number at each start.
    pub lanes: u16,
    /// Entries in memory before they are sorted into a file; a few of these may be there at once.
    pub memtable_bytes: usize,
    /// The write-ahead log's length, which bounds the time of a start.
    pub wal_bytes: u64,
}

impl LogOptions {
    /// So many lanes a data directory has room for.
    pub const MAX_LANES: u16 = mark::LANES - 1;
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
    /// The life of its data from now on, unless it has entered a cluster; random.
    pub new_incarnation: Incarnation,
}

/// The open store of one node. The lanes keep it open, too.
pub struct RocksLogs {
    shared: Arc<Shared>,
    control: Lane,
    identity: Identity,
    birth: Option<Vec<u8>>,
    lanes: u16,
}

/// What all lanes use.
struct Shared {
    path: PathBuf,
    db: DB,
    mark: Mark,
    sync_writes: bool,
    replicas: Mutex<Replicas>,
    /// The number of each lane's last batch that was written, synced or not.
    written: Vec<AtomicU64>,
    steps: Box<dyn Steps>,
    /// The first failure of a write or sync: nothing is written after it.
    poison: OnceLock<String>,
    /// Given back last.
    _lock: File,
}

type Replicas = BTreeMap<GroupId, Replica>;

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
    /// Opens a data directory, or makes it when there is nothing. Logs are read by [`load`](Self::load), not here.
    ///
    /// As long as it has entered no cluster, each process is a new incarnation: an earlier one may have promised something
    /// while a cluster was formed, and has forgotten it (PROTOCOL 10, 11).
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::OtherNode`] and [`StoreError::Newer`] say whose the directory is;
    /// [`StoreError::Damaged`] that all of its logs are lost (see [`set_aside`]); [`StoreError::Io`] the rest.
    ///
    /// # Panics
    /// With more lanes than [`LogOptions::MAX_LANES`].
    pub fn open(path: &Path, claim: Claim, options: &LogOptions) -> Result<Self, StoreError> {
        Self::open_with(path, claim, options, Box::new(Direct))
    }

    /// As [`open`](Self::open), on a disk that is written to in another way.
    fn open_with(path: &Path, claim: Claim, options: &LogOptions, steps: Box<dyn Steps>) -> Result<Self, StoreError> {
        let most = LogOptions::MAX_LANES;
        assert!(options.lanes <= most, "{} lanes; there is room for {most}", options.lanes);
        let lock = directory::lock(path)?;
        let folder = path.join(DATABASE);
        let (mark, synced) = find_mark(path, &folder)?;
        let synced_by = |lane: u16| synced.get(usize::from(lane)).copied().unwrap_or(0);
        // The first batch is the identity: until it is marked, making the directory has not ended and may begin again.
        let is_complete = synced_by(CONTROL) > 0;
        if !is_complete && folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| StoreError::io("remove", &folder, error))?;
        }
        let db = if is_complete {
            wal::check(path, &folder)?;
            reopen_database(path, &folder, options)?
        } else {
            open_database(path, &folder, options, true)?
        };
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            db,
            mark,
            steps,
            sync_writes: options.sync_writes,
            replicas: Mutex::default(),
            written: (0..mark::LANES).map(|_| AtomicU64::default()).collect(),
            poison: OnceLock::new(),
            _lock: lock,
        });
        shared.check_lanes(synced_by)?;
        let control = Lane::new(CONTROL, shared.lane_number(CONTROL)?);
        let new = Identity { node: claim.node, incarnation: claim.new_incarnation, cluster: None };
        let (identity, birth) = if is_complete { shared.read_identity()? } else { (new, None) };
        if identity.node != claim.node {
            let (found, expected) = (identity.node, claim.node);
            return Err(StoreError::OtherNode { path: path.to_owned(), found, expected });
        }
        let mut logs = Self { control, identity, birth, lanes: options.lanes, shared };
        if identity.cluster.is_none() {
            logs.begin_life(new)?;
        }
        *logs.shared.replicas.lock() = logs.shared.read_replicas()?;
        Ok(logs)
    }

    /// What this node holds or has held of each group, in their order.
    #[must_use]
    pub fn groups(&self) -> Vec<(GroupId, Holding)> {
        self.shared.groups()
    }

    /// As [`LogStore::load`](super::LogStore::load); several threads may read several groups at once.
    ///
    /// # Errors
    /// [`Damage`]: the replica must never serve or vote again.
    pub fn load(&self, group: GroupId) -> Result<Option<RecoveredLog>, Damage> {
        self.shared.load(group)
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
        self.shared.or_poison(self.shared.sync_all())
    }
}

impl Shared {
    fn groups(&self) -> Vec<(GroupId, Holding)> {
        self.replicas.lock().iter().map(|(group, replica)| (*group, replica.holding())).collect()
    }

    fn holding(&self, group: GroupId) -> Option<Holding> {
        self.replicas.lock().get(&group).map(Replica::holding)
    }

    fn family(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(name).expect("opened with every family")
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        self.steps.write(&self.db, batch, sync).map_err(|error| self.io("write", error))
    }

    fn mark(&self, lane: u16, synced: u64) -> Result<(), StoreError> {
        self.steps.mark(&self.mark, lane, synced).map_err(|error| StoreError::io("write", self.mark.path(), error))
    }

    fn sync_mark(&self) -> Result<(), StoreError> {
        let synced = self.steps.sync_mark(&self.mark);
        self.or_poison(synced.map_err(|error| StoreError::io("sync", self.mark.path(), error)))
    }

    /// Syncs what every lane has written up to now.
    fn sync_all(&self) -> Result<(), StoreError> {
        let written: Vec<u64> = self.written.iter().map(|number| number.load(Ordering::SeqCst)).collect();
        self.steps.sync(&self.db).map_err(|error| self.io("sync", error))?;
        for (lane, number) in (0..).zip(written).filter(|(_, number)| *number > 0) {
            self.mark(lane, number)?;
        }
        self.sync_mark()
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

    fn io(&self, operation: &'static str, error: io::Error) -> StoreError {
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

/// The file that says what was synced, and what it says by lane; a new one if there is nothing else either.
fn find_mark(path: &Path, folder: &Path) -> Result<(Mark, Vec<u64>), StoreError> {
    let damaged = |what: &str| StoreError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let Some((mark, synced)) = Mark::open(path)? else {
        if folder.exists() {
            return Err(damaged("MARK is missing"));
        }
        return Ok((Mark::create(path)?, Vec::new()));
    };
    let (control, lanes) = synced.split_first().unwrap_or((&0, &[]));
    if *control == 0 && lanes.iter().any(|synced| *synced > 0) {
        return Err(damaged("MARK has forgotten the node's identity"));
    }
    if *control > 0 && !folder.join("CURRENT").exists() {
        return Err(damaged("the database is missing"));
    }
    Ok((mark, synced))
}

/// Opens a database that is there. A torn end is dropped; whether something that was synced went with it, the lanes know.
fn reopen_database(path: &Path, folder: &Path, options: &LogOptions) -> Result<DB, StoreError> {
    match open_database(path, folder, options, false) {
        Err(StoreError::Damaged { path: damaged, what }) => {
            if wal::cut_torn_end(folder).map_err(|error| StoreError::io("cut", folder, error))? {
                open_database(path, folder, options, false)
            } else {
                Err(StoreError::Damaged { path: damaged, what })
            }
        }
        opened => opened,
    }
}

fn open_database(path: &Path, folder: &Path, options: &LogOptions, create: bool) -> Result<DB, StoreError> {
    let opened = DB::open_cf_descriptors(&options::database(options, create), folder, options::families(options));
    opened.map_err(|error| {
        if is_damage(&error) {
            return StoreError::Damaged { path: path.to_owned(), what: error.to_string() };
        }
        StoreError::io("open", folder, error)
    })
}

/// Whether files are not what was written. All else may pass (too many open files, say): nothing is given up for it.
fn is_damage(error: &rocksdb::Error) -> bool {
    match error.kind() {
        ErrorKind::Corruption => true,
        // A file that the manifest names is gone: only the system's own words tell.
        ErrorKind::IOError => error.as_ref().contains("No such file or directory"),
        // The manifest has lost its end.
        ErrorKind::InvalidArgument => error.as_ref().contains("Column family not found"),
        _ => false,
    }
}
