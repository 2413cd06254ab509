//! RocksDB's write-ahead logs and manifest, looked at where RocksDB 11.8 alone would not do.
//!
//! - A record tells by its type whether it is in a recycled file, which ours never are. One flipped bit makes another look
//!   so, and RocksDB then drops all that follows in silence, or reads it again and again for ever: [`check`] goes first.
//! - A power failure may leave the last record torn: RocksDB drops it when the file ends in it, but not when the file is
//!   as long as it was to be and lacks some bytes before: [`cut_torn_end`] goes when RocksDB has refused.
//!
//! Everything else about these files is for RocksDB to check, and whether anything that was synced is missing for the
//! lanes' numbers and marks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::storage::StoreError;

/// Records are cut into pieces that never cross from one block to the next.
const BLOCK_BYTES: usize = 32 << 10;
/// Masked CRC32C u32 of all that follows the length, length u16, type u8.
const HEADER_BYTES: usize = 7;
/// The types of pieces in recycled files.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];
/// The types of pieces that a record begins with.
const BEGINNINGS: [u8; 2] = [1, 2];

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Refuses a database in which a record claims to be in a recycled file.
pub(super) fn check(path: &Path, database: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("read", database, error);
    for name in names(database).map_err(io)? {
        if (name.ends_with(".log") || name.starts_with("MANIFEST-"))
            && let Some(at) = find_recycled(&database.join(&name)).map_err(io)?
        {
            let what = format!("the record at byte {at} of {name} has a type that was never written");
            return Err(StoreError::Damaged { path: path.to_owned(), what });
        }
    }
    Ok(())
}

fn names(database: &Path) -> io::Result<Vec<String>> {
    let name = |file: io::Result<fs::DirEntry>| Ok(file?.file_name().to_string_lossy().into_owned());
    fs::read_dir(database)?.map(name).collect()
}

fn find_recycled(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for number in 0.. {
        block.clear();
        if file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)? == 0 {
            break;
        }
        // Behind a piece that is not sound there is no telling where another one begins: what looks like one may be anything.
        let suspect = |piece: &Piece| RECYCLED.contains(&piece.kind) || !piece.is_sound(&block);
        if let Some(piece) = pieces(&block).find(suspect).filter(|piece| RECYCLED.contains(&piece.kind)) {
            return Ok(Some(number * BLOCK_BYTES as u64 + piece.at as u64));
        }
    }
    Ok(None)
}

/// Cuts the newest write-ahead log where its last record is torn. Says whether there was such an end: bytes that are no
/// record, and behind which no other record begins.
pub(super) fn cut_torn_end(database: &Path) -> io::Result<bool> {
    let Some(path) = newest_log(database)? else { return Ok(false) };
    let bytes = fs::read(&path)?;
    let Some(end) = torn_end(&bytes) else { return Ok(false) };
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(end as u64)?;
    file.sync_all()?;
    tracing::warn!(path = %path.display(), from = bytes.len(), to = end, "the torn end of a write-ahead log is dropped");
    Ok(true)
}

/// The one with the highest number of those that are not empty.
fn newest_log(database: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for name in names(database)? {
        let Some(number) = name.strip_suffix(".log").and_then(|number| number.parse().ok()) else { continue };
        let path = database.join(&name);
        if fs::metadata(&path)?.len() > 0 && newest.as_ref().is_none_or(|(other, _)| *other < number) {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn torn_end(bytes: &[u8]) -> Option<usize> {
    let mut blocks = bytes.chunks(BLOCK_BYTES).enumerate();
    let (number, block, at) = blocks.find_map(|(number, block)| {
        let bad = pieces(block).find(|piece| !piece.is_sound(block))?;
        Some((number, block, bad.at))
    })?;
    let begins = |block: &[u8], piece: &Piece| BEGINNINGS.contains(&piece.kind) && piece.is_sound(block);
    // Where the next piece would be is not known: its length may be what is wrong.
    let here = (at + 1..block.len()).filter_map(|at| Piece::read(block, at)).any(|piece| begins(block, &piece));
    let behind = blocks.any(|(_, block)| pieces(block).any(|piece| begins(block, &piece)));
    (!here && !behind).then_some(number * BLOCK_BYTES + at)
}

/// A piece of a record, by what its header says.
struct Piece {
    at: usize,
    crc: u32,
    bytes: usize,
    kind: u8,
}

impl Piece {
    /// `None` where there is no room for a header.
    fn read(block: &[u8], at: usize) -> Option<Self> {
        let [a, b, c, d, low, high, kind] = *block.get(at..)?.first_chunk::<HEADER_BYTES>()?;
        let (crc, bytes) = (u32::from_le_bytes([a, b, c, d]), usize::from(u16::from_le_bytes([low, high])));
        Some(Self { at, crc, bytes, kind })
    }

    fn end(&self) -> usize {
        self.at + HEADER_BYTES + self.bytes
    }

    fn is_sound(&self, block: &[u8]) -> bool {
        let content = block.get(self.at + HEADER_BYTES - 1..self.end());
        content.is_some_and(|content| CRC32C.checksum(content).rotate_right(15).wrapping_add(0xa282_ead8) == self.crc)
    }
}

/// The pieces in a block, each where the one before ends.
fn pieces(block: &[u8]) -> impl Iterator<Item = Piece> + '_ {
    std::iter::successors(Piece::read(block, 0), |piece| Piece::read(block, piece.end()))
}
