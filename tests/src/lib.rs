//! What the tests over real processes share: nodes on loopback, clients that keep a history, and its judge.
//!
//! Used by `tests/processes`, `tests/discovery` and `tests/differential`. Everything here is an ordinary client of a node: it sees what a user
//! sees, and never links the code that it tests.

pub mod cluster;
pub mod ctl;
pub mod dev;
pub mod history;
pub mod http;
pub mod load;
pub mod process;
pub mod register;
pub mod wire;

use std::{
    thread,
    time::{Duration, Instant},
};

/// Generous: a wait that ends here has failed, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer. The question is asked again after a short pause, for it is about another process.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
