//! `crema-node`: a cache node (`start`), or a whole cluster to try things out (`dev`).

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};

mod args;
mod dev;
mod doors;
mod start;
mod telemetry;

fn main() -> std::process::ExitCode {
    let matches = args::Args::command().get_matches();
    let args = args::Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = matches.subcommand_matches("start").map(args::StorageFlags::given).unwrap_or_default();
    telemetry::init(args.log_format, &args.log);
    match run(args.command, &given) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log: this is for whoever typed the command, whatever the log filter says.
            eprintln!("crema-node: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(command: args::Command, given: &[String]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("doors")
        .build()
        .context("start the async runtime")?;
    runtime.block_on(async {
        match command {
            args::Command::Start(options) => start::run(*options, given).await,
            args::Command::Dev(options) => dev::run(options).await,
        }
    })
}
