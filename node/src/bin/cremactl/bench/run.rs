//! Runs one phase, the filling or the measurement: lanes on threads of their own, each with a runtime for itself, so that
//! no lane moves from thread to thread.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use crema::types::Draw;
use tokio::{runtime, sync::oneshot, task::LocalSet};

use super::{
    Bench, Target,
    door::{Ways, Words},
    keys::Distribution,
    lane::{Lane, Shared},
    measured::Measured,
    pace::Quota,
    progress::{Goal, Progress},
};

/// Which keys a phase is about, and for how long.
pub(super) struct Phase {
    pick: Pick,
    ratio: f64,
    rate: Option<f64>,
    warm_up: Duration,
    goal: Goal,
}

/// Where the keys' numbers come from.
pub(super) enum Pick {
    /// From a distribution.
    Drawn(Distribution),
    /// One after the other.
    InOrder(AtomicU64),
}

impl Phase {
    /// Every key is written once, as fast as it goes.
    pub(super) fn fill(bench: &Bench) -> Self {
        let pick = Pick::InOrder(AtomicU64::new(0));
        Self { pick, ratio: 0.0, rate: None, warm_up: Duration::ZERO, goal: Goal::Commands(bench.keys) }
    }

    /// What the flags ask for.
    pub(super) fn measure(bench: &Bench) -> Self {
        let goal = match bench.requests {
            Some(requests) => Goal::Commands(requests),
            None => Goal::Time(Duration::from_secs_f64(bench.seconds)),
        };
        Self {
            pick: Pick::Drawn(bench.distribution()),
            ratio: bench.ratio,
            rate: bench.rate,
            warm_up: Duration::from_secs_f64(bench.warm_up),
            goal,
        }
    }
}

/// What every lane knows.
pub(super) struct Load {
    target: Target,
    addrs: Vec<String>,
    clients: usize,
    pipeline: usize,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    pub(super) pick: Pick,
    pub(super) ratio: f64,
    pub(super) rate: Option<f64>,
    /// When the first command is to start.
    pub(super) started: Instant,
    /// From when on it is measured.
    pub(super) from: Instant,
    pub(super) quota: Quota,
    /// Commands that were answered, in the warm-up too.
    pub(super) done: Arc<AtomicU64>,
}

impl Load {
    /// Lanes of each client.
    fn lanes_each(&self) -> usize {
        match self.target {
            Target::Resp => 1,
            Target::Grpc | Target::Etcd => self.pipeline,
        }
    }

    /// Lanes of all clients.
    pub(super) fn lanes(&self) -> usize {
        self.clients * self.lanes_each()
    }

    /// Commands of a batch.
    pub(super) fn batch(&self) -> usize {
        self.pipeline / self.lanes_each()
    }
}

/// What a phase has come to.
pub(super) struct Ran {
    pub(super) measured: Measured,
    /// From when it was begun to measure until the last lane had ended.
    pub(super) took: Duration,
}

/// Runs it to its end.
pub(super) async fn run(bench: &Bench, phase: Phase) -> anyhow::Result<Ran> {
    let Phase { pick, ratio, rate, warm_up, goal } = phase;
    let started = Instant::now();
    let from = started + warm_up;
    let load = Arc::new(Load {
        target: bench.target,
        addrs: bench.addr.clone(),
        clients: usize::from(bench.clients),
        pipeline: usize::from(bench.pipeline),
        timeout: bench.timeout(),
        seed: bench.seed,
        pick,
        ratio,
        rate,
        started,
        from,
        quota: match goal {
            Goal::Time(time) => Quota::Until(from + time),
            Goal::Commands(count) => Quota::requests(count, from),
        },
        done: Arc::default(),
    });
    let progress = Progress::show(goal, warm_up, load.done.clone());
    let threads = bench.threads().min(load.clients);
    let running: Vec<_> = (0..threads)
        .map(|number| on_a_thread(load.clone(), bench.prefix.clone(), bench.value_size, number, threads))
        .collect();
    let mut measured = Measured::new();
    for thread in running {
        measured.add(thread?.await.context("a thread of the bench panicked")??);
    }
    drop(progress);
    Ok(Ran { measured, took: from.elapsed() })
}

/// Runs every `threads`th client, from `number` on.
fn on_a_thread(
    load: Arc<Load>,
    prefix: String,
    value_size: u32,
    number: usize,
    threads: usize,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<Measured>>> {
    let (done, receiver) = oneshot::channel();
    let work = move || {
        let mut draw = Draw::new(load.seed);
        let value: Vec<u8> = (0..value_size).map(|_| b'a' + draw.below(26) as u8).collect();
        let words = Words { prefix, value: value.into() };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let clients = (number..load.clients).step_by(threads).collect();
        LocalSet::new().block_on(&runtime, lanes(load, words, clients))
    };
    let thread = thread::Builder::new().name(format!("bench-{number}"));
    // Nobody listens any more when another thread has failed.
    thread.spawn(move || drop(done.send(work()))).context("start a thread of the bench")?;
    Ok(receiver)
}

async fn lanes(load: Arc<Load>, words: Words, clients: Vec<usize>) -> anyhow::Result<Measured> {
    let shared = Rc::new(Shared { load: load.clone(), words, measured: RefCell::new(Measured::new()) });
    let mut running = Vec::new();
    for client in clients {
        let ways = Rc::new(Ways::new(load.target, &load.addrs, client).map_err(|error| anyhow!(error))?);
        for lane in 0..load.lanes_each() {
            let lane = Lane::new(shared.clone(), ways.clone(), client * load.lanes_each() + lane);
            running.push(tokio::task::spawn_local(lane.run()));
        }
    }
    for lane in running {
        lane.await.context("a client of the bench panicked")?;
    }
    Ok(shared.measured.replace(Measured::new()))
}
