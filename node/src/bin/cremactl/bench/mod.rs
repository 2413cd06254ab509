//! `bench`: a plain closed loop over RESP. Each client sends a batch, waits for its replies, and goes on.
//!
//! A closed loop measures latency under a fixed number of waiting clients; when the server stalls the clients stall
//! with it, so the longest pause is reported on its own. The process tests use it for load.

mod report;
mod worker;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{Answer, CommonArgs, Output, address, resp::Connection};
use report::Report;
use worker::{Quota, Worker};

/// Loads the cluster.
#[derive(Args)]
pub(crate) struct Bench {
    /// RESP address; repeat it to spread the clients over the nodes
    #[arg(long, default_value = "127.0.0.1:6379", env = "CREMA_ADDR", value_delimiter = ',', value_name = "HOST:PORT",
          value_parser = address)]
    addr: Vec<String>,
    /// Connections, each with one batch under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Commands in a batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pipeline: u16,
    /// Share of reads: 0 writes only, 1 reads only
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    ratio: f64,
    /// Different keys, drawn uniformly
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes in a value
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=8 * 1024 * 1024))]
    value_size: u32,
    /// Run for this long
    #[arg(long, default_value_t = 10.0, conflicts_with = "requests", value_parser = seconds)]
    seconds: f64,
    /// Run until this many commands were sent
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// What decides the draws of keys and commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: CommonArgs,
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("expected a number from 0 to 1".to_owned()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected seconds".to_owned())?;
    if (0.001..=1e6).contains(&value) { Ok(value) } else { Err("expected seconds, above 0".to_owned()) }
}

impl Bench {
    /// Fails only when nothing could be measured; errors under load are part of the report.
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        self.reach_a_node().await?;
        let started = Instant::now();
        let quota = match self.requests {
            Some(requests) => Quota::Requests(Arc::new(AtomicU64::new(requests))),
            None => Quota::Until(started + Duration::from_secs_f64(self.seconds)),
        };
        let output = self.common.output;
        let bench = Arc::new(self);
        let workers: Vec<_> = (0..bench.clients)
            .map(|number| tokio::spawn(Worker::new(bench.clone(), number, quota.clone(), started).run()))
            .collect();
        let mut report = Report::new(&bench);
        for worker in workers {
            report.add(worker.await.context("a client of the bench panicked")?)?;
        }
        report.took(started.elapsed());
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
            match Connection::open(addr, self.common.timeout()).await {
                Ok(_) => return Ok(()),
                Err(error) => last = Some((addr, error)),
            }
        }
        match last {
            Some((addr, error)) => Err(error).with_context(|| format!("connect to {addr}")),
            None => bail!("no address given"),
        }
    }
}
