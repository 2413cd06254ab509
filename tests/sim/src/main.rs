//! `crema-sim`: runs seeds of `crema::testing`, and proves that the simulator finds planted bugs.

mod hunt;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::{Parser, Subcommand};
use crema::{
    faults::Fault,
    testing::{
        check::SearchLimit,
        invariants::Failure,
        world::{self, Scenario, Trial},
    },
};
use hunt::Hunted;

#[derive(Parser)]
#[command(about = "Whole clusters of the real core on one thread, from one seed")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds and stops at the first that breaks an invariant.
    Run {
        /// How many.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 1)]
        start: u64,
        /// Threads; each seed has one.
        #[arg(long, default_value_t = 2)]
        jobs: u64,
        /// Goes on after a failure and counts.
        #[arg(long)]
        keep_going: bool,
        /// States that the judge of one key's history tries before it gives up.
        #[arg(long, default_value_t = SearchLimit::default().max_steps)]
        max_steps: u64,
        /// Plants a bug, by its name.
        #[arg(long)]
        fault: Option<String>,
        /// Prints everything that happens.
        #[arg(short, long)]
        verbose: bool,
    },
    /// Plants each bug that concerns this part and runs seeds until an invariant catches it.
    Faults {
        /// Seeds for each at most.
        #[arg(long, default_value_t = 300)]
        max_seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 1)]
        start: u64,
    },
}

/// Lines of the trace that are printed with a failure.
const TAIL: usize = 40;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { seeds, start, jobs, keep_going, max_steps, fault, verbose } => {
            let scenario = match fault.map(|name| Fault::parse(&name).ok_or(name)).transpose() {
                Ok(Some(fault)) => Scenario::Planted(fault),
                Ok(None) => Scenario::Sound,
                Err(name) => {
                    eprintln!("no planted fault is called {name:?}");
                    return ExitCode::FAILURE;
                }
            };
            let limit = SearchLimit { max_steps };
            let batch = Batch { start, seeds, jobs, keep_going, scenario, limit };
            if verbose { run_loudly(&batch) } else { run_many(&batch) }
        }
        Command::Faults { max_seeds, start } => hunt_all(start, max_seeds),
    }
}

struct Batch {
    start: u64,
    seeds: u64,
    jobs: u64,
    keep_going: bool,
    scenario: Scenario,
    limit: SearchLimit,
}

impl Batch {
    fn trial(&self, i: u64) -> Trial {
        Trial { seed: self.start + i, scenario: self.scenario, limit: self.limit }
    }
}

fn run_many(batch: &Batch) -> ExitCode {
    let begun = Instant::now();
    let (next, done, ops) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let undecided = AtomicU64::new(0);
    let failures: Mutex<Vec<(u64, Failure)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..batch.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let stop = !batch.keep_going && !failures.lock().expect("no panic holds it").is_empty();
                    if i >= batch.seeds || stop {
                        return;
                    }
                    match hunt::run_caught(batch.trial(i)) {
                        Ok(passed) => {
                            ops.fetch_add(passed.ops as u64, Ordering::Relaxed);
                        }
                        Err(failure) if failure.invariant == world::UNDECIDED => {
                            println!("seed {}: {}", batch.start + i, first_line(&failure));
                            undecided.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(failure) => {
                            println!("seed {}: {}: {}", batch.start + i, failure.invariant, first_line(&failure));
                            failures.lock().expect("no panic holds it").push((batch.start + i, failure));
                        }
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(200) {
                        println!("{done} of {} seeds, {:.0} s", batch.seeds, begun.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no panic holds it");
    failures.sort_by_key(|(seed, _)| *seed);
    if let Some((seed, failure)) = failures.first() {
        report(batch.trial(*seed - batch.start), failure);
    }
    let (done, failed) = (done.into_inner(), failures.len() as u64);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{} operations, {:.1} seeds/s", ops.into_inner(), done as f64 / seconds);
    let undecided = undecided.into_inner();
    println!("{} passed, {failed} failed, {undecided} skipped", done - failed - undecided);
    // A few histories may be too hard to judge; many would mean that the checker has gone blind.
    let blind = undecided > 1 + done / 200;
    if blind {
        println!("too many histories were too hard to judge");
    }
    if failed == 0 && !blind { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn first_line(failure: &Failure) -> &str {
    failure.reason.lines().next().unwrap_or_default()
}

/// Plays the seed again to show how it came to the failure.
fn report(trial: Trial, failure: &Failure) {
    let Trial { seed, scenario, .. } = trial;
    let mut lines = Vec::new();
    let mut keep = |line: String| lines.push(line);
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hunt::play(trial, Some(&mut keep))));
    println!("\nseed {seed} failed at {:.3} s: {}\n{}", failure.at as f64 / 1e6, failure.invariant, failure.reason);
    if let Ok(Ok(_)) = again {
        println!("it did not fail again: the simulator is not deterministic, which is a bug of its own");
    }
    println!("\nthe last of {} lines of its trace:", lines.len());
    let skip = lines.len().saturating_sub(TAIL);
    lines.iter().skip(skip).for_each(|line| println!("{}", clip(line)));
    let fault = match scenario {
        Scenario::Planted(fault) | Scenario::Control(fault) => format!(" --fault {}", fault.name()),
        Scenario::Sound => String::new(),
    };
    println!("\nreplay: cargo run -p crema-sim -- run --seeds 1 --start {seed}{fault} -v\n");
}

fn clip(line: &str) -> String {
    line.chars().take(300).collect()
}

fn run_loudly(batch: &Batch) -> ExitCode {
    let mut failed = 0;
    for trial in (0..batch.seeds).map(|i| batch.trial(i)) {
        let seed = trial.seed;
        match hunt::play(trial, Some(&mut |line| println!("{line}"))) {
            Ok(passed) => println!("seed {seed} passed: {passed:?}"),
            Err(failure) => {
                println!("seed {seed} failed: {failure:?}\n{}", failure.reason);
                failed += 1;
            }
        }
    }
    println!("{} passed, {failed} failed", batch.seeds - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hunt_all(start: u64, max_seeds: u64) -> ExitCode {
    let mut missed = 0;
    println!("{:<30} {:>6}  invariant", "planted fault", "seed");
    for fault in hunt::CONCERNED {
        match hunt::hunt(fault, start, max_seeds) {
            Hunted::Caught(seed, failure) => println!("{:<30} {seed:>6}  {}", fault.name(), failure.invariant),
            Hunted::Unsound(seed, failure) => {
                missed += 1;
                println!("{:<30} {seed:>6}  fails without the fault too: {}", fault.name(), failure.invariant);
            }
            Hunted::Missed => {
                missed += 1;
                println!("{:<30} {:>6}  not caught in {max_seeds} seeds", fault.name(), "-");
            }
        }
    }
    println!("{} passed, {missed} failed", hunt::CONCERNED.len() - missed);
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
