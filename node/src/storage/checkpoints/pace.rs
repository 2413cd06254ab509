//! Spreads the bytes of background writing evenly over time (pure: the time is an argument).

use std::time::Duration;

/// When the next bytes may be written. Times are counted from any fixed moment.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: Option<u64>,
    free_at: Duration,
}

impl Pace {
    pub(super) fn new(bytes_per_s: Option<u64>) -> Self {
        Self { bytes_per_s: bytes_per_s.map(|rate| rate.max(1)), free_at: Duration::ZERO }
    }

    /// How long to wait before `bytes` are written. Idle time is not saved up: a burst would undo the purpose.
    pub(super) fn delay(&mut self, now: Duration, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_s else { return Duration::ZERO };
        let start = self.free_at.max(now);
        self.free_at = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
        start - now
    }
}

#[test]
fn bytes_are_spread_and_idle_time_is_not_saved() {
    let ms = Duration::from_millis;
    let mut pace = Pace::new(Some(1_000));
    assert_eq!(pace.delay(ms(5_000), 100), ms(0));
    assert_eq!(pace.delay(ms(5_000), 100), ms(100));
    assert_eq!(pace.delay(ms(5_050), 100), ms(150));
    assert_eq!(pace.delay(ms(9_000), 100), ms(0));
    assert_eq!(pace.delay(ms(9_000), 100), ms(100));
    let mut free = Pace::new(None);
    assert_eq!((free.delay(ms(0), 1 << 30), free.delay(ms(0), 1)), (ms(0), ms(0)));
    assert_eq!(Pace::new(Some(0)).bytes_per_s, Some(1), "never a division by nothing");
}
