//! `checkpoint verify`: which files are what was written.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use crema::{
    checkpoint::Part,
    storage::checkpoints::{CheckpointId, CheckpointReader, DiskFiles, ReadError, scan},
};
use serde::Serialize;

use super::{OutputArgs, in_a_line};
use crate::{Answer, format::or_dash, table::table};

/// Verifies files.
#[derive(Args)]
pub(super) struct Verify {
    /// Checkpoint files, or directories of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Row {
    file: String,
    sound: bool,
    entries: Option<u64>,
    error: Option<String>,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let mut files = Vec::new();
        for path in self.paths {
            match path.is_dir() {
                true => files.extend(scan(&DiskFiles, &path)?.into_iter().map(|file| file.path)),
                false => files.push(path),
            }
        }
        ensure!(!files.is_empty(), "no checkpoints there");
        let rows: Vec<Row> = files.iter().map(|file| row(file)).collect();
        self.output.print(rows.iter().all(|row| row.sound), &rows, |rows| verify_table(rows))
    }
}

fn row(path: &Path) -> Row {
    let file = path.display().to_string();
    match verify(path) {
        Ok(entries) => Row { file, sound: true, entries: Some(entries), error: None },
        Err(error) => Row { file, sound: false, entries: None, error: Some(in_a_line(error)) },
    }
}

/// Reads a file to its end; how many entries it has. A file that was given another name is not held to one.
fn verify(path: &Path) -> Result<u64, ReadError> {
    let named = path.file_name().and_then(|name| CheckpointId::of_file_name(name.to_str()?));
    let mut reader = CheckpointReader::open(&DiskFiles, path)?;
    let mut entries = 0;
    while let Some(part) = reader.part()? {
        match part {
            Part::Head(head) => {
                if named.is_some_and(|id| (id.group, id.index) != (head.group, head.index())) {
                    return Err(ReadError::Misplaced { path: path.to_owned(), what: "group or index" });
                }
            }
            Part::Entries(some) => entries += some.len() as u64,
            Part::End => {}
        }
    }
    Ok(entries)
}

fn verify_table(rows: &[Row]) -> String {
    let header = ["sound", "entries", "file"];
    let cells = |row: &Row| {
        let sound = if row.sound { "yes" } else { "no" };
        let what = row.error.clone().unwrap_or_else(|| row.file.clone());
        vec![sound.to_owned(), or_dash(row.entries, |entries| entries.to_string()), what]
    };
    table(&header.map(str::to_owned), &rows.iter().map(cells).collect::<Vec<_>>())
}
