//! The command line: once as it is typed, with the values of settings unread, and once as checked values.

use std::{ffi::OsString, path::Path};

use clap::{
    Arg, Args as _, Command, FromArgMatches as _,
    builder::{EnumValueParser, OsStr as Name, PossibleValue, Resettable, TypedValueParser},
};

use super::{
    Setting,
    catalogue::{CONFIG, Key},
    check::Output,
    problem::{Names, Problem},
};
use crate::args::{Dev, Start};

/// What wins, for `--help`.
const PRECEDENCE: &str = "\
Each setting comes from the first that gives it: its flag, its environment variable, the config file, its default.

In the file (TOML) the heading is the table and the flag's name, with _ for -, is the key:

  [node]
  node_id = 1
  linger = \"5s\"

  [cluster]
  peers = [\"1=db-1:7000\", \"2=db-2:7000\", \"3=db-3:7000\"]

  [storage]
  storage = \"rocksdb\"
  data_dir = \"data\"

  [storage.checkpoints]
  checkpoint_interval = \"30m\"

`crema-node config check`, with the same flags, says what would hold and where it comes from.";

/// `crema-node`, as it is typed. Its settings are read by [`super::resolve`].
pub(crate) fn command() -> Command {
    let start = Command::new("start").about("Runs one node of a cluster").after_help(PRECEDENCE);
    let dev = Command::new("dev").about("Runs a whole cluster in this process, on loopback ports, in memory");
    let check = Command::new("check")
        .about("Checks settings as `start` would, starts nothing, and prints them with where each comes from")
        .after_help(PRECEDENCE);
    let output = Arg::new("output").short('o').long("output").help("How the answer is printed");
    let output = output.value_parser(EnumValueParser::<Output>::new()).default_value("table");
    let config = Command::new("config").about("Looks at the settings of a node").subcommand_required(true);
    Command::new("crema-node")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A strongly consistent, sharded cache")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(settings(start))
        .subcommand(Dev::augment_args(dev))
        .subcommand(config.arg_required_else_help(true).subcommand(settings(check).arg(output)))
}

/// With every setting as a flag that takes whatever is written.
fn settings(command: Command) -> Command {
    let unread = |arg: Arg| if arg.get_id() == CONFIG { arg } else { Key::unread(arg) };
    Start::augment_args(command).mut_args(unread)
}

/// Takes every value, and shows in the help which are possible.
#[derive(Clone)]
pub(super) struct Anything(pub(super) Vec<PossibleValue>);

impl TypedValueParser for Anything {
    type Value = OsString;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &std::ffi::OsStr) -> Result<OsString, clap::Error> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        (!self.0.is_empty()).then(|| Box::new(self.0.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }
}

/// The settings as the flags' own types. Those that are wrong keep their default: nobody looks at them
/// ([`Names::sound`]), but the others can still be held against each other.
pub(super) fn typed(list: &[Setting], names: &Names, file: Option<&Path>) -> Result<Start, Problem> {
    let given = |setting: &&Setting| names.sound(&[setting.key.id()]);
    let words = list.iter().filter(given).filter_map(|setting| setting.key.words(setting.value.as_deref()?));
    let file = file.map(|path| {
        let mut word = OsString::from("--config=");
        word.push(path);
        word
    });
    // Without a number of its own there is no node; that it is missing was told.
    let stand_in = (!names.sound(&["node_id"])).then(|| OsString::from("--node-id=1"));
    let alone = |arg: Arg| arg.env(Resettable::<Name>::Reset);
    let command = Start::augment_args(Command::new("start")).no_binary_name(true).mut_args(alone);
    let matches = command.try_get_matches_from(words.chain(file).chain(stand_in));
    matches.and_then(|matches| Start::from_arg_matches(&matches)).map_err(|error| Problem {
        setting: "start".to_owned(),
        place: "settings".to_owned(),
        error: error.to_string(),
    })
}
