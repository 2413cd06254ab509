//! Every call is answered exactly once, in time, with one outcome for each operation.

use super::Verdict;
use crate::{
    machine::command::Outcome,
    testing::clock::{Micros, SECOND},
};

/// How long after its deadline a call may be answered: some ticks, and clocks that drift.
pub const GRACE: Micros = SECOND;

const NAME: &str = "one answer in time";

/// An answer came for a call that is not open.
///
/// # Errors
/// Always.
pub fn not_open(ticket: u64) -> Verdict {
    Err((NAME, format!("call {ticket} was answered twice, or never asked")))
}

/// An answer came.
///
/// # Errors
/// It has too many outcomes, or too few.
pub fn complete(ticket: u64, ops: usize, outcomes: &[Outcome]) -> Verdict {
    if ops == outcomes.len() {
        return Ok(());
    }
    Err((NAME, format!("call {ticket} has {ops} operations and got {} outcomes", outcomes.len())))
}

/// The deadline and the grace are over and the call is still open.
///
/// # Errors
/// Always.
pub fn overdue(ticket: u64, what: &str) -> Verdict {
    Err((NAME, format!("call {ticket} got no answer by its deadline: {what}")))
}
