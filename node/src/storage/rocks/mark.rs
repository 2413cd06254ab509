//! How much was synced, told outside of the database.
//!
//! RocksDB drops the end of its write-ahead log when that looks torn, and a flipped bit in the length of an acknowledged
//! record looks just so. So each lane writes here, after every sync, how many of its batches are durable: a database that
//! has fewer of them has lost something that was promised. The file itself is overwritten in place and not synced
//! each time: it may say too little after a power failure, never too much. Damage to the last records of that moment then
//! looks as a torn end does, and nobody can tell the two apart.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::record::{self, Kind};
use crate::storage::StoreError;

/// The layout of a data directory. It rises when an older build would misread it.
pub(super) const FORMAT: u64 = 1;
/// Lanes that there is room for: more than a node has workers.
pub(super) const LANES: u16 = 128;
/// Room for one record; a slot never crosses a disk's sector.
const SLOT_BYTES: usize = 32;
const FILE_NAME: &str = "MARK";
const FORMAT_KEY: &[u8] = b"crema data directory";

/// The file, open.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
}

impl Mark {
    /// Makes the file of a new directory: nothing is synced yet.
    pub(super) fn create(dir: &Path) -> Result<Self, StoreError> {
        let (path, new) = (dir.join(FILE_NAME), dir.join("MARK.new"));
        let mut bytes = vec![0; SLOT_BYTES * (1 + usize::from(LANES))];
        put(&mut bytes, &record::number_record(Kind::Format, FORMAT_KEY, FORMAT));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()?;
            OpenOptions::new().read(true).write(true).open(&path)
        };
        let file = write().map_err(|error| StoreError::io("create", &path, error))?;
        Ok(Self { path, file })
    }

    /// Opens the file and reads what each lane has synced, by lane; `None` when there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<(Self, Vec<u64>)>, StoreError> {
        let path = dir.join(FILE_NAME);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", &path, error)),
        };
        let bytes = fs::read(&path).map_err(|error| StoreError::io("read", &path, error))?;
        let damaged = |what: String| StoreError::Damaged { path: dir.to_owned(), what };
        let mut slots = bytes.chunks(SLOT_BYTES);
        let format = slots.next().and_then(|slot| read_slot(Kind::Format, FORMAT_KEY, slot));
        match format {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                let (what, supported) = (dir.display().to_string(), FORMAT as u32);
                return Err(StoreError::Newer { what, found: u32::try_from(found).unwrap_or(u32::MAX), supported });
            }
            Some(_) | None => return Err(damaged(format!("the format in {FILE_NAME} can't be read"))),
        }
        let read = |(lane, slot): (u16, &[u8])| {
            let synced = if slot.iter().all(|byte| *byte == 0) {
                Some(0)
            } else {
                read_slot(Kind::Mark, &lane.to_be_bytes(), slot)
            };
            synced.ok_or_else(|| damaged(format!("lane {lane} in {FILE_NAME} can't be read")))
        };
        let synced: Vec<u64> = (0..).zip(slots).map(read).collect::<Result<_, _>>()?;
        if bytes.len() != SLOT_BYTES * (1 + usize::from(LANES)) {
            return Err(damaged(format!("{FILE_NAME} has {} bytes", bytes.len())));
        }
        Ok(Some((Self { path, file }, synced)))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that a lane's batches up to number `synced` are durable.
    pub(super) fn set(&self, lane: u16, synced: u64) -> io::Result<()> {
        let mut slot = [0; SLOT_BYTES];
        put(&mut slot, &record::number_record(Kind::Mark, &lane.to_be_bytes(), synced));
        let at = SLOT_BYTES * (1 + usize::from(lane));
        self.file.write_all_at(&slot, at as u64)
    }

    /// Makes what was noted durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn put(slot: &mut [u8], record: &[u8]) {
    slot[..record.len()].copy_from_slice(record);
}

/// The number in a slot of which every byte is as it was written.
fn read_slot(kind: Kind, key: &[u8], slot: &[u8]) -> Option<u64> {
    let used = record::number_record(kind, key, 0).len();
    let (record, rest) = slot.split_at_checked(used)?;
    let whole = slot.len() == SLOT_BYTES && rest.iter().all(|byte| *byte == 0);
    record::read_number(kind, key, record).ok().filter(|_| whole)
}
