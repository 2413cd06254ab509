//! `crema-node`: a cache node (`start`), a whole cluster to try things out (`dev`), or a look at settings (`config check`).

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{ArgMatches, FromArgMatches as _};

mod args;
mod config;
mod dev;
mod doors;
mod start;
mod telemetry;
mod zone;

fn main() -> ExitCode {
    let matches = config::command().get_matches();
    let outside =
        config::Outside { variable: &|name| std::env::var_os(name), file: &|path| std::fs::read_to_string(path) };
    let done = match matches.subcommand() {
        Some(("start", matches)) => match config::resolve(matches, outside) {
            Ok(settings) => start(settings),
            Err(problems) => Err(anyhow::anyhow!("{}", config::report(&problems))),
        },
        Some(("dev", matches)) => dev(matches),
        Some(("config", verbs)) => match verbs.subcommand() {
            Some(("check", matches)) => return config::check::run(matches, outside),
            Some(_) | None => unreachable!("the command line has no other verb"),
        },
        Some(_) | None => unreachable!("the command line has no other verb"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log: this is for whoever typed the command, whatever the log filter says.
            eprintln!("crema-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: config::Settings) -> anyhow::Result<()> {
    telemetry::init(&settings.start.log);
    run(start::run(settings))
}

fn dev(matches: &ArgMatches) -> anyhow::Result<()> {
    let dev = args::Dev::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    telemetry::init(&dev.log);
    run(dev::run(dev))
}

fn run(node: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("doors")
        .build()
        .context("start the async runtime")?;
    runtime.block_on(node)
}
