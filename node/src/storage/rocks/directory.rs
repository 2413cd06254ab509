//! One process per data directory, and what becomes of a directory that nobody can use any more.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::storage::StoreError;

const LOCK_NAME: &str = "LOCK";
const ASIDE_PREFIX: &str = "set-aside-";
const RETIRED: &str = "retired";
/// Moved last and in this order: as long as one of them is here, the directory is not taken for a new one.
const LAST: [&str; 2] = [super::DATABASE, "MARK"];

/// Makes the directory if need be and locks it; the lock ends with the file's life, also in a crash.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_NAME);
    fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
    let io = |error: io::Error| StoreError::io("lock", &path, error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only for the message: who has the lock may just be writing its number.
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked { path: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    let note = format!("{}\n", std::process::id());
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(io)?;
    // A full disk must not keep a node from reading what it has.
    let _ = file.write_all(note.as_bytes());
    Ok(file)
}

/// Moves everything in a data directory that can't be believed into a folder of its own inside it, for a person to look at;
/// the next start finds a new directory and the node a new incarnation. May be repeated after a crash.
///
/// # Errors
/// [`StoreError::Locked`] when a process uses it, else what the file system says.
pub fn set_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let _lock = lock(dir)?;
    let free = |n: &u32| !dir.join(format!("{ASIDE_PREFIX}{n}")).exists();
    let number = (1..=u32::MAX).find(free).unwrap_or(u32::MAX);
    let aside = dir.join(format!("{ASIDE_PREFIX}{number}"));
    move_into(dir, &aside).map_err(|error| StoreError::io("set aside", dir, error))?;
    Ok(aside)
}

/// As [`set_aside`], for a life that the cluster has ended: what it held is held by others, so only the last one is kept.
///
/// # Errors
/// As [`set_aside`].
pub fn retire(dir: &Path) -> Result<PathBuf, StoreError> {
    let _lock = lock(dir)?;
    let aside = dir.join(RETIRED);
    let removed = match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    removed.and_then(|()| move_into(dir, &aside)).map_err(|error| StoreError::io("set aside", dir, error))?;
    Ok(aside)
}

/// Whether an earlier life of a node was put aside in its data directory.
pub fn has_earlier_life(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_aside))
}

fn is_aside(name: &str) -> bool {
    name == RETIRED || name.starts_with(ASIDE_PREFIX)
}

fn move_into(dir: &Path, aside: &Path) -> io::Result<()> {
    fs::create_dir(aside)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name());
    }
    let stays = |name: &str| name == LOCK_NAME || is_aside(name) || LAST.contains(&name);
    names.retain(|name| !name.to_str().is_some_and(stays));
    names.extend(LAST.iter().filter(|name| dir.join(name).exists()).map(|name| (*name).into()));
    for name in names {
        fs::rename(dir.join(&name), aside.join(&name))?;
        File::open(dir)?.sync_all()?;
    }
    File::open(aside)?.sync_all()
}
