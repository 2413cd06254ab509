//! The config file: TOML with a table for each heading of `start --help`.
//!
//! Every value is checked, also one that a flag or a variable overrides: a file is right or wrong by itself. What is
//! wrong is told with its line, never with the line's text, which may hold a secret.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeArray, DeInteger, DeTable, DeValue},
};

use super::{
    Outside,
    catalogue::{Key, Kind},
    problem::{Place, Problem},
    suggest::suggest,
};

/// What a file gives.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// The file.
    pub(super) path: PathBuf,
    values: BTreeMap<String, Given>,
}

/// A value of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// As the flag would have it.
    pub(super) text: String,
    /// Where it is, from 1 on.
    pub(super) line: usize,
}

/// The file while it is read.
struct Reader<'a> {
    path: &'a Path,
    source: &'a str,
    keys: &'a [Key],
    values: BTreeMap<String, Given>,
    /// With the line of each.
    problems: Vec<(usize, Problem)>,
}

impl ConfigFile {
    /// What it gives, and all that is wrong with it.
    ///
    /// # Errors
    /// When it can't be read as TOML at all: then nothing is known of it.
    pub(super) fn read(
        path: &Path,
        outside: Outside<'_>,
        keys: &[Key],
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        match (outside.file)(path) {
            Ok(source) => Self::parse(path, &source, keys),
            Err(error) => {
                let place = path.display().to_string();
                Err(vec![Problem { setting: String::new(), place, error: format!("can't be read: {error}") }])
            }
        }
    }

    fn parse(path: &Path, source: &str, keys: &[Key]) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut reader = Reader { path, source, keys, values: BTreeMap::new(), problems: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(source);
        for error in &errors {
            let line = reader.line(error.span().map_or(0, |span| span.start));
            reader.tell("", line, reader.place(line), error.message().to_owned());
        }
        if !errors.is_empty() {
            return Err(reader.finish().1);
        }
        reader.table("", table.get_ref());
        Ok(reader.finish())
    }

    /// What it gives for a setting.
    pub(super) fn get(&self, id: &str) -> Option<&Given> {
        self.values.get(id)
    }
}

impl Reader<'_> {
    fn table(&mut self, above: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path =
                if above.is_empty() { name.get_ref().to_string() } else { format!("{above}.{}", name.get_ref()) };
            let line = self.line(name.span().start);
            let keys = self.keys;
            let is_table = |key: &Key| key.table == path || key.table.starts_with(&format!("{path}."));
            match (keys.iter().find(|key| key.path() == path), value.get_ref()) {
                (Some(key), value) => self.value(key, line, value),
                (None, DeValue::Table(inner)) if keys.iter().any(is_table) => self.table(&path, inner),
                (None, _) => {
                    let place = format!("{}: {path}", self.place(line));
                    self.tell("", line, place, format!("there is no such key; {}", suggest(&path, keys)));
                }
            }
        }
    }

    fn value(&mut self, key: &Key, line: usize, value: &DeValue<'_>) {
        let name = Place::File { path: self.path.to_owned(), line }.name(key);
        let (text, shown) = match text(key.kind, value) {
            Ok(read) => read,
            Err(wanted) => return self.tell(key.id(), line, name, format!("is {}; write {wanted}", kind_of(value))),
        };
        match key.check(OsStr::new(&text)) {
            Ok(()) => {
                self.values.insert(key.id().to_owned(), Given { text, line });
            }
            Err(error) => self.tell(key.id(), line, format!("{name} = {}", key.shown(&shown)), error),
        }
    }

    fn tell(&mut self, setting: &str, line: usize, place: String, error: String) {
        self.problems.push((line, Problem { setting: setting.to_owned(), place, error }));
    }

    /// What was read, and what is wrong in the order of the lines.
    fn finish(self) -> (ConfigFile, Vec<Problem>) {
        let Self { path, values, mut problems, source: _, keys: _ } = self;
        problems.sort_by_key(|(line, _)| *line);
        (ConfigFile { path: path.to_owned(), values }, problems.into_iter().map(|(_, problem)| problem).collect())
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    fn line(&self, at: usize) -> usize {
        self.source.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// A value as its flag has it, and as the file has it; or what should be there.
fn text(kind: Kind, value: &DeValue<'_>) -> Result<(String, String), &'static str> {
    match (kind, value) {
        (Kind::Text, DeValue::String(text)) => Ok((text.to_string(), format!("{text:?}"))),
        (Kind::Text, _) => Err("a text in quotes"),
        (Kind::Number, DeValue::Integer(number)) => integer(number).map(|text| (text.clone(), text)),
        (Kind::Number, _) => Err("a whole number without quotes"),
        (Kind::Switch, DeValue::Boolean(on)) => Ok((on.to_string(), on.to_string())),
        (Kind::Switch, _) => Err("true or false without quotes"),
        (Kind::List, DeValue::Array(items)) => list(items).map(|text| (text.clone(), format!("[{text}]"))),
        (Kind::List, _) => Err(LIST),
    }
}

const LIST: &str = "a list of texts, as in [\"a\", \"b\"]";

fn integer(number: &DeInteger<'_>) -> Result<String, &'static str> {
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map(|value| value.to_string()).map_err(|_| "a whole number below 2^64")
}

/// With commas between, which none of the texts may hold.
fn list(items: &DeArray<'_>) -> Result<String, &'static str> {
    let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) if !text.contains(',') => Ok(text.to_string()),
        _ => Err(LIST),
    };
    Ok(items.iter().map(item).collect::<Result<Vec<_>, _>>()?.join(","))
}

/// What a value is, not what it says.
fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
