//! The store on real directories.

mod damage;
mod full_disk;
mod logs;
mod model;
mod records;
mod turns;
mod whose;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use raft::eraftpb::{Entry, HardState};

use super::*;
use crate::{
    consensus::{Persist, SnapshotPoint},
    storage::{LogStore, RecoveredLog},
    types::{ClusterUid, Draw, LogIndex},
};

/// A folder of its own, in memory where the system has such; gone with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("crema-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(name);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    /// A copy of a folder.
    fn copy_of(other: &Path) -> Self {
        let dir = Self::new();
        copy(other, &dir.0);
        dir
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

fn options() -> LogOptions {
    LogOptions { lanes: 2, memtable_bytes: 1 << 20, wal_bytes: 4 << 20, ..LogOptions::default() }
}

fn claim() -> Claim {
    Claim { node: NodeId(1), new_incarnation: Incarnation(7) }
}

fn try_open(dir: &Path) -> Result<(RocksLogs, Vec<RocksLane>), StoreError> {
    let logs = RocksLogs::open(dir, claim(), &options())?;
    let lanes = logs.lanes()?;
    Ok((logs, lanes))
}

fn open(dir: &Dir) -> (RocksLogs, Vec<RocksLane>) {
    try_open(&dir.0).expect("a sound directory")
}

const BASE: SnapshotPoint = SnapshotPoint { index: 1, term: 1 };

/// The first request of a replica.
fn birth(group: u32, replica: u64) -> Persist {
    Persist { replica: ReplicaId(replica), reset: Some(BASE), ..persist(group) }
}

fn entry(index: u64, term: u64, data: &str) -> Entry {
    Entry { index, term, data: data.to_owned().into(), context: "c".into(), ..Default::default() }
}

/// Entries of one term.
fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, &format!("{term}/{index}"))).collect()
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..Default::default() }
}

/// A request for replica 5 of a group.
fn persist(group: u32) -> Persist {
    let (group, replica) = (GroupId(group), ReplicaId(5));
    Persist { group, replica, generation: 3, reset: None, entries: Vec::new(), hard_state: None, truncate_to: None }
}

fn append(group: u32, entries: Vec<Entry>) -> Persist {
    let term = entries.last().expect("an entry").term;
    Persist { entries, hard_state: Some(hard_state(term, 5, 1)), ..persist(group) }
}

fn load(lane: &RocksLane, group: u32) -> RecoveredLog {
    lane.load(GroupId(group)).expect("a sound log").expect("a replica")
}

fn indexes(log: &RecoveredLog) -> Vec<(u64, u64)> {
    log.entries.iter().map(|entry| (entry.index, entry.term)).collect()
}
