//! A look at RocksDB's write-ahead logs and manifest before RocksDB reads them.
//!
//! A record there tells by its type whether it is in a recycled file, which ours never are. One flipped bit makes another
//! look so, and RocksDB 11.8 then drops all that follows in silence, when it is the first of its file, or reads it again
//! and again for ever. So the types are looked at here; everything else about the files is for RocksDB to check.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::storage::StoreError;

/// Records never cross from one block to the next.
const BLOCK_BYTES: usize = 32 << 10;
/// CRC u32, length u16, type u8.
const HEADER_BYTES: usize = 7;
/// The types of records in recycled files.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Refuses a database in which a record claims to be in a recycled file.
pub(super) fn check(path: &Path, database: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io("read", database, error);
    for file in fs::read_dir(database).map_err(io)? {
        let name = file.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        if (name.ends_with(".log") || name.starts_with("MANIFEST-"))
            && let Some(at) = find(&database.join(&*name)).map_err(io)?
        {
            let what = format!("the record at byte {at} of {name} has a type that was never written");
            return Err(StoreError::Damaged { path: path.to_owned(), what });
        }
    }
    Ok(())
}

/// Where the first such record of a file is.
fn find(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for number in 0.. {
        block.clear();
        if file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)? == 0 {
            break;
        }
        if let Some(at) = find_in(&block) {
            return Ok(Some(number * BLOCK_BYTES as u64 + at as u64));
        }
    }
    Ok(None)
}

/// Where it is in a block. From a length that can't be right on, the rest of the block is skipped, as RocksDB skips it.
fn find_in(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some([_, _, _, _, low, high, kind]) =
        block.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>())
    {
        if RECYCLED.contains(kind) {
            return Some(at);
        }
        at += HEADER_BYTES + usize::from(u16::from_le_bytes([*low, *high]));
    }
    None
}
