//! `bench`: a load generator for the doors of Crema, and for what it is measured against: Redis and etcd.
//!
//! A *lane* has one batch under way. Over RESP each connection is a lane and a batch is a pipeline of commands; over gRPC
//! (Crema's own, or etcd's) each call under way is a lane, and the lanes of a client share its connection.
//!
//! In a **closed loop** a lane sends its next batch when the last is answered. When the server stalls the lanes stall with
//! it, so few latencies are long ones; the longest pause of a client is reported on its own. In an **open loop** (`--rate`)
//! each command has the moment at which it is to start, and its latency counts from there, however late it could be sent.

mod door;
mod etcd;
mod grpc;
mod keys;
mod lane;
mod measured;
mod pace;
mod progress;
mod report;
mod resp;
mod run;

use std::{env, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::{Answer, CommonArgs, Output, address};
use keys::Distribution;
use report::Report;
use run::Phase;

/// What `--help` says of the verb.
pub(crate) const ABOUT: &str = "\
Load a cluster, a Redis or an etcd, and print rates and latencies

Without --rate it is a closed loop: each client sends its next batch when the last one is answered. With --rate it is an open
loop: so many commands are to start in each second, whatever the answers do, and a latency counts from the moment at which its
command was to start. What is not answered is counted by the kind of the error and is no latency.";

/// Loads the cluster.
#[derive(Args)]
pub(crate) struct Bench {
    /// What is spoken to
    #[arg(long, value_enum, default_value_t = Target::Resp)]
    target: Target,
    /// Addresses; the clients are spread over them [default: CREMA_ADDR or 127.0.0.1:6379, for gRPC CREMA_GRPC or
    /// 127.0.0.1:7000, for etcd 127.0.0.1:2379]
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT", value_parser = address, hide_default_value = true)]
    addr: Vec<String>,
    /// Connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Commands under way on a connection: over RESP sent and awaited together, over gRPC each on its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pipeline: u16,
    /// Share of reads, all linearizable: 0 writes only, 1 reads only
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    ratio: f64,
    /// Different keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// What each key begins with; with a {tag} all are in one shard
    #[arg(long, default_value = "key:", value_parser = prefix)]
    prefix: String,
    /// How keys are drawn
    #[arg(long, value_enum, default_value_t = Draws::Uniform)]
    distribution: Draws,
    /// How skewed zipf is: the nth key is drawn as often as n to the power of minus this
    #[arg(long, default_value_t = 0.99, value_name = "EXPONENT", value_parser = exponent)]
    zipf: f64,
    /// Bytes in a value
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=8 * 1024 * 1024))]
    value_size: u32,
    /// Write every key once before anything is measured
    #[arg(long)]
    fill: bool,
    /// Load for this long before anything is measured
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", value_parser = seconds_or_none)]
    warm_up: f64,
    /// Measure for this long
    #[arg(long, default_value_t = 10.0, conflicts_with = "requests", value_parser = seconds)]
    seconds: f64,
    /// Measure until this many commands were sent
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Open loop: start so many commands in a second, of all clients together
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Threads that send and receive [default: half the cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// What decides the draws of keys and commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: CommonArgs,
}

/// Whose protocol is spoken.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Crema's door for Redis clients, or a Redis
    Resp,
    /// crema.v1.Cache
    Grpc,
    /// etcdserverpb.KV of an etcd, version 3
    Etcd,
}

/// How keys are drawn.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Draws {
    /// Each as often as any other
    Uniform,
    /// A few very often, most hardly ever
    Zipf,
}

fn number(text: &str, what: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("expected {what}"))?;
    if range.contains(&value) { Ok(value) } else { Err(format!("expected {what}")) }
}

fn share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1", 0.0..=1.0)
}

fn exponent(text: &str) -> Result<f64, String> {
    number(text, "a number from 0.01 to 10", 0.01..=10.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, "seconds, above 0", 0.001..=1e6)
}

fn seconds_or_none(text: &str) -> Result<f64, String> {
    number(text, "seconds", 0.0..=1e6)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, "commands in a second, above 0", 0.001..=1e9)
}

fn prefix(text: &str) -> Result<String, String> {
    let longest = 64 * 1024 - keys::DIGITS;
    if text.len() <= longest { Ok(text.to_owned()) } else { Err(format!("longer than {longest} bytes")) }
}

impl Bench {
    /// Fails only when nothing could be measured; errors under load are part of the report.
    pub(crate) async fn run(mut self) -> anyhow::Result<Answer> {
        if self.addr.is_empty() {
            self.addr = self.target.addresses()?;
        }
        self.reach_a_node().await?;
        let output = self.common.output;
        if self.fill {
            let filled = run::run(&self, Phase::fill(&self)).await?;
            let errors = filled.measured.errors;
            ensure!(errors.is_empty(), "not every key could be written: {errors:?}");
        }
        let report = Report::new(&self, run::run(&self, Phase::measure(&self)).await?);
        let text = match output {
            Output::Table => report.table(),
            Output::Json => format!("{:#}\n", report.json()),
        };
        Ok(Answer { text: text.into_bytes(), found: report.succeeded() > 0 })
    }

    /// So that a wrong address is one clear error, not a report full of them.
    async fn reach_a_node(&self) -> anyhow::Result<()> {
        let mut last = None;
        for addr in &self.addr {
            let connect = tokio::net::TcpStream::connect(addr);
            match tokio::time::timeout(self.common.timeout(), connect).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => last = Some((addr, error)),
                Err(late) => last = Some((addr, late.into())),
            }
        }
        match last {
            Some((addr, error)) => Err(error).with_context(|| format!("connect to {addr}")),
            None => bail!("no address given"),
        }
    }

    fn distribution(&self) -> Distribution {
        match self.distribution {
            Draws::Uniform => Distribution::uniform(self.keys),
            Draws::Zipf => Distribution::zipf(self.keys, self.zipf),
        }
    }

    /// Half the cores: the other half is left to what is measured, when that is on the same machine.
    fn threads(&self) -> usize {
        let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        self.threads.map_or_else(half, usize::from)
    }

    fn timeout(&self) -> Duration {
        self.common.timeout()
    }
}

impl Target {
    /// Where it is looked for when no address is given: where the other verbs look, too.
    fn addresses(self) -> anyhow::Result<Vec<String>> {
        let (variable, default) = match self {
            Self::Resp => (Some("CREMA_ADDR"), "127.0.0.1:6379"),
            Self::Grpc => (Some("CREMA_GRPC"), "127.0.0.1:7000"),
            Self::Etcd => (None, "127.0.0.1:2379"),
        };
        let given = variable.and_then(|name| Some((name, env::var(name).ok()?)));
        let Some((name, list)) = given else { return Ok(vec![default.to_owned()]) };
        list.split(',').map(|text| address(text).map_err(|why| anyhow::anyhow!("{name}: '{text}': {why}"))).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Resp => "resp",
            Self::Grpc => "grpc",
            Self::Etcd => "etcd",
        }
    }
}
