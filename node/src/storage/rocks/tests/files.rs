//! Files that are no longer what was written: flipped bits, torn ends, missing ones. The result is the same as before, or
//! it is said what is damaged; never something else that looks right.

use std::thread;

use super::*;

/// A small directory as it is after a crash, all in its write-ahead log, and after the start that follows, sorted.
fn forms() -> [Dir; 2] {
    let (fresh, sorted) = (small(), small());
    drop(open(&sorted));
    [fresh, sorted]
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// All of the directory is damaged, or at least one replica, and what is not is as it was.
    Damage,
    /// Everything is as it was.
    Nothing,
}

/// Founds a copy of a directory with a change; anything wrong that is believed is a failure.
fn after(dir: &Path, want: &Found, change: impl Fn(&Path), told: &str) -> Seen {
    let copy = Dir::copy_of(dir);
    change(&copy.0);
    let (who, sound, damaged) = match read(&copy.0) {
        Ok(found) => found,
        Err(StoreError::Damaged { .. }) => return Seen::Damage,
        Err(error) => panic!("{told}: {}", chain(&error)),
    };
    assert_eq!(who, want.0, "{told}");
    for (group, log) in &sound {
        assert_eq!(Some(log), want.1.get(group), "{told}: a wrong value");
    }
    assert_eq!(sound.len() + damaged.len(), want.1.len(), "{told}: a replica has vanished");
    if damaged.is_empty() { Seen::Nothing } else { Seen::Damage }
}

fn sound(dir: &Path) -> Found {
    let want = read(&Dir::copy_of(dir).0).expect("sound");
    assert_eq!(want.2, [], "sound");
    want
}

/// Flips a bit of every second byte of a file, each for itself; which had no effect.
fn flip(dir: &Path, want: &Found, name: &str, first: usize) -> Vec<usize> {
    let good = fs::read(dir.join(name)).expect("a file");
    let seen = |at: usize| {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at / 2 % 8);
        let change = |copy: &Path| fs::write(copy.join(name), &flipped).expect("a flipped bit");
        after(dir, want, change, &format!("{name}, byte {at}"))
    };
    (first..good.len()).step_by(2).filter(|at| seen(*at) == Seen::Nothing).collect()
}

#[test]
fn every_flipped_byte_is_detected_or_harmless() {
    let [fresh, sorted] = forms();
    // These are as they were.
    let again = ["MARK", "log/CURRENT"];
    for (dir, but) in [(fresh, &[][..]), (sorted, &again)] {
        // What nothing reads is not worth a copy for every byte of the others.
        remove_idle_files(&dir.0);
        let want = sound(&dir.0);
        for name in files(&dir.0).into_iter().filter(|name| !but.contains(&&**name)) {
            let unnoticed = thread::scope(|scope| {
                let other = scope.spawn(|| flip(&dir.0, &want, &name, 1));
                [flip(&dir.0, &want, &name, 0), other.join().expect("no panic")].concat()
            });
            let bytes = fs::metadata(dir.0.join(&name)).expect("a file").len() as usize;
            eprintln!("{name}: {} of {bytes} bytes don't count", unnoticed.len());
            if name.ends_with(".sst") {
                // Some only describe the file, or its other parts once more; those of our records are all checked.
                assert!(unnoticed.len() < bytes, "{name}: nothing of it is checked");
            } else {
                assert_eq!(unnoticed, [0_usize; 0], "{name}");
            }
        }
    }
}

#[test]
fn every_other_type_of_a_record_is_detected() {
    // Some of them make RocksDB drop what follows, or read for ever.
    let dir = small();
    let want = sound(&dir.0);
    for name in files(&dir.0).into_iter().filter(|name| name.ends_with(".log") || name.contains("MANIFEST")) {
        let good = fs::read(dir.0.join(&name)).expect("a file");
        let mut at = 0;
        while let Some(header) = good.get(at..at + 7) {
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at + 6] ^= 1 << bit;
                let change = |copy: &Path| fs::write(copy.join(&name), &flipped).expect("a flipped bit");
                let told = format!("{name}, byte {at}, bit {bit}");
                assert_eq!(after(&dir.0, &want, change, &told), Seen::Damage, "{told}");
            }
            at += 7 + usize::from(u16::from_le_bytes([header[4], header[5]]));
        }
        assert_eq!(at, good.len(), "all records were seen");
    }
}

#[test]
fn files_that_nothing_reads_may_hold_or_lack_anything() {
    for dir in forms() {
        let want = sound(&dir.0);
        for name in files(&dir.0).into_iter().filter(|name| is_idle(name)) {
            let inverted = |copy: &Path| {
                let bytes: Vec<_> = fs::read(copy.join(&name)).expect("a file").iter().map(|byte| !byte).collect();
                fs::write(copy.join(&name), bytes).expect("inverted");
            };
            let gone = |copy: &Path| fs::remove_file(copy.join(&name)).expect("removed");
            assert_eq!(after(&dir.0, &want, inverted, &name), Seen::Nothing, "{name}");
            assert_eq!(after(&dir.0, &want, gone, &name), Seen::Nothing, "{name}");
        }
    }
}

#[test]
fn a_missing_file_is_damage_and_never_a_new_directory() {
    for dir in forms() {
        let want = sound(&dir.0);
        let vital = files(&dir.0).into_iter().filter(|name| !is_idle(name));
        for name in vital.chain([DATABASE.to_owned()]) {
            let path = dir.0.join(&name);
            let was_empty = path.is_file() && fs::metadata(&path).expect("a file").len() == 0;
            let gone = |copy: &Path| {
                let path = copy.join(&name);
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.expect("removed");
                // The first attempt to start leaves nothing that the second takes for the truth.
                drop(read(copy));
            };
            let seen = after(&dir.0, &want, gone, &name);
            assert!(seen == Seen::Damage || was_empty, "without {name}");
        }
    }
}

/// What a crash in the middle of the last write leaves of its file, from some byte on.
#[derive(Clone, Copy, Debug)]
enum Torn {
    /// Nothing.
    Cut,
    /// As many bytes as were to be written, and none of them.
    Zeros,
    /// One block of the disk's is missing, and what follows is there.
    Hole,
}

impl Torn {
    fn tear(self, bytes: &[u8], at: usize) -> Vec<u8> {
        let zeros = |count: usize| vec![0; count];
        let left = bytes.len() - at;
        match self {
            Self::Cut => bytes[..at].to_vec(),
            Self::Zeros => [bytes[..at].to_vec(), zeros(left)].concat(),
            Self::Hole => [&bytes[..at], &zeros(left.min(64)), &bytes[at + left.min(64)..]].concat(),
        }
    }
}

#[test]
fn a_torn_end_is_dropped_unless_it_was_synced() {
    let dir = Dir::new();
    let (logs, mut lanes) = open(&dir);
    lanes[0].write(&[birth(1, 5), append(1, entries(2..=3, 2))]).expect("a turn");
    let synced = Dir::copy_of(&dir.0);
    lanes[0].write(&[append(1, entries(3..=3, 3))]).expect("a turn");
    drop((logs, lanes));
    remove_idle_files(&dir.0);
    let (before, all) = (sound(&synced.0), sound(&dir.0));
    assert_ne!(before.1, all.1);
    let (path, bytes) = wal(&dir.0);
    let name = path.strip_prefix(&dir.0).expect("inside");
    let acknowledged = wal(&synced.0).1.len();
    let crash = |torn: Torn, at: usize| {
        let crashed = Dir::copy_of(&dir.0);
        let left = torn.tear(&bytes, at);
        // The process died in that write, so that the mark does not know it yet.
        fs::copy(synced.0.join("MARK"), crashed.0.join("MARK")).expect("the older mark");
        fs::write(crashed.0.join(name), &left).expect("a torn log");
        match read(&crashed.0) {
            Ok(found) if left == bytes => assert_eq!(found, all),
            Ok(found) => {
                assert!(at >= acknowledged, "{torn:?}: {at} of {acknowledged} bytes are enough");
                assert_eq!(found, before, "{torn:?} at {at}");
            }
            Err(StoreError::Damaged { .. }) => assert!(at < acknowledged, "{torn:?} at {at}"),
            Err(error) => panic!("{torn:?} at {at}: {}", chain(&error)),
        }
    };
    let len = bytes.len();
    assert!(acknowledged < len);
    thread::scope(|scope| {
        scope.spawn(|| (0..=len).for_each(|at| crash(Torn::Cut, at)));
        for torn in [Torn::Zeros, Torn::Hole] {
            let crash = &crash;
            scope.spawn(move || (acknowledged..len).step_by(3).for_each(|at| crash(torn, at)));
        }
    });
}

#[test]
fn records_that_follow_a_damaged_one_are_not_taken_for_its_torn_end() {
    // As after a power failure that took the newer marks with it, and left a flipped bit in what was synced.
    let dir = Dir::new();
    let (logs, mut lanes) = open(&dir);
    lanes[0].write(&[birth(1, 5)]).expect("a birth");
    let before = Dir::copy_of(&dir.0);
    let at = wal(&dir.0).1.len() + 20;
    // In the same block, and far behind it.
    for behind in [1, 40] {
        for index in 2..=2 + behind {
            let large = Entry { data: vec![7; 1 << 10].into(), ..entry(index, 2, "") };
            lanes[0].write(&[append(1, vec![large])]).expect("a turn");
        }
        let copy = Dir::copy_of(&dir.0);
        fs::copy(before.0.join("MARK"), copy.0.join("MARK")).expect("the older mark");
        let (path, mut bytes) = wal(&copy.0);
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("a flipped bit");
        assert!(matches!(read(&copy.0), Err(StoreError::Damaged { .. })), "{behind} records follow");
        lanes[0].write(&[Persist { reset: Some(BASE), ..persist(1) }]).expect("the same again");
    }
    drop(logs);
}
