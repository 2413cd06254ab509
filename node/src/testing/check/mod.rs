//! Judging a history of client operations: is there an order in which they could have happened?
//!
//! Used by the simulator after each seed. The process tests (`crema-tests`) have a judge of their own, written apart
//! from this one, so that a mistake in one is not in both.
//! A [`Recorder`] collects [`Call`]s; [`check`] splits them by key ([`split`]), searches for a linearization of
//! each key ([`linear`]) against the meaning of the commands ([`model`]), and checks that atomic batches were
//! seen whole ([`atomic`]). It knows nothing of nodes, logs or the network, and must never use the code under
//! test to decide what is right.

pub mod atomic;
mod hints;
pub mod history;
pub mod linear;
pub mod model;
pub mod split;
mod versions;

pub use history::{Call, CallId, End, History, Recorder, Reset};
pub use linear::{SearchLimit, Violation};
pub use model::{ClockBounds, Rules};

/// Checks everything that can be said of a history alone. The first violation ends it.
///
/// # Errors
/// The key, and why no order explains what its clients saw.
pub fn check(history: &History, rules: &Rules, limit: SearchLimit) -> Result<Checked, Violation> {
    atomic::check(history)?;
    let mut checked = Checked::default();
    for (key, calls) in split::by_key(history) {
        checked.calls += calls.len();
        checked.keys += 1;
        checked.steps += linear::check_key(&key, &calls, rules, limit)?;
    }
    Ok(checked)
}

/// How much a check looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Keys with at least one call.
    pub keys: usize,
    /// Calls, counted once for each key they touch.
    pub calls: usize,
    /// Steps of the search.
    pub steps: u64,
}
