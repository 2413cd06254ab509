//! The store on real directories.

mod damage;
mod faults;
mod files;
mod full_disk;
mod golden;
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
    LogOptions { lanes: 2, memtable_bytes: 256 << 10, wal_bytes: 1 << 20, ..LogOptions::default() }
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

/// What a directory holds, as far as a node would believe it.
type Logs = BTreeMap<GroupId, RecoveredLog>;
/// Who the node is, and the map that it began with.
type Who = (Identity, Option<Vec<u8>>);

/// All that there is.
type Found = (Who, Logs, Vec<Damage>);

/// Everything or an error: of the whole directory, or of the replicas.
fn read(dir: &Path) -> Result<Found, StoreError> {
    let logs = RocksLogs::open(dir, claim(), &options())?;
    let (mut sound, mut damaged) = (Logs::new(), Vec::new());
    for (group, _) in logs.groups() {
        match logs.load(group) {
            Ok(Some(log)) => drop(sound.insert(group, log)),
            Ok(None) => {}
            Err(damage) => damaged.push(damage),
        }
    }
    Ok(((logs.identity(), logs.birth().map(<[u8]>::to_vec)), sound, damaged))
}

/// A small directory: every kind of record, several batches, two lanes.
fn small() -> Dir {
    let dir = Dir::new();
    let (mut logs, mut lanes) = open(&dir);
    logs.enter(ClusterUid(0xaa), b"map").expect("a cluster");
    lanes[0].write(&[birth(1, 5)]).expect("a birth");
    lanes[1].write(&[birth(2, 5)]).expect("a birth");
    lanes[0].write(&[append(1, entries(2..=4, 2))]).expect("a turn");
    lanes[1].write(&[append(2, entries(2..=3, 2))]).expect("a turn");
    lanes[0].write(&[append(1, entries(4..=4, 3))]).expect("a turn");
    drop((logs, lanes));
    dir
}

/// The path and the bytes of the only write-ahead log that is not empty.
fn wal(dir: &Path) -> (PathBuf, Vec<u8>) {
    let paths = fs::read_dir(dir.join(DATABASE)).expect("files").map(|file| file.expect("a file").path());
    let logs = paths.filter(|path| path.extension().is_some_and(|end| end == "log"));
    let mut logs: Vec<_> = logs.map(|path| (path.clone(), fs::read(path).expect("a log"))).collect();
    logs.retain(|(_, bytes)| !bytes.is_empty());
    assert_eq!(logs.len(), 1);
    logs.remove(0)
}

/// All files, by their name from the directory on.
fn files(dir: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        let found = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file"));
        let files = found.filter(|file| file.path().is_file());
        files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
    };
    let database = names(&dir.join(DATABASE)).into_iter().map(|name| format!("{DATABASE}/{name}"));
    let mut all: Vec<_> = names(dir).into_iter().chain(database).collect();
    all.sort();
    all
}

/// Whether a file only tells people something, or is there to be locked: nothing reads it.
fn is_idle(name: &str) -> bool {
    ["LOCK", "log/LOCK", "log/LOG", "log/OPTIONS", "log/IDENTITY"].iter().any(|idle| name.starts_with(idle))
}

fn remove_idle_files(dir: &Path) {
    let names = files(dir);
    let idle = names.iter().filter(|name| is_idle(name));
    idle.for_each(|name| fs::remove_file(dir.join(name)).expect("removed"));
}
