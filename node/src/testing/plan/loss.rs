//! A shard loses the majority of its voters for good, and begins anew: nodes end with all that they knew, while the meta
//! group keeps its majority.

use super::{Incident, Plan, Shape};
use crate::{testing::clock::SECOND, types::Draw};

impl Plan {
    /// Whether a shard is lost; few runs have that, and none of the others throws a die less or more for it.
    pub(super) fn draw_loss(&mut self, draw: &Draw) {
        let mut own = Draw::new(draw.clone().next_u64() ^ 0x1057);
        if self.nodes > 1 && own.below(8) == 0 {
            self.lose_shard(&mut own);
        }
    }

    /// Two of five nodes are the majority of a shard of three, and not of the meta group. They come back empty, and the
    /// cluster takes the shape that it is to have.
    pub(super) fn lose_shard(&mut self, draw: &mut Draw) {
        (self.nodes, self.replicas) = (5, 3);
        let repair_after_ms = [None, Some(5_000), Some(60_000)][draw.below(3) as usize];
        self.heal_at += if self.shape.changes { 0 } else { 6 * SECOND };
        let Shape { spares, concurrency, .. } = self.shape;
        self.shape = Shape { changes: true, spares, returns: true, repair_after_ms, concurrency };
        // Of two that differ none could say which of them is wrong.
        self.incidents.retain(|(_, incident)| !matches!(incident, Incident::Corrupt { .. }));
        let at = 2 * SECOND + draw.below(self.heal_at - 3 * SECOND);
        let group = 1 + draw.below(u64::from(self.shards)) as u32;
        self.incidents.push((at, Incident::Lose { group, named: draw.below(2) == 0 }));
        self.incidents.sort_by_key(|(at, _)| *at);
    }
}
