//! The proof that the simulator is worth its time: bugs are planted one by one, and each must be caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crema::{
    faults::{Fault, Faults},
    testing::{
        forming,
        invariants::Failure,
        world::{self, Passed, Scenario, Trial},
    },
};

/// The planted faults that it can find: all of them.
pub(crate) const CONCERNED: [Fault; 22] = [
    Fault::ReplyBeforeQuorum,
    Fault::ReplicaIdReused,
    Fault::RetryAmbiguousPut,
    Fault::ExpiryByLocalClock,
    Fault::ExpiryByWallClockAtRead,
    Fault::StaleRead,
    Fault::FollowerLocalEviction,
    Fault::ReaderFillsTier,
    Fault::LeaderHashTrusted,
    Fault::FuzzyCapture,
    Fault::InitRepeated,
    Fault::WakeNotTiedToIncarnation,
    Fault::LearnerPromotedEarly,
    Fault::TwoVotersRemoved,
    Fault::ConfChangeUnchecked,
    Fault::MovedReplicaServes,
    Fault::StaleCheckpoint,
    Fault::AcknowledgeBeforeFsync,
    Fault::HardStateNotSynced,
    Fault::TruncationBeforeCheckpoint,
    Fault::StaleLogTail,
    Fault::LostShardKeepsSurvivor,
];

/// How a hunt ended.
#[derive(Debug)]
pub(crate) enum Hunted {
    /// With this seed this invariant caught the bug, and without the bug the same run passes.
    Caught(u64, Failure),
    /// The same run fails without the bug: nothing is proved.
    Unsound(u64, Failure),
    /// No seed showed it.
    Missed,
}

/// Runs seeds with the fault planted until an invariant catches it.
#[must_use]
pub(crate) fn hunt(fault: Fault, start: u64, max_seeds: u64) -> Hunted {
    for seed in start..start + max_seeds {
        let Err(caught) = run_caught(Trial::new(seed, Scenario::Planted(fault))) else { continue };
        if caught.invariant == world::UNDECIDED {
            continue;
        }
        return match run_caught(Trial::new(seed, Scenario::Control(fault))) {
            Ok(_) => Hunted::Caught(seed, caught),
            Err(failure) => Hunted::Unsound(seed, failure),
        };
    }
    Hunted::Missed
}

/// Runs a seed; a panic is a failure like any other.
///
/// # Errors
/// The invariant that did not hold.
pub(crate) fn run_caught(trial: Trial) -> Result<Passed, Failure> {
    catch_unwind(AssertUnwindSafe(|| play(trial, None))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let reason = text.unwrap_or_else(|| "a panic without words".to_owned());
        Err(Failure { invariant: "no panic", at: 0, reason })
    })
}

/// Forms a cluster and plays the world of a seed; `trace` gets a line for each thing that happens in the world.
///
/// # Errors
/// The invariant that did not hold.
pub(crate) fn play(trial: Trial, trace: Option<&mut dyn FnMut(String)>) -> Result<Passed, Failure> {
    let seed = trial.seed;
    match trial.scenario {
        Scenario::Planted(Fault::InitRepeated) => {
            forming::run(seed, Faults::none().with(Fault::InitRepeated)).map(|()| Passed::default())
        }
        Scenario::Control(Fault::InitRepeated) => forming::run(seed, Faults::none()).map(|()| Passed::default()),
        Scenario::Sound => {
            forming::run(seed, Faults::none())?;
            world::run(trial, trace)
        }
        Scenario::Planted(_) | Scenario::Control(_) => world::run(trial, trace),
    }
}
