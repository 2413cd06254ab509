//! Checkpoints that this format's first release wrote, as files. Later releases must go on reading them.
//!
//! `REWRITE=1` writes those that are missing, never one that is there: a change of these bytes is a new format, and
//! needs new files beside the old.

use std::{fs, path::PathBuf};

use super::*;
use crate::storage::checkpoints::scan;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/storage/checkpoints/golden")
}

fn golden() -> [(CheckpointId, Compression); 2] {
    [(id(1_000), Compression::Lz4), (id(2_000), Compression::Off)]
}

fn write_missing() {
    for (id, compression) in golden() {
        let path = folder().join(format!("g3-r17-i{}.mcrs", id.index));
        if !path.exists() {
            fs::write(path, pieces_of(&OWNER, id.index.0, 3, compression).concat()).expect("written");
        }
    }
}

#[test]
fn the_first_releases_files_are_read() {
    if std::env::var_os("REWRITE").is_some() {
        write_missing();
    }
    let listed = scan(&DiskFiles, &folder()).expect("a listing");
    assert_eq!(listed.iter().map(|file| file.id).collect::<Vec<_>>(), golden().map(|(id, _)| id));
    let memory = Arc::<FaultyFiles>::default();
    for file in listed {
        let name = file.path.file_name().expect("a name").to_string_lossy();
        memory.put(&format!("data/checkpoints/{name}"), &fs::read(&file.path).expect("the file"));
        // Each in turn is the newest.
        assert_eq!(newest(&open(&memory)), Some(file.id.index.0));
    }
}

#[test]
fn this_release_writes_the_same() {
    // Another release of LZ4 may pack otherwise; what is not packed is the same for ever.
    let written = pieces_of(&OWNER, 2_000, 3, Compression::Off).concat();
    assert_eq!(written, fs::read(folder().join("g3-r17-i2000.mcrs")).expect("the file"));
}
