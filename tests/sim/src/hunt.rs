//! The proof that the simulator is worth its time: bugs are planted one by one, and each must be caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crema::faults::Fault;

use crate::{
    invariants::Failure,
    world::{self, Passed},
};

/// The planted faults that concern the core without membership changes and disks; the others come with these parts.
pub const CONCERNED: [Fault; 10] = [
    Fault::ReplyBeforeQuorum,
    Fault::ReplicaIdReused,
    Fault::RetryAmbiguousPut,
    Fault::ExpiryByLocalClock,
    Fault::ExpiryByWallClockAtRead,
    Fault::StaleRead,
    Fault::FollowerLocalEviction,
    Fault::LeaderHashTrusted,
    Fault::FuzzyCapture,
    Fault::WakeNotTiedToIncarnation,
];

/// Runs seeds with the fault planted until an invariant catches it.
#[must_use]
pub fn hunt(fault: Fault, start: u64, max_seeds: u64) -> Option<(u64, Failure)> {
    (start..start + max_seeds).find_map(|seed| Some((seed, run_caught(seed, Some(fault)).err()?)))
}

/// Runs a seed; a panic is a failure like any other.
///
/// # Errors
/// The invariant that did not hold.
pub fn run_caught(seed: u64, fault: Option<Fault>) -> Result<Passed, Failure> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, fault, None))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let reason = text.unwrap_or_else(|| "a panic without words".to_owned());
        Err(Failure { invariant: "no panic", at: 0, reason })
    })
}
