//! `crema-node config check`: what would hold and where it comes from, or all that is wrong.

use std::process::ExitCode;

use clap::{ArgMatches, ValueEnum};
use serde_json::{Value, json};

use super::{
    Outside, Setting, Settings,
    problem::{Problem, report},
    resolve,
};

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Checks, prints and says whether all is well.
pub(crate) fn run(matches: &ArgMatches, outside: Outside<'_>) -> ExitCode {
    let output = matches.get_one("output").copied().unwrap_or(Output::Table);
    let checked = resolve(matches, outside);
    match (output, &checked) {
        (Output::Table, Ok(settings)) => print!("{}", table(settings)),
        (Output::Table, Err(problems)) => eprintln!("crema-node: {}", report(problems)),
        (Output::Json, checked) => println!("{:#}", json(checked.as_ref().map_err(Vec::as_slice))),
    }
    if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Setting {
    /// Its value for everybody's eyes; `None` when it is left open.
    fn shown(&self) -> Option<String> {
        let value = self.value.as_deref()?.to_string_lossy();
        Some(self.key.shown(&value).to_owned())
    }

    fn row(&self) -> [String; 3] {
        let open = || self.key.hint().map_or_else(|| "-".to_owned(), |hint| format!("({hint})"));
        let value = self.shown().map_or_else(open, |value| if value.is_empty() { "\"\"".to_owned() } else { value });
        [self.key.path(), value, self.place.word().to_owned()]
    }

    fn json(&self) -> Value {
        json!({
            "key": self.key.path(),
            "flag": self.key.flag(),
            "variable": self.key.variable(),
            "value": self.shown(),
            "from": self.place.word(),
        })
    }
}

fn table(settings: &Settings) -> String {
    let header = ["setting", "value", "from"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(settings.list.iter().map(Setting::row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let lines = rows.iter().map(|[key, value, from]| format!("{key:<first$}  {value:<second$}  {from}\n"));
    std::iter::once("ok\n\n".to_owned()).chain(lines).collect()
}

fn json(checked: Result<&Settings, &[Problem]>) -> Value {
    match checked {
        Ok(Settings { start, list, options: _ }) => json!({
            "ok": true,
            "file": start.config.as_ref().map(|path| path.to_string_lossy()),
            "settings": list.iter().map(Setting::json).collect::<Vec<_>>(),
        }),
        Err(problems) => {
            let one = |problem: &Problem| json!({ "where": problem.place, "error": problem.error });
            json!({ "ok": false, "errors": problems.iter().map(one).collect::<Vec<_>>() })
        }
    }
}

#[cfg(test)]
mod tests;
