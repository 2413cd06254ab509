//! Real disks that are full, or can't keep what they have taken: the store stops, and nothing acknowledged is lost.

use std::process::Command;

use super::*;

/// A file system that is mounted on a folder of its own; unmounted with the test.
struct Mounted(Dir);

impl Mounted {
    /// `None`, with the reason, where mounting is not allowed.
    fn new(args: &[&str]) -> Option<Self> {
        let dir = Dir::new();
        run(Command::new("mount").args(args).arg(&dir.0))?;
        Some(Self(dir))
    }

    /// In memory, of a size.
    fn memory(size: &str) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
    }

    /// The other one has more room now.
    fn grow(&self, size: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0.0))
            .expect("a larger disk");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(&self.0.0));
    }
}

/// A file as a block device; given back with the test.
struct Loop(String);

impl Loop {
    /// `None`, with the reason, where there is no such device.
    fn new(image: &Path) -> Option<Self> {
        let device = Self(run(Command::new("losetup").args(["--find", "--show"]).arg(image))?.trim().to_owned());
        let name = device.0.trim_start_matches("/dev/");
        // The loop driver takes a write for done when only a part of it is: none may have two parts.
        if let Err(error) = fs::write(format!("/sys/block/{name}/queue/max_sectors_kb"), "4") {
            eprintln!("skipped: the writes of {name} can't be limited: {error}");
            return None;
        }
        Some(device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").args(["-d", &self.0]));
    }
}

/// What a command says; `None` when it fails.
fn run(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            eprintln!("skipped: {command:?} says {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: {command:?} cannot be run: {error}");
            None
        }
    }
}

/// An entry that does not pack: what is sorted into a file stays as large as it was in the write-ahead log.
fn large(index: u64) -> Entry {
    let mut noise = Draw::new(index);
    let data: Vec<u8> = (0..50 << 10).map(|_| noise.below(256) as u8).collect();
    Entry { data: data.into(), ..entry(index, 2, "") }
}

/// Writes until the disk has had enough, and sees that nobody writes after that. Says how far it was acknowledged, and
/// what was wrong then.
fn fill(dir: &Path) -> (u64, String) {
    let (logs, mut lanes) = try_open(dir).expect("a new directory");
    lanes[0].write(&[birth(1, 5)]).expect("a birth");
    let mut acknowledged = 1;
    let error = loop {
        let next = acknowledged + 1;
        match lanes[0].write(&[append(1, vec![large(next)])]) {
            Ok(()) => acknowledged = next,
            Err(error) => break chain(&error),
        }
        assert!(acknowledged < 1_000, "the disk takes everything");
    };
    for lane in &mut lanes {
        // Also when there is space again.
        assert!(matches!(lane.write(&[persist(1)]), Err(StoreError::Poisoned { .. })));
    }
    assert!(matches!(logs.sync(), Err(StoreError::Poisoned { .. })));
    (acknowledged, error)
}

/// All that was acknowledged is there, and life goes on.
fn check(dir: &Path, acknowledged: u64) {
    let (_logs, mut lanes) = try_open(dir).expect("a sound directory");
    let log = load(&lanes[0], 1);
    // The one that was not acknowledged may be there or not.
    let last = log.entries.last().expect("an entry").index;
    assert!(last == acknowledged || last == acknowledged + 1, "{last}, {acknowledged} were acknowledged");
    assert_eq!(log.entries, (2..=last).map(large).collect::<Vec<_>>());
    lanes[0].write(&[append(1, entries(last + 1..=last + 1, 2))]).expect("there is space");
}

#[test]
fn a_full_disk_stops_the_store_and_loses_nothing() {
    let Some(disk) = Mounted::memory("12m") else { return };
    let (acknowledged, error) = fill(&disk.0.0);
    assert!(error.contains("No space left on device"), "{error}");
    // A start on the full disk may fail, but takes nothing for damaged.
    match read(&disk.0.0) {
        Ok((_, sound, damaged)) => assert_eq!((sound.len(), damaged.len()), (1, 0)),
        Err(StoreError::Io { .. }) => {}
        Err(error) => panic!("{}", chain(&error)),
    }
    disk.grow("100m");
    check(&disk.0.0, acknowledged);
}

#[test]
fn what_a_failed_sync_has_left_in_memory_is_not_believed() {
    // The system takes what is written; only when it is synced does the disk below turn out to have no room for it.
    let Some(below) = Mounted::memory("10m") else { return };
    let image = below.0.0.join("image");
    fs::File::create(&image).and_then(|file| file.set_len(200 << 20)).expect("a sparse file");
    let Some(device) = Loop::new(&image) else { return };
    let make = &mut Command::new("mkfs.ext4");
    let Some(_) = run(make.args(["-q", "-b", "4096", "-O", "^has_journal", &device.0])) else { return };
    let mount = || Mounted::new(&[&device.0]);
    let Some(disk) = mount() else { return };
    let (acknowledged, error) = fill(&disk.0.0);
    assert!(error.contains("sync: "), "it fails when it is synced: {error}");
    below.grow("300m");
    // Only what reached the disk is still there then.
    drop(disk);
    let disk = mount().expect("it was mounted before");
    check(&disk.0.0, acknowledged);
}
