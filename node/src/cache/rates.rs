//! How much the shards do per second, measured between two looks at their counters.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

use crate::types::ShardId;

/// The last measurement.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Measured {
    shards: BTreeMap<ShardId, f64>,
    node: f64,
}

impl Rates {
    /// What was counted within `elapsed`: by shard, and for the node as a whole. Idle shards are left out.
    pub(super) fn measured(&self, shards: impl Iterator<Item = (ShardId, u64)>, node: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let shards = shards.filter(|(_, count)| *count > 0).map(|(shard, count)| (shard, rate(count))).collect();
        *self.last.lock() = Measured { shards, node: rate(node) };
    }

    /// Commands and linearizable reads that the replica here took, per second.
    pub(super) fn of(&self, shard: ShardId) -> f64 {
        self.last.lock().shards.get(&shard).copied().unwrap_or_default()
    }

    /// Reads and writes that this node answered, per second.
    pub(super) fn of_node(&self) -> f64 {
        self.last.lock().node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_look() {
        let rates = Rates::default();
        rates.measured([(0, 10), (1, 0)].into_iter(), 30, Duration::from_secs(2));
        assert_eq!((rates.of(0), rates.of(1), rates.of_node()), (5.0, 0.0, 15.0));
        rates.measured(std::iter::empty(), 0, Duration::ZERO);
        assert_eq!((rates.of(0), rates.of_node()), (0.0, 0.0));
    }
}
