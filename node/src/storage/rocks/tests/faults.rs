//! A write, a sync or a note of it that fails: the store stops, and what was acknowledged is there at the next start.

use std::io;

use rocksdb::DB;

use super::*;
use crate::storage::rocks::steps::{Direct, Steps};

/// Where it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing of the batch is written.
    Write,
    /// It is written, and whether the disk has it is not known.
    Sync,
    /// It is synced, and that can't be noted.
    Mark,
    /// It is noted, and whether the disk has the note is not known.
    SyncMark,
}

/// A disk that fails where it is told to.
#[derive(Clone, Default)]
struct Failing(Arc<Mutex<Option<Fault>>>);

impl Failing {
    fn plan(&self, fault: Option<Fault>) {
        *self.0.lock() = fault;
    }

    fn at(&self, fault: Fault) -> io::Result<()> {
        if *self.0.lock() == Some(fault) { Err(io::Error::other(format!("planted: {fault:?}"))) } else { Ok(()) }
    }

    fn open(&self, dir: &Dir, options: &LogOptions) -> (RocksLogs, Vec<RocksLane>) {
        let logs = RocksLogs::open_with(&dir.0, claim(), options, Box::new(self.clone())).expect("a sound directory");
        let lanes = logs.lanes().expect("lanes");
        (logs, lanes)
    }
}

impl Steps for Failing {
    fn write(&self, db: &DB, batch: WriteBatch, sync: bool) -> io::Result<()> {
        self.at(Fault::Write)?;
        let fails = if sync { self.at(Fault::Sync) } else { Ok(()) };
        Direct.write(db, batch, sync && fails.is_ok())?;
        fails
    }

    fn sync(&self, db: &DB) -> io::Result<()> {
        self.at(Fault::Sync)?;
        Direct.sync(db)
    }

    fn mark(&self, mark: &Mark, lane: u16, number: u64) -> io::Result<()> {
        self.at(Fault::Mark)?;
        Direct.mark(mark, lane, number)
    }

    fn sync_mark(&self, mark: &Mark) -> io::Result<()> {
        self.at(Fault::SyncMark)?;
        Direct.sync_mark(mark)
    }
}

type Operation = fn(&mut RocksLogs, &mut [RocksLane]) -> Result<(), StoreError>;

const APPEND: Operation = |_, lanes| lanes[0].write(&[append(1, entries(3..=4, 2)), append(2, entries(2..=2, 2))]);
const HARD_STATE: Operation =
    |_, lanes| lanes[1].write(&[Persist { hard_state: Some(hard_state(8, 5, 1)), ..persist(2) }]);
const BIRTH: Operation = |_, lanes| lanes[0].write(&[birth(3, 5)]);
const END: Operation = |_, lanes| lanes[0].destroy(GroupId(1), ReplicaId(5));
const ENTER: Operation = |logs, _| logs.enter(ClusterUid(0xaa), b"map");
const SYNC: Operation = |logs, _| logs.sync();

/// A directory with something acknowledged in it, then an operation, which may fail.
fn run(options: &LogOptions, operation: Operation, fault: Option<Fault>) -> (Dir, Result<(), StoreError>) {
    let (dir, disk) = (Dir::new(), Failing::default());
    let (mut logs, mut lanes) = disk.open(&dir, options);
    lanes[0].write(&[birth(1, 5), append(1, entries(2..=2, 2))]).expect("acknowledged");
    lanes[1].write(&[birth(2, 5)]).expect("acknowledged");
    disk.plan(fault);
    let result = operation(&mut logs, &mut lanes);
    // The disk is well again, and nobody believes it.
    disk.plan(None);
    if let Err(error) = &result {
        let first = chain(error);
        let poisoned = |result: Result<(), StoreError>| match result {
            Err(StoreError::Poisoned { first: told }) => assert_eq!(told, first),
            other => panic!("{other:?} after {first}"),
        };
        poisoned(lanes[0].write(&[persist(1)]));
        poisoned(lanes[1].write(&[birth(9, 5)]));
        poisoned(lanes[1].destroy(GroupId(2), ReplicaId(5)));
        poisoned(logs.enter(ClusterUid(0xaa), b"map"));
        poisoned(logs.sync());
    }
    (dir, result)
}

#[test]
fn after_a_failed_step_nothing_is_written_and_nothing_acknowledged_is_lost() {
    let options = options();
    let written = [APPEND, HARD_STATE, BIRTH, END, ENTER];
    let in_a_batch = [Fault::Write, Fault::Sync, Fault::Mark];
    let cases = written.into_iter().flat_map(|operation| in_a_batch.map(|fault| (operation, fault)));
    let at_the_end = [Fault::Sync, Fault::Mark, Fault::SyncMark].map(|fault| (SYNC, fault));
    let before = run(&options, |_, _| Ok(()), None).0;
    let before = read(&before.0).expect("sound");
    for (operation, fault) in cases.chain(at_the_end) {
        let (dir, result) = run(&options, operation, None);
        result.expect("no fault is planned");
        let after = read(&dir.0).expect("sound");
        let (dir, result) = run(&options, operation, Some(fault));
        let error = chain(&result.expect_err("planned"));
        assert!(error.ends_with(&format!("planted: {fault:?}")), "{error}");
        let found = read(&dir.0).expect("sound");
        // What was written comes back here, where only the process ends. It was not acknowledged, and may as well not.
        let want = if fault == Fault::Write { &before } else { &after };
        assert_eq!(&found, want, "{error}");
    }
}

fn unsynced() -> LogOptions {
    LogOptions { sync_writes: false, ..options() }
}

#[test]
fn without_sync_writes_no_turn_is_synced_and_every_life_is() {
    for operation in [APPEND, HARD_STATE] {
        let (dir, result) = run(&unsynced(), operation, Some(Fault::Sync));
        result.expect("no sync is tried");
        let synced = run(&options(), operation, None).0;
        assert_eq!(
            read(&dir.0).expect("sound"),
            read(&synced.0).expect("sound"),
            "a process that ends loses nothing"
        );
    }
    for operation in [BIRTH, END, ENTER, SYNC] {
        run(&unsynced(), operation, Some(Fault::Sync)).1.expect_err("a sync is tried");
    }
}

#[test]
fn without_sync_writes_the_end_of_the_log_may_go_until_a_sync_at_the_end() {
    for sync_at_the_end in [false, true] {
        let dir = Dir::new();
        let (mut logs, mut lanes) = Failing::default().open(&dir, &unsynced());
        lanes[0].write(&[birth(1, 5), append(1, entries(2..=2, 2)), birth(2, 5)]).expect("births");
        let synced = wal(&dir.0).1.len();
        (APPEND)(&mut logs, &mut lanes).expect("a turn");
        if sync_at_the_end {
            (SYNC)(&mut logs, &mut lanes).expect("synced");
        }
        drop((logs, lanes));
        // The power fails, and this is all that the disk has.
        let (path, bytes) = wal(&dir.0);
        assert!(synced < bytes.len(), "it was written");
        fs::write(path, &bytes[..synced]).expect("a shorter log");
        match read(&dir.0) {
            Ok((_, sound, damaged)) => {
                assert!(!sync_at_the_end && damaged.is_empty(), "it was promised");
                assert_eq!(indexes(&sound[&GroupId(1)]), [(2, 2)]);
            }
            Err(StoreError::Damaged { what, .. }) => {
                assert!(sync_at_the_end, "{what}");
                assert_eq!(what, "2 batches of lane 1 were synced, 1 are there");
            }
            Err(error) => panic!("{}", chain(&error)),
        }
    }
}
