//! What the benchmarks measure with.

use std::time::{Duration, Instant};

/// Of one figure.
const ROUNDS: usize = 5;

/// The best of several rounds, in ns per operation: other work on the machine only ever adds time.
pub(crate) fn best(operations: usize, mut round: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    times.min().unwrap_or(Duration::ZERO).as_nanos() as f64 / operations as f64
}
