//! Every setting of `start` as a key of a config file, derived from clap's command: the heading of a flag is its table,
//! its long name is its key.

use std::{
    any::TypeId,
    error::Error as _,
    ffi::{OsStr, OsString},
};

use clap::{
    Arg, ArgAction, Args as _, Command,
    builder::{OsStr as Name, Resettable},
    error::{ContextKind, ContextValue},
};
use crema::types::NodeId;

use crate::args::Start;

/// What is shown of a secret.
const HIDDEN: &str = "***";

/// The flag that names the file itself, and so is no key in it.
pub(super) const CONFIG: &str = "config";

/// A setting, by all its names.
#[derive(Clone, Debug)]
pub(super) struct Key {
    arg: Arg,
    /// `storage.checkpoints`.
    pub(super) table: String,
    /// `checkpoint_rate`.
    pub(super) name: String,
    /// How a file writes it.
    pub(super) kind: Kind,
}

/// How a file writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `"text"`.
    Text,
    /// `1`.
    Number,
    /// `true`.
    Switch,
    /// `["text", "text"]`.
    List,
}

/// All settings of `start`, table by table as in its help.
pub(super) fn catalogue() -> Vec<Key> {
    let command = Start::augment_args(Command::new("start"));
    let keys: Vec<Key> =
        command.get_arguments().filter(|arg| arg.get_id() != CONFIG).cloned().map(Key::new).collect();
    let mut sorted = keys.clone();
    sorted.sort_by_key(|key| keys.iter().position(|first| first.table == key.table));
    sorted
}

impl Key {
    fn new(arg: Arg) -> Self {
        let table = arg.get_help_heading().unwrap_or_default().to_lowercase().replace(": ", ".");
        let name = arg.get_long().unwrap_or_default().replace('-', "_");
        let parsed = arg.get_value_parser().type_id();
        let is = |type_id: TypeId| parsed == type_id;
        let number = is(TypeId::of::<u32>()) || is(TypeId::of::<u64>()) || is(TypeId::of::<NodeId>());
        let kind = if arg.get_value_delimiter().is_some() {
            Kind::List
        } else if is(TypeId::of::<bool>()) {
            Kind::Switch
        } else if number {
            Kind::Number
        } else {
            Kind::Text
        };
        Self { arg, table, name, kind }
    }

    /// By which clap knows it.
    pub(super) fn id(&self) -> &str {
        self.arg.get_id().as_str()
    }

    /// `--checkpoint-rate`.
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.arg.get_long().unwrap_or_default())
    }

    /// `CREMA_CHECKPOINT_RATE`.
    pub(super) fn variable(&self) -> Option<&str> {
        self.arg.get_env()?.to_str()
    }

    /// `storage.checkpoints.checkpoint_rate`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// Its value when nobody gives one.
    pub(super) fn default(&self) -> Option<OsString> {
        match self.arg.get_action() {
            ArgAction::SetTrue => Some("false".into()),
            _ => self.arg.get_default_values().first().map(|value| value.to_os_string()),
        }
    }

    /// What its help says of the default that only the node knows: `[default: half the cores]`.
    pub(super) fn hint(&self) -> Option<String> {
        let help = self.arg.get_help()?.to_string();
        let (_, hint) = help.split_once("[default: ")?;
        Some(hint.split_once(']')?.0.to_owned())
    }

    /// Whether a node can't do without.
    pub(super) fn is_required(&self) -> bool {
        self.arg.is_required_set()
    }

    /// A value, unless nobody may see it.
    pub(super) fn shown<'a>(&self, value: &'a str) -> &'a str {
        if self.arg.is_hide_env_values_set() { HIDDEN } else { value }
    }

    /// The words of a command line that give this value.
    pub(super) fn words(&self, value: &OsStr) -> Option<OsString> {
        match self.arg.get_action() {
            ArgAction::SetTrue => (value == "true").then(|| self.flag().into()),
            _ => {
                let mut word = OsString::from(format!("{}=", self.flag()));
                word.push(value);
                Some(word)
            }
        }
    }

    /// Whether the flag takes this value; else what would be right.
    pub(super) fn check(&self, value: &OsStr) -> Result<(), String> {
        let text = value.to_str();
        if self.kind == Kind::Switch && !matches!(text, Some("true" | "false")) {
            return Err("write true or false".to_owned());
        }
        // A member's number has a second form, outside of files.
        let is_plain = self.kind == Kind::Number && self.arg.get_value_parser().type_id() != TypeId::of::<NodeId>();
        if is_plain && text.is_none_or(|text| text.parse::<u64>().is_err()) {
            return Err("write a whole number, 0 or more".to_owned());
        }
        let alone = self.arg.clone().required(false).env(Resettable::<Name>::Reset);
        let command = Command::new("one").no_binary_name(true).disable_help_flag(true).arg(alone);
        let Err(error) = command.try_get_matches_from(self.words(value)) else { return Ok(()) };
        match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) if !valid.is_empty() => Err(format!("write {}", valid.join(" or "))),
            _ => Err(error.source().map_or_else(|| "it needs a value".to_owned(), ToString::to_string)),
        }
    }

    /// The setting as clap is to read it: whatever is written after it.
    pub(super) fn unread(arg: Arg) -> Arg {
        let possible = arg.get_possible_values();
        arg.required(false).value_parser(super::command::Anything(possible))
    }
}

#[cfg(test)]
mod tests;
