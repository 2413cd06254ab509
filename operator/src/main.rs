//! `crema-operator`: wiring. Waits for the lease, then runs the controller until a signal or the lease's loss.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use crema_operator::{
    controller::{self, ControllerConfig},
    health::{Health, Role},
    lease::{Election, LeaseConfig},
    metrics::Metrics,
};
use kube::Client;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

mod args;
mod http;
mod telemetry;

use args::Args;

/// How long a loop may stand still before `/livez` fails: beyond every wait of a loop, and every pause of the lease.
const STALL: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(wrong) = args.check() {
        eprintln!("crema-operator: {wrong}");
        return ExitCode::from(2);
    }
    telemetry::init(&args);
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> anyhow::Result<()> {
    // Several crates could bring one: say which, before any TLS is spoken. An error means that one is chosen already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the async runtime")?;
    let ended = runtime.block_on(run(args));
    // A request that hangs must not keep a process that leads no more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn run(args: Args) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.http_addr).await.with_context(|| format!("listen on {}", args.http_addr))?;
    let client = Client::try_default().await.context("find the API server")?;
    let (health, metrics) = (Health::new(STALL), Metrics::new());
    let stopped = stop_signal()?;
    tokio::pin!(stopped);
    tokio::select! {
        () = http::serve(listener, health.clone(), metrics.clone(), std::future::pending()) => {
            unreachable!("the door is open for ever")
        }
        ended = lead(&args, client, health.clone(), metrics.clone(), stopped) => ended,
    }
}

async fn lead(
    args: &Args,
    client: Client,
    health: Health,
    metrics: Metrics,
    mut stopped: impl Future<Output = ()> + Unpin,
) -> anyhow::Result<()> {
    let identity = args.identity.clone().unwrap_or_else(random_identity);
    let election = Election::new(client.clone(), lease_config(args, &client, &identity));
    let tried = health.clone();
    let mut leadership = tokio::select! {
        won = election.acquire(move |answered| tried.tried_lease(answered)) => won,
        () = &mut stopped => return Ok(()),
    };
    health.set_role(Role::Leading);
    metrics.set_leading(true);
    let config = ControllerConfig {
        namespaces: args.namespaces(),
        identity,
        concurrency: args.concurrency,
        resync: args.resync,
        defaults: args.defaults(),
        faults: args.faults.clone(),
    };
    let guard = leadership.guard();
    let lost = tokio::select! {
        lost = leadership.lost() => Some(lost),
        () = controller::run(client, config, guard, health.clone(), metrics.clone(), stopped) => None,
    };
    health.set_role(Role::Stopping);
    metrics.set_leading(false);
    match lost {
        // Everything that was under way has been dropped with the controller.
        Some(lost) => Err(anyhow::Error::new(lost).context("stop: another replica may lead now")),
        None => {
            leadership.release().await;
            Ok(())
        }
    }
}

fn lease_config(args: &Args, client: &Client, identity: &str) -> LeaseConfig {
    LeaseConfig {
        namespace: args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned()),
        name: args.lease_name.clone(),
        identity: identity.to_owned(),
        duration: args.lease_duration,
        renew_deadline: args.lease_renew_deadline,
        retry: args.lease_retry,
    }
}

fn random_identity() -> String {
    format!("crema-operator-{:08x}", rand::random::<u32>())
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
    })
}
