//! `cremactl`: a look at a running cluster, changes of it, and load for it, from a terminal or a script.
//!
//! An ordinary client of the doors: it speaks RESP for keys, RESP or gRPC for `bench`, HTTP for `status` and `shards`, gRPC with the
//! cluster token for whatever concerns the cluster as a whole, and knows nothing that another client could not know.
//! Only `checkpoint` asks nobody: it reads files.
//! Exit code 0 is success, 1 a refusal, a failure or an absent key, 2 bad flags.

mod admin;
mod bench;
mod checkpoint;
mod format;
mod forming;
mod http;
mod keys;
mod migrations;
mod nodes;
mod reset;
mod resp;
mod settings;
mod shards;
mod status;
mod table;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "cremactl", version, about = "Look at a Crema cluster, change keys, and measure it")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the value of a key
    Get(keys::Get),
    /// Set the value of a key
    Put(keys::Put),
    /// Remove keys
    Del(keys::Del),
    /// Show what a node says of itself
    Status(HttpArgs),
    /// Show the shards, as one node sees them or all
    Shards(shards::Shards),
    /// Form a cluster of nodes that belong to none
    Init(forming::Init),
    /// Show the members
    Nodes(nodes::Nodes),
    /// Move every replica away from nodes that are to leave
    Drain(nodes::Drain),
    /// Take a drain back, or let a node in that is joining and waits for it
    Undrain(nodes::OneNode),
    /// Let a node that holds no replica any more leave for good
    Remove(nodes::OneNode),
    /// Let shards that lost their majority for good return EMPTY: the last resort
    #[command(long_about = reset::ABOUT)]
    ResetShards(reset::ResetShards),
    /// Plan now, and begin what the plan says
    Rebalance(migrations::Rebalance),
    /// Move one replica of a shard
    MoveShard(shards::MoveShard),
    /// Let a node lead a shard
    TransferLeader(shards::TransferLeader),
    /// Let no migration begin or copy
    Pause(migrations::Plain),
    /// Let migrations go on
    Resume(migrations::Plain),
    /// Roll a migration back
    Cancel(migrations::Cancel),
    /// Show what moves, and how far it is
    Migrations(migrations::Plain),
    /// Show or change what all replicas agree on
    Settings(settings::Settings),
    /// Wait until nothing ails the cluster
    WaitHealthy(forming::WaitHealthy),
    /// Look at checkpoint files, with or without a running node
    Checkpoint(checkpoint::Checkpoint),
    /// Load a cluster, a Redis or an etcd, and print rates and latencies
    #[command(long_about = bench::ABOUT)]
    Bench(bench::Bench),
}

/// How to reach the RESP door.
#[derive(Args)]
struct RespArgs {
    /// RESP address of any node
    #[arg(long, default_value = "127.0.0.1:6379", env = "CREMA_ADDR", value_name = "HOST:PORT", value_parser = address)]
    addr: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// How to reach the HTTP door.
#[derive(Args)]
struct HttpArgs {
    /// HTTP address of a node
    #[arg(long, default_value = "127.0.0.1:9090", env = "CREMA_HTTP", value_name = "HOST:PORT", value_parser = address)]
    http: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct CommonArgs {
    /// Give up on a node that has not answered after this long
    #[arg(long, default_value_t = 15_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl CommonArgs {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What a verb prints, and whether it found what it was asked for.
struct Answer {
    text: Vec<u8>,
    found: bool,
}

impl Answer {
    fn found(text: impl Into<Vec<u8>>) -> Self {
        Self { text: text.into(), found: true }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let answer = match cli.verb {
        Verb::Get(get) => get.run().await,
        Verb::Put(put) => put.run().await,
        Verb::Del(del) => del.run().await,
        Verb::Status(args) => status::status(&args).await,
        Verb::Shards(shards) => shards.run().await,
        Verb::Init(init) => init.run().await,
        Verb::Nodes(nodes) => nodes.run().await,
        Verb::Drain(drain) => drain.run().await,
        Verb::Undrain(node) => node.undrain().await,
        Verb::Remove(node) => node.remove().await,
        Verb::ResetShards(reset) => reset.run().await,
        Verb::Rebalance(rebalance) => rebalance.run().await,
        Verb::MoveShard(shard) => shard.run().await,
        Verb::TransferLeader(shard) => shard.run().await,
        Verb::Pause(plain) => plain.pause().await,
        Verb::Resume(plain) => plain.resume().await,
        Verb::Cancel(cancel) => cancel.run().await,
        Verb::Migrations(plain) => plain.migrations().await,
        Verb::Settings(settings) => settings.run().await,
        Verb::WaitHealthy(wait) => wait.run().await,
        Verb::Checkpoint(checkpoint) => checkpoint.run(),
        Verb::Bench(bench) => bench.run().await,
    };
    match answer.and_then(|answer| print(&answer.text).map(|()| answer.found)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cremactl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. A reader that went away (`| head`) has seen enough: no error.
fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("write to standard output"),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Parses `HOST:PORT`; the name is resolved when it is used.
fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
    if host.is_empty() {
        return Err("expected HOST:PORT, the host is missing".to_owned());
    }
    port.parse::<u16>().map_err(|_| format!("'{port}' is not a port"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses() {
        assert!(address("localhost:6379").is_ok() && address("[::1]:1").is_ok());
        for bad in ["localhost", ":6379", "a:b", "a:70000"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_flags_are_refused() {
        for line in [
            "cremactl",
            "cremactl get",
            "cremactl put a b --ttl 0",
            "cremactl bench --ratio 1.5",
            "cremactl bench --clients 0",
            "cremactl bench --seconds 1 --requests 5",
            "cremactl bench --target memcached",
            "cremactl bench --rate 0",
            "cremactl bench --rate NaN",
            "cremactl bench --zipf 0",
            "cremactl bench --threads 0",
            "cremactl shards -o yaml",
            "cremactl shards --all --http 127.0.0.1:9090",
            "cremactl drain",
            "cremactl drain 0",
            "cremactl drain 3 --dry-run --no-wait",
            "cremactl move-shard 3 --from 1",
            "cremactl transfer-leader 3",
            "cremactl reset-shards --dead 2=0123456789abcdef0123456789abcdef",
            "cremactl reset-shards --shards 1 --dead 2",
            "cremactl settings",
            "cremactl settings set --replication 0",
            "cremactl settings set --eviction fifo",
            "cremactl init --nodes 1",
            "cremactl wait-healthy --timeout x",
            "cremactl checkpoint",
            "cremactl checkpoint list",
            "cremactl checkpoint verify",
            "cremactl checkpoint dump a b",
            "cremactl checkpoint dump a --limit x",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
