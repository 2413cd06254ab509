//! The clock of the process: the one place where the core's time comes from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::{Now, Timestamp};

/// Wall and monotonic time; clones share the start.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now. The monotonic part begins at 1 s, so that "long ago" has room.
    pub(super) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mono_ms = self.start.elapsed().as_millis() as u64 + 1_000;
        Now { wall: Timestamp(wall.as_millis() as u64), mono_ms }
    }
}
