//! `checkpoint list`: what a directory holds, by names and heads.

use std::path::PathBuf;

use clap::Args;
use crema::{
    storage::checkpoints::{CheckpointFile, CheckpointReader, DiskFiles, scan},
    types::GroupId,
};
use serde::Serialize;

use super::{Named, OutputArgs, in_a_line};
use crate::{
    Answer,
    format::{bytes, or_dash},
    table::table,
};

/// Lists a directory.
#[derive(Args)]
pub(super) struct List {
    /// The directory of checkpoints
    dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    named: Named,
    file: String,
    bytes: u64,
    written_at_ms: Option<u64>,
    /// What the head says, when it is sound.
    head: Option<HeadRow>,
    error: Option<String>,
}

#[derive(Serialize)]
struct HeadRow {
    term: u64,
    entries: u64,
    weight_bytes: u64,
    generation: u64,
    cluster: String,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let rows: Vec<Row> = scan(&DiskFiles, &self.dir)?.into_iter().map(row).collect();
        self.output.print(true, &rows, |rows| list_table(rows))
    }
}

fn row(file: CheckpointFile) -> Row {
    let CheckpointFile { id, path, bytes, modified_ms } = file;
    let (head, error) = match CheckpointReader::head(&DiskFiles, &path) {
        Ok(head) => {
            let row = HeadRow {
                term: head.term.0,
                entries: head.machine.entries,
                weight_bytes: head.machine.weight_bytes,
                generation: head.generation,
                cluster: head.cluster.to_string(),
            };
            (Some(row), None)
        }
        Err(error) => (None, Some(in_a_line(error))),
    };
    Row { named: id.into(), file: path.display().to_string(), bytes, written_at_ms: modified_ms, head, error }
}

fn list_table(rows: &[Row]) -> String {
    let header = ["group", "replica", "index", "term", "entries", "content", "size", "file"];
    let cells = |row: &Row| {
        let head = row.head.as_ref();
        vec![
            GroupId(row.named.group).to_string(),
            row.named.replica.to_string(),
            row.named.index.to_string(),
            or_dash(head, |head| head.term.to_string()),
            or_dash(head, |head| head.entries.to_string()),
            or_dash(head, |head| bytes(head.weight_bytes)),
            bytes(row.bytes),
            row.error.clone().unwrap_or_else(|| row.file.clone()),
        ]
    };
    table(&header.map(str::to_owned), &rows.iter().map(cells).collect::<Vec<_>>())
}
