//! From many clocks to one stamp (pure; PROTOCOL 3).
//!
//! A leader stamps its entries with a time that one bad clock can't carry away. [`ClockTable`] keeps what was
//! lately heard of the other nodes' wall clocks; `multiraft::node` feeds it from the peers' beats and asks it for
//! the stamp of each entry it proposes. No clock is read here: the time arrives as a value.

use std::collections::BTreeMap;

use crate::types::{NodeId, Now, Timestamp};

/// A clock not heard of for longer than this doesn't count.
const FRESH_MS: u64 = 5_000;

/// One peer's wall clock, as it was when its last beat arrived.
#[derive(Clone, Copy, Debug)]
struct Heard {
    wall: Timestamp,
    at_mono_ms: u64,
}

/// The clocks of a cluster as one node knows them.
#[derive(Clone, Debug)]
pub struct ClockTable {
    nodes: usize,
    max_skew_ms: u64,
    heard: BTreeMap<NodeId, Heard>,
    /// The time when a majority was last heard, and when that was: carried forward while none is.
    carried: Option<(Timestamp, u64)>,
}

impl ClockTable {
    /// A table for a cluster of `nodes` nodes, this one included.
    #[must_use]
    pub fn new(nodes: usize, max_skew_ms: u64) -> Self {
        Self { nodes, max_skew_ms, heard: BTreeMap::new(), carried: None }
    }

    /// The cluster has another size, or another bound.
    pub fn set_cluster(&mut self, nodes: usize, max_skew_ms: u64) {
        (self.nodes, self.max_skew_ms) = (nodes, max_skew_ms);
    }

    /// Notes what a peer's wall clock showed when it sent a message that arrives now.
    ///
    /// A message that was long under way, or lay here while this process stood still, makes the peer's clock look
    /// slow; so of what was lately heard the fastest counts.
    pub fn hear(&mut self, peer: NodeId, wall: Timestamp, now: Now) {
        let known = self.heard.get(&peer).and_then(|heard| current(heard, now));
        if known.is_none_or(|known| known <= wall) {
            self.heard.insert(peer, Heard { wall, at_mono_ms: now.mono_ms });
        }
        // Who leads only after the others fell silent has stamped nothing yet and needs a time all the same.
        self.time(now);
    }

    /// The stamp for an entry proposed now, never below `last`, the stamp of the last appended entry; while no time
    /// is known, it stands still there.
    pub fn stamp(&mut self, last: Timestamp, now: Now) -> Timestamp {
        // Carried without `last`: one shard whose log time is far ahead must not lift the others.
        self.time(now).map_or(last, |time| last.max(time))
    }

    /// Whether there is a time to stamp with: a majority's, or one carried forward from a majority's.
    #[must_use]
    pub fn is_known(&self, now: Now) -> bool {
        self.unclamped(now).is_some()
    }

    /// What [`Self::stamp`] would give, without giving it; `None` while no time is known: `last` may be of long ago.
    #[must_use]
    pub fn peek(&self, last: Timestamp, now: Now) -> Option<Timestamp> {
        self.unclamped(now).map(|time| last.max(time))
    }

    fn time(&mut self, now: Now) -> Option<Timestamp> {
        let time = self.unclamped(now)?;
        self.carried = Some((time, now.mono_ms));
        Some(time)
    }

    fn unclamped(&self, now: Now) -> Option<Timestamp> {
        let (carried, at) = match self.median(now) {
            Some(median) => (now.wall.min(median.plus_ms(self.max_skew_ms)), now.mono_ms),
            None => self.carried?,
        };
        Some(carried.plus_ms(now.mono_ms.saturating_sub(at)))
    }

    /// How far this node's clock is from the median of at least three clocks, when it is out of bounds.
    #[must_use]
    pub fn own_error_ms(&self, now: Now) -> Option<i64> {
        let error = self.error_of(now.wall, now)?;
        (error.unsigned_abs() > self.max_skew_ms).then_some(error)
    }

    /// Whether a peer's clock is known and within bounds.
    #[must_use]
    pub fn is_sound(&self, peer: NodeId, now: Now) -> bool {
        let Some(wall) = self.heard.get(&peer).and_then(|heard| current(heard, now)) else { return false };
        self.error_of(wall, now).is_some_and(|error| error.unsigned_abs() <= self.max_skew_ms)
    }

    /// Whether a peer's clock is known to be out of bounds.
    #[must_use]
    pub fn is_wrong(&self, peer: NodeId, now: Now) -> bool {
        let Some(wall) = self.heard.get(&peer).and_then(|heard| current(heard, now)) else { return false };
        self.error_of(wall, now).is_some_and(|error| error.unsigned_abs() > self.max_skew_ms)
    }

    fn error_of(&self, wall: Timestamp, now: Now) -> Option<i64> {
        if self.clocks(now).len() < 3 {
            return None;
        }
        let median = self.median(now)?;
        Some((i128::from(wall.0) - i128::from(median.0)).clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// The median of the clocks of a majority of nodes, own included; the lower of the two in the middle.
    fn median(&self, now: Now) -> Option<Timestamp> {
        let mut clocks = self.clocks(now);
        if clocks.len() * 2 <= self.nodes {
            return None;
        }
        clocks.sort_unstable();
        Some(clocks[(clocks.len() - 1) / 2])
    }

    fn clocks(&self, now: Now) -> Vec<Timestamp> {
        let peers = self.heard.values().filter_map(|heard| current(heard, now));
        peers.chain(std::iter::once(now.wall)).collect()
    }
}

/// The peer's clock now, carried forward by our monotonic one; `None` when it was heard too long ago.
fn current(heard: &Heard, now: Now) -> Option<Timestamp> {
    let age_ms = now.mono_ms.saturating_sub(heard.at_mono_ms);
    (age_ms <= FRESH_MS).then(|| heard.wall.plus_ms(age_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall: u64, mono_ms: u64) -> Now {
        Now { wall: Timestamp(wall), mono_ms }
    }

    #[test]
    fn one_clock_far_ahead_is_held_near_the_median() {
        let mut table = ClockTable::new(3, 500);
        table.hear(NodeId(2), Timestamp(10_000), now(9_000_000, 0));
        table.hear(NodeId(3), Timestamp(10_010), now(9_000_000, 0));
        assert_eq!(table.stamp(Timestamp(0), now(9_000_000, 0)), Timestamp(10_510));
        assert!(table.own_error_ms(now(9_000_000, 0)).is_some());
        assert!(table.is_sound(NodeId(2), now(9_000_000, 0)));
    }

    #[test]
    fn stamps_never_fall() {
        let mut table = ClockTable::new(1, 500);
        assert_eq!(table.stamp(Timestamp(70), now(50, 0)), Timestamp(70));
    }

    #[test]
    fn without_a_majority_the_monotonic_clock_carries_on() {
        let mut table = ClockTable::new(3, 500);
        table.hear(NodeId(2), Timestamp(1_000), now(1_000, 0));
        assert_eq!(table.stamp(Timestamp(0), now(1_000, 0)), Timestamp(1_000));
        // Ten seconds later nobody was heard, and the wall clock has jumped by an hour.
        assert_eq!(table.stamp(Timestamp(0), now(3_600_000, 10_000)), Timestamp(11_000));
    }

    #[test]
    fn who_heard_a_majority_once_keeps_its_time() {
        let mut table = ClockTable::new(4, 500);
        assert!(!table.is_known(now(900_000, 0)));
        assert_eq!(table.stamp(Timestamp(70), now(900_000, 0)), Timestamp(70), "two clocks of four say nothing");
        assert_eq!(table.peek(Timestamp(70), now(900_000, 0)), None, "no reader may judge a deadline by that");
        table.hear(NodeId(2), Timestamp(1_000), now(900_000, 0));
        assert!(!table.is_known(now(900_000, 0)));
        table.hear(NodeId(3), Timestamp(1_000), now(900_000, 0));
        assert!(table.is_known(now(900_000, 10_000)), "nobody was stamped with it, and nobody is heard any more");
        assert_eq!(table.stamp(Timestamp(70), now(900_000, 10_000)), Timestamp(11_500));
    }

    #[test]
    fn a_late_message_makes_no_clock_slow() {
        let mut table = ClockTable::new(3, 500);
        table.hear(NodeId(2), Timestamp(10_000), now(10_000, 0));
        // Sent at 10,100, read at 12,000 after a pause: the peer's clock is at 12,000 all the same.
        table.hear(NodeId(2), Timestamp(10_100), now(12_000, 2_000));
        assert_eq!(table.stamp(Timestamp(0), now(12_000, 2_000)), Timestamp(12_000));
        // Once what was heard before is too old to count, a clock that was set back is believed.
        table.hear(NodeId(2), Timestamp(13_000), now(18_000, 8_000));
        assert_eq!(table.stamp(Timestamp(0), now(18_000, 8_000)), Timestamp(13_500));
    }

    #[test]
    fn two_clocks_accuse_nobody() {
        let mut table = ClockTable::new(3, 500);
        table.hear(NodeId(2), Timestamp(1_000), now(900_000, 0));
        assert_eq!(table.own_error_ms(now(900_000, 0)), None);
    }
}
