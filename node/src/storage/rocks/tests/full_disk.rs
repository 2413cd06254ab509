//! A disk that is full: the store stops, and nothing acknowledged is lost.

use std::process::Command;

use super::*;

/// A small file system of its own; unmounted with the test.
struct Mounted(Dir);

impl Mounted {
    /// `None`, with the reason, where mounting is not allowed.
    fn new(size: &str) -> Option<Self> {
        let dir = Dir::new();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], &dir.0)?;
        Some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

fn mount(args: &[&str], at: &Path) -> Option<()> {
    match Command::new("mount").args(args).arg(at).output() {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            eprintln!("skipped: mount says {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: mount cannot be run: {error}");
            None
        }
    }
}

#[test]
fn a_full_disk_stops_the_store_and_loses_nothing() {
    let Some(disk) = Mounted::new("12m") else { return };
    // It does not pack: what is sorted into files and truncated from the write-ahead log stays as large as it was.
    let mut noise = Draw::new(1);
    let mut large = |index| Entry {
        data: (0..50 << 10).map(|_| noise.below(256) as u8).collect::<Vec<_>>().into(),
        ..entry(index, 2, "")
    };
    let mut acknowledged = 1;
    {
        let (_logs, mut lanes) = open(&disk.0);
        lanes[0].write(&[birth(1, 5)]).expect("a birth");
        let error = loop {
            let next = acknowledged + 1;
            match lanes[0].write(&[append(1, vec![large(next)])]) {
                Ok(()) => acknowledged = next,
                Err(error) => break error,
            }
            assert!(acknowledged < 1_000, "the disk never fills");
        };
        assert!(chain(&error).contains("No space left on device"), "{}", chain(&error));
        for lane in &mut lanes {
            // Also when there is space again.
            assert!(matches!(lane.write(&[persist(1)]), Err(StoreError::Poisoned { .. })));
        }
    }
    mount(&["-o", "remount,size=100m"], &disk.0.0).expect("a larger disk");
    let (_logs, mut lanes) = open(&disk.0);
    let log = load(&lanes[0], 1);
    let last = log.entries.last().expect("an entry").index;
    // The one that was not acknowledged may be there or not.
    assert!(last == acknowledged || last == acknowledged + 1, "{last}, {acknowledged} were acknowledged");
    lanes[0].write(&[append(1, entries(last + 1..=last + 1, 2))]).expect("there is space");
}
