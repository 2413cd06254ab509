//! A node's data directory: opened when the node starts, read when it goes on in its old life, begun when it enters a
//! cluster (PROTOCOL 10, 11, 17, 19).
//!
//! Called by [`super::node`] alone. Every start opens the directory before anything else, for it says which life of the
//! node this is. A directory that was never in a cluster begins a new life at each start.

use std::{
    collections::BTreeMap,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crema_api::v1;
use parking_lot::Mutex;
use prost::Message as _;

use super::storage::DiskOptions;
use crate::{
    cluster::{ClusterMap, map::SUPPORTED_LEVELS},
    consensus::DiskLog,
    error::{Error, chain},
    machine::Machine,
    multiraft::{
        node::{Found, Restart, RestartedGroup, Restored},
        runtime::{Disk, Stores},
    },
    storage::{
        CheckpointManager, Claim, Holding, LogOptions, LogStore, RecoveredLog, RocksLogs, StoreError,
        checkpoints::{LoadedCheckpoint, Owner},
        rocks::{has_earlier_life, retire, set_aside},
    },
    types::{GroupId, Incarnation, NodeId, ReplicaId},
};

/// An open data directory.
pub(super) struct OpenDisk {
    dir: PathBuf,
    logs: RocksLogs,
    checkpoints: CheckpointManager,
    /// What this life began with; `None` until it enters a cluster.
    birth: Option<Arc<ClusterMap>>,
}

/// A replica that the disk has.
struct Held {
    group: GroupId,
    generation: u64,
    replica: ReplicaId,
}

impl OpenDisk {
    /// Opens a directory, or makes it. One whose logs are lost as a whole is set aside: the node comes back in a new life
    /// then, and what it held is rebuilt from the others.
    ///
    /// # Errors
    /// When it is another node's, another process has it, a newer release wrote it, or the system refuses.
    pub(super) fn open(options: &DiskOptions, node: NodeId, workers: u32) -> Result<Self, Error> {
        let dir = &options.data_dir;
        if workers > u32::from(LogOptions::MAX_LANES) {
            let reason = format!("{workers}; with a disk there can be {}", LogOptions::MAX_LANES);
            return Err(Error::Invalid { field: "workers", reason });
        }
        let disk = match Self::try_open(options, node, workers) {
            Err(StoreError::Damaged { what, .. }) => {
                give_up(dir, &what)?;
                Self::try_open(options, node, workers)
            }
            opened => opened,
        };
        disk.and_then(|disk| disk.check_directory()).map_err(|error| Error::Fatal(chain(&error)))
    }

    fn try_open(options: &DiskOptions, node: NodeId, workers: u32) -> Result<Self, StoreError> {
        let DiskOptions { data_dir, sync_writes, wal_bytes, memtable_bytes, checkpoints } = options;
        let log = LogOptions {
            sync_writes: *sync_writes,
            lanes: workers as u16,
            memtable_bytes: *memtable_bytes,
            wal_bytes: *wal_bytes,
        };
        let claim = Claim { node, new_incarnation: Incarnation(rand::random()) };
        let logs = RocksLogs::open(data_dir, claim, &log)?;
        let damaged = |what: String| StoreError::Damaged { path: data_dir.clone(), what };
        // Which replica it was is not known, so nobody could say whose promises are lost.
        let nameless = |(group, holding)| match holding {
            Holding::Damaged(damage) if damage.replica.is_none() => Some(damaged(format!("{group}: {damage}"))),
            Holding::Damaged(_) | Holding::Live { .. } | Holding::Gone { .. } => None,
        };
        if let Some(error) = logs.groups().into_iter().find_map(nameless) {
            return Err(error);
        }
        let read = |bytes: &[u8]| {
            let wire = v1::ClusterMap::decode(bytes).map_err(|error| damaged(format!("its first map: {error}")))?;
            ClusterMap::try_from(wire).map(Arc::new).map_err(|error| damaged(format!("its first map: {error}")))
        };
        let birth = logs.birth().map(read).transpose()?;
        let mut checkpoints = checkpoints.clone();
        if !checkpoints.dir.starts_with(data_dir) {
            // Neither the lock nor what is set aside covers it: another node or an earlier life may write there, too.
            checkpoints.dir.push(logs.identity().incarnation.to_string());
        }
        let folder = checkpoints.dir.clone();
        let checkpoints = CheckpointManager::open(checkpoints).map_err(|error| StoreError::Io {
            operation: "open the checkpoints in",
            path: folder,
            source: error.into(),
        })?;
        Ok(Self { dir: data_dir.clone(), logs, checkpoints, birth })
    }

    /// Whether the node has been in a cluster in an earlier life, and this one has not entered any.
    pub(super) fn is_reborn(&self) -> bool {
        self.birth.is_none() && has_earlier_life(&self.dir)
    }

    /// Which life of the node this is.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.logs.identity().incarnation
    }

    /// The newest map that the disk has whole; `None` when the node has not entered a cluster in this life.
    ///
    /// # Errors
    /// When its checkpoints can't be used at all, or this binary is too old or too new for the cluster.
    pub(super) fn map(&self) -> Result<Option<Arc<ClusterMap>>, Error> {
        let Some(birth) = &self.birth else { return Ok(None) };
        let mut map = birth.clone();
        let (_, live) = self.take_stock();
        if let Some(held) = live.iter().find(|held| held.group == GroupId::META) {
            let found = self.checkpoint(held)?;
            // A map that can't be read is found again, and reported, when the replica is.
            if let Some(Ok(newer)) = found.and_then(|found| found.head.map).map(ClusterMap::try_from) {
                map = Arc::new(newer);
            }
        }
        let (level, levels) = (map.feature_level, SUPPORTED_LEVELS);
        if !levels.supports(level) {
            return Err(Error::Fatal(format!(
                "{} is of a cluster at feature level {level}; this binary supports {} to {}: start the release that \
                 wrote it, or one between",
                self.dir.display(),
                levels.min,
                levels.max
            )));
        }
        Ok(Some(map))
    }

    /// What the runtime works with: all that this life has on the disk, or the beginning of a life that has just got this
    /// map. `progress` is told how many replicas are read, and of how many.
    ///
    /// # Errors
    /// When the directory can't be read or written; damage to one replica is part of the result.
    pub(super) fn begin<T: Stores>(
        &mut self,
        map: &Arc<ClusterMap>,
        stores: &T,
        progress: impl Fn(usize, usize) + Sync,
    ) -> Result<Disk<T::Store>, Error> {
        let restart = match &self.birth {
            Some(birth) => self.recover(birth.clone(), stores, progress)?,
            None => {
                // Of an earlier life whose log a person has removed: they must not be taken for this one's.
                if !self.checkpoints.replicas().is_empty() {
                    return Err(Error::Fatal(format!(
                        "{} holds checkpoints of an earlier life of this node: move them away",
                        self.checkpoints.dir().display()
                    )));
                }
                self.enter(map)?;
                Restart::fresh(map.clone())
            }
        };
        let lanes = self.logs.lanes().map_err(|error| Error::Fatal(chain(&error)))?;
        let logs = lanes.into_iter().map(|lane| Box::new(lane) as Box<dyn LogStore>).collect();
        Ok(Disk { logs, checkpoints: self.checkpoints.clone(), restart })
    }

    /// Notes durably in which cluster this life begins, before any of its replicas says a word.
    fn enter(&mut self, map: &Arc<ClusterMap>) -> Result<(), Error> {
        let bytes = v1::ClusterMap::from(map.as_ref()).encode_to_vec();
        self.logs.enter(map.uid, &bytes).map_err(|error| Error::Fatal(chain(&error)))?;
        self.birth = Some(map.clone());
        Ok(())
    }

    /// Reads every replica that is here, several at once.
    fn recover<T: Stores>(
        &self,
        birth: Arc<ClusterMap>,
        stores: &T,
        progress: impl Fn(usize, usize) + Sync,
    ) -> Result<Restart<T::Store>, Error> {
        let (held, live) = self.take_stock();
        self.forget_strangers(&live);
        let (next, done, total) = (AtomicUsize::new(0), AtomicUsize::new(0), live.len());
        let groups = Mutex::new(BTreeMap::new());
        progress(0, total);
        let work = || {
            while let Some(held) = live.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = self.read(held, stores)?;
                let Held { group, generation, replica } = *held;
                groups.lock().insert(group, RestartedGroup { replica, generation, found });
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
            Ok(())
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(total.max(1));
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let ended = |worker: thread::ScopedJoinHandle<'_, Result<(), Error>>| {
                worker.join().unwrap_or_else(|_| Err(Error::Fatal("a thread that read the logs panicked".to_owned())))
            };
            workers.into_iter().try_for_each(ended)
        })?;
        Ok(Restart { birth, groups: groups.into_inner(), held })
    }

    /// Leaves nothing in memory only. The runtime has stopped.
    pub(super) fn close(self) {
        if let Err(error) = self.logs.sync() {
            tracing::error!(error = chain(&error), "the logs were not synced at the end");
        }
    }

    /// This life is over for the cluster: the next start begins another one. The runtime has stopped.
    pub(super) fn retire(self) {
        let Self { dir, logs, .. } = self;
        drop(logs);
        match retire(&dir) {
            Ok(aside) => tracing::warn!(aside = %aside.display(), "the data of this life of the node is set aside"),
            // The next start is told again that this life is over.
            Err(error) => tracing::error!(error = chain(&error), "the data of this life of the node stays in place"),
        }
    }

    /// A life that has entered a cluster knows the map that it began with.
    fn check_directory(self) -> Result<Self, StoreError> {
        match (self.logs.identity().cluster, &self.birth) {
            (Some(cluster), Some(birth)) if birth.uid != cluster => {
                Err(StoreError::OtherCluster { path: self.dir, found: cluster, expected: birth.uid })
            }
            (Some(_) | None, _) => Ok(self),
        }
    }

    /// The highest replica that was ever here, by group; and those that are here.
    fn take_stock(&self) -> (BTreeMap<GroupId, ReplicaId>, Vec<Held>) {
        let (mut highest, mut live) = (BTreeMap::new(), Vec::new());
        for (group, holding) in self.logs.groups() {
            let (replica, generation) = match holding {
                Holding::Live { replica, generation } => (Some(replica), generation),
                Holding::Gone { highest: gone } => {
                    highest.insert(group, gone);
                    continue;
                }
                Holding::Damaged(damage) => (damage.replica, 0),
            };
            if let Some(replica) = replica {
                highest.insert(group, replica);
                live.push(Held { group, generation, replica });
            }
        }
        (highest, live)
    }

    /// Files of replicas that are not here any more: a crash came between the end of one and that of its files.
    fn forget_strangers(&self, live: &[Held]) {
        let is_here = |(group, replica)| live.iter().any(|held| (held.group, held.replica) == (group, replica));
        for (group, replica) in self.checkpoints.replicas().into_iter().filter(|id| !is_here(*id)) {
            if let Err(error) = self.checkpoints.forget(group, replica) {
                tracing::warn!(%group, %replica, error = chain(&error), "old checkpoints could not be removed");
            }
        }
    }

    fn read<T: Stores>(&self, held: &Held, stores: &T) -> Result<Found<T::Store>, Error> {
        let RecoveredLog { base, entries, hard_state, .. } = match self.logs.load(held.group) {
            Ok(Some(log)) => log,
            Ok(None) => return Ok(Found::Damaged("its log is gone".to_owned())),
            Err(damage) => return Ok(Found::Damaged(damage.to_string())),
        };
        let log = DiskLog { base, entries, hard_state: Some(hard_state) };
        let Some(LoadedCheckpoint { head, entries, id }) = self.checkpoint(held)? else {
            return Ok(Found::Sound { log, checkpoint: None });
        };
        let machine = match head.group.shard() {
            None => None,
            Some(_) => match Machine::restore(stores.make(held.group), &head.machine, entries.into_iter()) {
                Ok(machine) => Some(Box::new(machine)),
                Err(error) => return Ok(Found::Damaged(format!("{id}: {}", chain(&error)))),
            },
        };
        Ok(Found::Sound { log, checkpoint: Some(Box::new(Restored { head, machine })) })
    }

    /// The newest sound checkpoint of a replica.
    fn checkpoint(&self, held: &Held) -> Result<Option<LoadedCheckpoint>, Error> {
        let Some(birth) = &self.birth else { return Ok(None) };
        let Held { group, generation, replica } = *held;
        let owner = Owner { cluster: birth.uid, group, generation, replica };
        let found = self.checkpoints.newest(&owner).map_err(|error| Error::Fatal(chain(&error)))?;
        for damage in found.damaged {
            tracing::error!(id = %damage.id, error = chain(&damage.error), "a checkpoint is damaged; set aside");
        }
        Ok(found.checkpoint)
    }
}

fn give_up(dir: &Path, what: &str) -> Result<(), Error> {
    let aside = set_aside(dir).map_err(|error| Error::Fatal(chain(&error)))?;
    tracing::error!(
        dir = %dir.display(),
        what,
        aside = %aside.display(),
        "the data directory can't be believed as a whole and is set aside; this node comes back in a new life, and \
         what it held is rebuilt from the others"
    );
    Ok(())
}
