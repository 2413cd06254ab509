//! What is wrong with a setting, told by the name that it was given under.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use super::{Setting, catalogue::Key};

/// Where a setting comes from. The first of these that gives one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The command line.
    Flag,
    /// A variable.
    Environment,
    /// The config file, at this line.
    File { path: PathBuf, line: usize },
    /// Nobody gave it.
    Default,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The setting, by its id.
    pub(super) setting: String,
    /// Where the mistake is.
    pub(super) place: String,
    /// What is wrong, and what would be right.
    pub(super) error: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)
    }
}

/// All of it, for whoever typed the command.
pub(crate) fn report(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let lines = many.iter().map(|problem| format!("\n  {problem}"));
            format!("{} settings are wrong:{}", many.len(), lines.collect::<String>())
        }
    }
}

impl Place {
    /// In one word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File { .. } => "file",
            Self::Default => "default",
        }
    }

    /// The name of a setting that comes from here.
    pub(super) fn name(&self, key: &Key) -> String {
        match self {
            Self::Flag | Self::Default => key.flag(),
            Self::Environment => key.variable().map_or_else(|| key.flag(), str::to_owned),
            Self::File { path, line } => format!("{}:{line}: {}", path.display(), key.path()),
        }
    }
}

/// What each setting was given as, and which are out of the question because they are wrong alone.
pub(super) struct Names {
    by_id: BTreeMap<String, (String, bool)>,
    wrong: BTreeSet<String>,
}

impl Names {
    pub(super) fn of(list: &[Setting], problems: &[Problem]) -> Self {
        let entry = |setting: &Setting| {
            let given = setting.place != Place::Default;
            (setting.key.id().to_owned(), (setting.place.name(&setting.key), given))
        };
        let wrong = problems.iter().map(|problem| problem.setting.clone()).collect();
        Self { by_id: list.iter().map(entry).collect(), wrong }
    }

    /// Whether these can be held against each other.
    pub(super) fn sound(&self, ids: &[&str]) -> bool {
        !ids.iter().any(|id| self.wrong.contains(*id))
    }

    /// Whether anybody gave it.
    pub(super) fn given(&self, id: &str) -> bool {
        self.by_id.get(id).is_some_and(|(_, given)| *given)
    }

    /// What it was given as; its flag when nobody gave it.
    pub(super) fn name(&self, id: &str) -> String {
        self.by_id.get(id).map_or_else(|| id.to_owned(), |(name, _)| name.clone())
    }

    /// A mistake of this setting.
    pub(super) fn problem(&self, id: &str, error: impl Into<String>) -> Problem {
        Problem { setting: id.to_owned(), place: self.name(id), error: error.into() }
    }
}
