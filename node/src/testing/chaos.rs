//! Chaos by hand: a cluster, clients, and trouble at moments of the caller's choice.
//!
//! For programs that embed the library and want to see what theirs would live through. [`ChaosCluster::run`] plays it in
//! virtual time, in a fraction of a second, and judges it as every simulated run is judged: each key's history must be
//! linearizable, replicas must be equal, nothing that was acknowledged may be lost, and the cluster must recover once the
//! trouble is over. Nothing here plants a bug: what fails is Crema's fault.

use std::time::Duration;

use super::{
    check::SearchLimit,
    clock::{MS, Micros, SECOND},
    forming,
    invariants::Failure,
    plan::{Load, Plan, Shape},
    world::{self, Passed, Scenario, Trial},
};
use crate::faults::Faults;

mod trouble;

pub use trouble::Trouble;

/// The calm that follows the last trouble, before the cluster has to have recovered.
const CALM: Duration = Duration::from_secs(2);
/// What the judge of histories and patience allow.
const MOST_NODES: usize = 16;
const MOST_SHARDS: u32 = 64;
const MOST_CLIENTS: u64 = 64;
const MOST_OPERATIONS: usize = 10_000;
const LONGEST: Duration = Duration::from_secs(600);

/// A cluster in virtual time, and what it will go through. The same settings and seed give the same run, to the last event.
///
/// ```
/// use std::time::Duration;
///
/// use crema::testing::{ChaosCluster, Trouble};
///
/// # fn main() -> Result<(), crema::testing::ChaosError> {
/// let at = Duration::from_millis;
/// let report = ChaosCluster::new(3)
///     .seed(7)
///     .shards(2)
///     .at(at(1_000), Trouble::Isolate(1))
///     .at(at(2_000), Trouble::HealNetwork)
///     .at(at(2_500), Trouble::Crash(2))
///     .at(at(3_500), Trouble::Restart(2))
///     .run()?;
/// assert!(report.operations > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ChaosCluster {
    seed: u64,
    nodes: usize,
    spares: usize,
    shards: u32,
    replicas: usize,
    disks: bool,
    max_entries: u64,
    clients: u64,
    operations: usize,
    expiring: bool,
    troubles: Vec<(Duration, Trouble)>,
}

/// What a run that found nothing went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChaosReport {
    /// Operations that clients asked for.
    pub operations: usize,
    /// Keys whose histories were judged.
    pub keys: usize,
    /// Crashes and losses of disks that were left out: a majority's memory would have been gone for good.
    pub left_out: usize,
    /// How long it took, in the cluster's own time.
    pub took: Duration,
    /// Things that happened: messages, turns, calls.
    pub events: u64,
}

/// Why a run has no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// The settings make no sense; nothing was run.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Which of them.
        field: &'static str,
        /// What it is, and what would be right.
        reason: String,
    },
    /// Something that must always hold did not.
    #[error("seed {seed}, {at:?} after the beginning: {invariant}: {reason}")]
    Broken {
        /// The seed that shows it again.
        seed: u64,
        /// What did not hold: `linearizability`, `convergence`, and others.
        invariant: &'static str,
        /// When, in the cluster's own time.
        at: Duration,
        /// What was seen.
        reason: String,
    },
    /// The history of a key was too hard to judge: fewer clients or operations help.
    #[error("seed {seed}: too hard to judge: {reason}")]
    Undecided {
        /// The seed.
        seed: u64,
        /// How hard it was.
        reason: String,
    },
}

impl ChaosCluster {
    /// So many nodes, with 4 shards of three replicas (or as many as there are nodes) in memory, and 4 clients that ask for
    /// 1,000 operations.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            seed: 1,
            nodes,
            spares: 0,
            shards: 4,
            replicas: nodes.min(3),
            disks: false,
            max_entries: 0,
            clients: 4,
            operations: 1_000,
            expiring: true,
            troubles: Vec::new(),
        }
    }

    /// Where all dice come from: delays, elections, what clients do. 1 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Nodes beyond the first ones, for whom nobody lives at first: [`Trouble::Restart`] lets them join. Their numbers follow.
    #[must_use]
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// How many shards: 1 to 64.
    #[must_use]
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = shards;
        self
    }

    /// Voters of each shard: 1 to the number of nodes.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// The nodes have disks and go on from what they had synced; without, a process that ends has lost everything.
    #[must_use]
    pub fn disks(mut self, disks: bool) -> Self {
        self.disks = disks;
        self
    }

    /// Entries that one shard holds at most, so that there is eviction; 0 is no limit.
    #[must_use]
    pub fn shard_capacity(mut self, entries: u64) -> Self {
        self.max_entries = entries;
        self
    }

    /// How many clients: 1 to 64.
    #[must_use]
    pub fn clients(mut self, clients: u64) -> Self {
        self.clients = clients;
        self
    }

    /// After about so many operations the clients stop: up to 10,000.
    #[must_use]
    pub fn operations(mut self, operations: usize) -> Self {
        self.operations = operations;
        self
    }

    /// Whether some keys have a time to live, which is the default.
    #[must_use]
    pub fn expiring(mut self, expiring: bool) -> Self {
        self.expiring = expiring;
        self
    }

    /// Something happens at a moment of the cluster's own time, within ten minutes. The order of calls does not matter.
    #[must_use]
    pub fn at(mut self, moment: Duration, trouble: Trouble) -> Self {
        self.troubles.push((moment, trouble));
        self
    }

    /// Plays it, on this thread. Two seconds after the last trouble the network heals, paused processes go on and dead ones
    /// come back; then the cluster must recover, and every key is read through every node.
    ///
    /// # Errors
    /// [`ChaosError::Broken`] with what did not hold, [`ChaosError::Invalid`] with what can't be played.
    pub fn run(&self) -> Result<ChaosReport, ChaosError> {
        self.play(None)
    }

    /// As [`Self::run`], with a line for each thing that happens.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_traced(&self, mut line: impl FnMut(String)) -> Result<ChaosReport, ChaosError> {
        self.play(Some(&mut line))
    }

    fn play(&self, trace: Option<&mut dyn FnMut(String)>) -> Result<ChaosReport, ChaosError> {
        let plan = self.plan()?;
        report(self.seed, world::run_plan(plan, self.seed, SearchLimit::default(), trace))
    }

    fn plan(&self) -> Result<Plan, ChaosError> {
        self.check()?;
        let places = self.nodes + self.spares;
        let mut incidents = Vec::new();
        for (moment, trouble) in &self.troubles {
            incidents.push((micros(*moment), trouble.incident(places, self.shards)?));
        }
        incidents.sort_by_key(|(at, _)| *at);
        let last = self.troubles.iter().map(|(moment, _)| *moment).max().unwrap_or_default();
        Ok(Plan {
            nodes: self.nodes,
            shards: self.shards,
            replicas: self.replicas,
            skew_ms: 100,
            drift_ppm: 50,
            hibernate_ticks: 40,
            log_entries: 100,
            checkpoint_entries: 50,
            capture_step: 10,
            hash_interval: 32,
            max_entries: self.max_entries,
            durable: self.disks,
            shape: Shape { changes: true, spares: self.spares, returns: true, ..Shape::fixed() },
            load: self.load(),
            incidents,
            heal_at: micros(last + CALM).max(4 * SECOND),
        })
    }

    fn load(&self) -> Load {
        Load {
            clients: self.clients,
            max_ops: self.operations,
            pipeline: 2,
            think: 50 * MS,
            timeout_ms: 1_000,
            text_keys: 4,
            ttl: self.expiring,
            flush: false,
            reads: 50,
            quiet: None,
        }
    }

    fn check(&self) -> Result<(), ChaosError> {
        let within = |field, number: u64, least: u64, most: u64| match number {
            _ if (least..=most).contains(&number) => Ok(()),
            _ => Err(invalid(field, format!("{number}; it must be {least} to {most}"))),
        };
        within("nodes", self.nodes as u64, 1, MOST_NODES as u64)?;
        within("spares", self.spares as u64, 0, MOST_NODES as u64)?;
        within("shards", self.shards.into(), 1, MOST_SHARDS.into())?;
        within("replicas", self.replicas as u64, 1, self.nodes as u64)?;
        within("clients", self.clients, 1, MOST_CLIENTS)?;
        within("operations", self.operations as u64, 1, MOST_OPERATIONS as u64)?;
        if let Some((moment, _)) = self.troubles.iter().find(|(moment, _)| *moment > LONGEST) {
            return Err(invalid("at", format!("{moment:?}; {LONGEST:?} at most")));
        }
        if let Some((_, trouble)) = self.troubles.iter().find(|(_, trouble)| trouble.needs_disks() && !self.disks) {
            return Err(invalid("at", format!("{trouble:?}; the nodes have no disks")));
        }
        trouble::check_clocks(self.troubles.iter().map(|(_, trouble)| trouble))
    }
}

/// Plays what a seed draws: its own cluster, load and trouble, damage of memories and disks and lost majorities included.
/// The project's own tests run thousands of these.
///
/// # Errors
/// [`ChaosError::Broken`] with what did not hold.
pub fn run_seed(seed: u64) -> Result<ChaosReport, ChaosError> {
    let formed = forming::run(seed, Faults::none());
    report(seed, formed.and_then(|()| world::run(Trial::new(seed, Scenario::Sound), None)))
}

fn report(seed: u64, ended: Result<Passed, Failure>) -> Result<ChaosReport, ChaosError> {
    match ended {
        Ok(Passed { ops, checked, left_out, ended_at, events }) => Ok(ChaosReport {
            operations: ops,
            keys: checked.keys,
            left_out,
            took: Duration::from_micros(ended_at),
            events,
        }),
        Err(Failure { invariant: world::UNDECIDED, reason, .. }) => Err(ChaosError::Undecided { seed, reason }),
        Err(Failure { invariant, at, reason }) => {
            Err(ChaosError::Broken { seed, invariant, at: Duration::from_micros(at), reason })
        }
    }
}

fn invalid(field: &'static str, reason: String) -> ChaosError {
    ChaosError::Invalid { field, reason }
}

/// Everything here is within ten minutes.
fn micros(moment: Duration) -> Micros {
    moment.as_micros() as Micros
}
