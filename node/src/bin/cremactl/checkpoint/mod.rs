//! `checkpoint list`, `verify` and `dump`: checkpoint files, read as they lie there. Nothing is changed, so a running
//! node does not mind.

mod dump;
mod list;
mod verify;

#[cfg(test)]
mod tests;

use anyhow::Context;
use clap::{Args, Subcommand};
use crema::storage::checkpoints::CheckpointId;
use serde::Serialize;

use crate::{Answer, Output};

/// Looks at checkpoint files.
#[derive(Args)]
pub(crate) struct Checkpoint {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the checkpoints in a directory, by what their heads say
    List(list::List),
    /// Read checkpoints to their ends and say which are sound; exit code 1 unless all are
    Verify(verify::Verify),
    /// Show what is in one
    Dump(dump::Dump),
}

#[derive(Args)]
struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Checkpoint {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        match self.verb {
            Verb::List(list) => list.run(),
            Verb::Verify(verify) => verify.run(),
            Verb::Dump(dump) => dump.run(),
        }
    }
}

impl OutputArgs {
    /// The JSON of `value`, or `table`; with the exit code of a failure unless `sound`.
    fn print<T: Serialize>(
        &self,
        sound: bool,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Answer> {
        let text = match self.output {
            Output::Table => table(value),
            Output::Json => format!("{}\n", serde_json::to_string_pretty(value).context("write JSON")?),
        };
        Ok(Answer { text: text.into(), found: sound })
    }
}

/// Whose and of which index, as a name says.
#[derive(Serialize)]
struct Named {
    /// As in file names.
    group: u32,
    /// Absent for the meta group.
    shard: Option<u32>,
    replica: u64,
    index: u64,
}

impl From<CheckpointId> for Named {
    fn from(id: CheckpointId) -> Self {
        let CheckpointId { group, replica, index } = id;
        Self { group: group.0, shard: group.shard(), replica: replica.0, index: index.0 }
    }
}

/// An error and what it comes from, in one line.
fn in_a_line(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
