//! The settings of `crema-node start`, from wherever they come: a flag, else the environment, else the config file, else
//! the default.
//!
//! The one definition of a setting is its flag ([`crate::args`]). The command line is first read without looking at values
//! ([`mod@command`]), so that a value from each of the places is checked by the same parser, and all that is wrong is told
//! at once, by the name that it was given under. No secret gets into a message.

mod catalogue;
pub(crate) mod check;
mod command;
mod file;
mod node;
mod problem;
mod suggest;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, parser::ValueSource};
use crema::cache::NodeOptions;

use self::{
    catalogue::{Key, catalogue},
    file::ConfigFile,
    problem::{Names, Place, Problem},
};
pub(crate) use self::{command::command, node::spec, problem::report};
use crate::args::Start;

/// The settings of one node, all of them checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// As flags.
    pub(crate) start: Start,
    /// What the node is started with.
    pub(crate) options: NodeOptions,
    /// Each of them, for those who ask where it comes from.
    pub(crate) list: Vec<Setting>,
}

/// One setting, and who gave it.
#[derive(Debug)]
pub(crate) struct Setting {
    key: Key,
    /// As text; `None` when it is left open.
    value: Option<OsString>,
    place: Place,
}

/// The world outside the command line.
#[derive(Clone, Copy)]
pub(crate) struct Outside<'a> {
    /// The value of a variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The text of a file.
    pub(crate) file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// What a command line of `start` or `config check` amounts to.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn resolve(matches: &ArgMatches, outside: Outside<'_>) -> Result<Settings, Vec<Problem>> {
    let path = matches
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(|| (outside.variable)("CREMA_CONFIG").map(PathBuf::from));
    let keys = catalogue();
    let (file, mut problems) = match path.as_deref().map(|path| ConfigFile::read(path, outside, &keys)).transpose() {
        Ok(read) => read.unwrap_or_default(),
        Err(problems) => return Err(problems),
    };
    let list: Vec<Setting> = keys.into_iter().map(|key| Setting::of(key, matches, outside, &file)).collect();
    problems.extend(list.iter().filter_map(Setting::problem));
    let names = Names::of(&list, &problems);
    let start = match command::typed(&list, &names, path.as_deref()) {
        Ok(start) => start,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    match node::options(&start, &names) {
        Ok(options) if problems.is_empty() => Ok(Settings { start, options, list }),
        Ok(_) => Err(problems),
        Err(further) => Err(problems.into_iter().chain(further).collect()),
    }
}

impl Setting {
    fn of(key: Key, matches: &ArgMatches, outside: Outside<'_>, file: &ConfigFile) -> Self {
        let told = |key: &Key| {
            let all = matches.get_raw(key.id())?.collect::<Vec<_>>();
            Some(all.join(OsStr::new(",")))
        };
        let (value, place) = if matches.value_source(key.id()) == Some(ValueSource::CommandLine) {
            (told(&key), Place::Flag)
        } else if let Some(value) = key.variable().and_then(outside.variable) {
            (Some(value), Place::Environment)
        } else if let Some(given) = file.get(key.id()) {
            (Some(given.text.clone().into()), Place::File { path: file.path.clone(), line: given.line })
        } else {
            (key.default(), Place::Default)
        };
        Self { key, value, place }
    }

    /// What is wrong with it alone. A file's values were checked when it was read, also those that nobody uses.
    fn problem(&self) -> Option<Problem> {
        let name = self.place.name(&self.key);
        let Some(value) = self.value.as_deref() else {
            let missing = self.key.is_required().then(|| "missing; a node can't be started without it".to_owned())?;
            return Some(Problem { setting: self.key.id().to_owned(), place: name, error: missing });
        };
        let equals = match self.place {
            Place::Flag => " ",
            Place::Environment => "=",
            Place::File { .. } | Place::Default => return None,
        };
        let error = self.key.check(value).err()?;
        let place = format!("{name}{equals}{}", self.key.shown(&value.to_string_lossy()));
        Some(Problem { setting: self.key.id().to_owned(), place: place.trim_end().to_owned(), error })
    }
}

#[cfg(test)]
mod tests;
