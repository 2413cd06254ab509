//! Virtual time: the one true clock of a run, and what each node believes.
//!
//! True time is in microseconds since the run's begin. A node's wall clock drifts, is off and may jump; its
//! monotonic clock drifts and never falls.

use crate::types::{Draw, Now, Timestamp};

/// True time in microseconds since the run's begin.
pub type Micros = u64;

/// One millisecond.
pub const MS: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;
/// The wall clock at the run's begin, in milliseconds since the epoch.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// The true wall clock in milliseconds.
#[must_use]
pub fn wall_ms(now: Micros) -> u64 {
    EPOCH_MS + now / MS
}

/// What one node believes of the time.
#[derive(Clone, Debug)]
pub struct NodeClock {
    offset_ms: i64,
    drift_ppm: i64,
    mono_start_ms: u64,
    last_mono_ms: u64,
}

impl NodeClock {
    /// A clock that is right.
    #[must_use]
    pub fn exact() -> Self {
        Self { offset_ms: 0, drift_ppm: 0, mono_start_ms: 0, last_mono_ms: 0 }
    }

    /// A clock that is off by up to `skew_ms` and drifts by up to `drift_ppm`, either way.
    pub fn skewed(draw: &mut Draw, skew_ms: u64, drift_ppm: u64) -> Self {
        let mut either_way = |most: u64| draw.below(2 * most + 1) as i64 - most as i64;
        let (offset_ms, drift_ppm) = (either_way(skew_ms), either_way(drift_ppm));
        let mono_start_ms = draw.below(1_000_000);
        Self { offset_ms, drift_ppm, mono_start_ms, last_mono_ms: 0 }
    }

    /// The wall clock is set forward or back.
    pub fn jump(&mut self, ms: i64) {
        self.offset_ms += ms;
    }

    /// How far the wall clock is off now, in milliseconds.
    #[must_use]
    pub fn error_ms(&self, now: Micros) -> i64 {
        self.offset_ms + self.drifted(now)
    }

    /// What the node sees.
    pub fn now(&mut self, now: Micros) -> Now {
        let wall = wall_ms(now).saturating_add_signed(self.error_ms(now));
        let mono = (self.mono_start_ms + now / MS).saturating_add_signed(self.drifted(now));
        self.last_mono_ms = self.last_mono_ms.max(mono);
        Now { wall: Timestamp(wall), mono_ms: self.last_mono_ms }
    }

    fn drifted(&self, now: Micros) -> i64 {
        (now / MS) as i64 * self.drift_ppm / 1_000_000
    }
}
