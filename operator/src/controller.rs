//! The loop of the replica that leads: watches wake clusters, and each cluster that is due gets a pass.
//!
//! Called by `main` once the lease is held. Passes over different clusters run side by side, over the same one never. One that
//! fails is tried again after a pause that grows; nothing is kept of a cluster that could not be found out again. Dropping
//! the loop stops everything that is under way.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{fault::FaultPoint, health::Health, lease::Guard, metrics::Metrics};

mod judge;
mod pass;
mod queue;
mod trace;
mod turn;
mod watch;

pub use judge::ClusterDefaults;
use pass::Operator;
pub use queue::Key;
use queue::{Done, Next, Schedule};

/// Clusters that were woken and not yet heard of: more wait in the watches.
const WAKES: usize = 1024;
/// The loop turns at least that often, for `/livez`.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// When the process is to end, passes have so long to end by themselves.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// What the loop is told.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// The namespaces that are looked after; none: all of them.
    pub namespaces: Vec<String>,
    /// The name of this process, for events.
    pub identity: String,
    /// Passes at once.
    pub concurrency: NonZeroUsize,
    /// A cluster is looked at that often though nothing seems to have changed.
    pub resync: Duration,
    /// What holds for clusters that don't say.
    pub defaults: ClusterDefaults,
    /// Where a test has the process die.
    pub faults: Vec<FaultPoint>,
}

/// Looks after all clusters until `stop` resolves, or until the watches fail for good.
pub async fn run(
    client: Client,
    config: ControllerConfig,
    guard: Guard,
    health: Health,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) {
    let (wake, mut woken) = mpsc::channel(WAKES);
    let mut watches = watch::start(&client, &config.namespaces, &wake, &metrics);
    let mut passes = Passes::new(Operator::new(client, &config, guard, metrics.clone()), config.concurrency);
    tokio::pin!(stop);
    loop {
        health.turned();
        let due = passes.begin(Instant::now());
        metrics.set_clusters(passes.schedule.len());
        tokio::select! {
            () = &mut stop => break,
            Some(key) = woken.recv() => passes.schedule.wake(key, Instant::now()),
            Some(ended) = passes.running.join_next_with_id() => passes.ended(ended, Instant::now()),
            ended = watches.join_next() => {
                // A stream begins anew by itself; that one ends is a fault of this program.
                tracing::error!(?ended, "a watch has ended: the process starts anew");
                break;
            }
            () = sleep_until(due) => {}
        }
    }
    drop(watches);
    passes.finish().await;
}

/// What is due, and what runs.
struct Passes {
    operator: Arc<Operator>,
    concurrency: usize,
    schedule: Schedule,
    running: JoinSet<Done>,
    keys: HashMap<Id, Key>,
}

impl Passes {
    fn new(operator: Operator, concurrency: NonZeroUsize) -> Self {
        Self {
            operator: Arc::new(operator),
            concurrency: concurrency.get(),
            schedule: Schedule::default(),
            running: JoinSet::new(),
            keys: HashMap::new(),
        }
    }

    /// Begins what is due, as far as there is room; says when to look again.
    fn begin(&mut self, now: Instant) -> Instant {
        let heartbeat = now + HEARTBEAT;
        while self.running.len() < self.concurrency {
            match self.schedule.next(now) {
                Next::Run(key) => {
                    let (operator, about) = (Arc::clone(&self.operator), key.clone());
                    let task = self.running.spawn(async move { operator.pass(&about).await });
                    self.keys.insert(task.id(), key);
                }
                Next::Wait(until) => return until.min(heartbeat),
                Next::Idle => return heartbeat,
            }
        }
        heartbeat
    }

    fn ended(&mut self, ended: Result<(Id, Done), JoinError>, now: Instant) {
        let (id, done) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a pass did not end by itself");
                (error.id(), Done::Failed)
            }
        };
        if let Some(key) = self.keys.remove(&id) {
            self.schedule.done(&key, done, now);
        }
    }

    /// Lets what runs come to its end; whoever leads next must meet nobody.
    async fn finish(mut self) {
        let ending = async { while self.running.join_next().await.is_some() {} };
        if timeout(LAST_STEPS, ending).await.is_err() {
            tracing::warn!("passes are cut off: they took too long to end");
            self.running.shutdown().await;
        }
    }
}
