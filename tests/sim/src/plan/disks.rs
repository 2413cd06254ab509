//! Crashes of nodes with disks: any of them, all at once too, for each goes on from what it had synced.

use crema::types::Draw;

use super::{Incident, Plan};
use crate::{
    clock::{MS, SECOND},
    net::Place,
};

impl Plan {
    /// The nodes have disks; some crash again and again, and now and then all of them at once.
    pub(super) fn have_disks(&mut self, draw: &mut Draw) {
        self.durable = true;
        // A crash heals a damaged memory; that is for runs without disks.
        let kept = |incident: &Incident| {
            !matches!(incident, Incident::Crash(_) | Incident::Restart(_) | Incident::Corrupt { .. })
        };
        self.incidents.retain(|(_, incident)| kept(incident));
        let pace = [300 * MS, SECOND, 4 * SECOND][draw.below(3) as usize];
        let mut at = SECOND + draw.below(pace);
        while at < self.heal_at {
            let first = draw.below(self.nodes as u64) as Place;
            let count = if draw.below(3) == 0 { self.nodes } else { 1 };
            for place in (0..count).map(|i| (first + i) % self.nodes) {
                self.incidents.push((at, Incident::Crash(place)));
                self.incidents.push((at + 10 * MS + draw.below(SECOND), Incident::Restart(place)));
            }
            at += 50 * MS + draw.below(pace);
        }
        self.incidents.retain(|(at, _)| *at < self.heal_at);
        self.incidents.sort_by_key(|(at, _)| *at);
    }
}
