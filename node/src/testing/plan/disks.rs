//! What nodes with disks go through: any of them crash, all at once too, for each goes on from what it had synced. Where
//! the cluster can change its shape, disks are also lost, fail and rot.

use super::{Incident, Plan};
use crate::{
    testing::{
        clock::{MS, Micros, SECOND},
        net::Place,
    },
    types::Draw,
};

impl Plan {
    /// Whether the nodes have disks; half of all seeds do.
    pub(super) fn draw_disks(&mut self, draw: &mut Draw) {
        if draw.below(2) == 0 {
            return;
        }
        if self.shape.changes {
            return self.change_with_disks(draw);
        }
        self.have_disks(draw);
        if self.replicas >= 3 && draw.below(3) == 0 {
            self.damage_deeply(draw);
        }
    }

    /// The nodes have disks; some crash again and again, and now and then all of them at once.
    pub(super) fn have_disks(&mut self, draw: &mut Draw) {
        self.durable = true;
        self.incidents
            .retain(|(_, incident)| !incident.concerns_processes() && !matches!(incident, Incident::Corrupt { .. }));
        let pace = [300 * MS, SECOND, 4 * SECOND][draw.below(3) as usize];
        let mut at = SECOND + draw.below(pace);
        while at < self.heal_at {
            let count = if draw.below(3) == 0 { self.nodes } else { 1 };
            self.bounce(count, at, draw);
            at += 50 * MS + draw.below(pace);
        }
        self.sort_incidents();
    }

    /// So many nodes crash at once, and each comes back when it likes.
    fn bounce(&mut self, count: usize, at: Micros, draw: &mut Draw) {
        let places = self.places();
        let first = draw.below(places as u64) as Place;
        for place in (0..count).map(|i| (first + i) % places) {
            self.incidents.push((at, Incident::Crash(place)));
            self.incidents.push((at + 10 * MS + draw.below(SECOND), Incident::Restart(place)));
        }
    }

    /// One after the other is cut off, perhaps with entries that nobody else has, and crashes when it has just heard of
    /// those that take their place.
    pub(super) fn crash_after_splits(&mut self, draw: &mut Draw) {
        self.incidents.clear();
        let mut at = SECOND;
        while at < self.heal_at {
            let place = draw.below(self.nodes as u64) as Place;
            let side = (0..self.nodes).map(|other| other == place).collect();
            let until = at + SECOND + draw.below(SECOND);
            let crash = until + MS + draw.below(100 * MS);
            self.incidents.push((at, Incident::Split { side }));
            self.incidents.push((until, Incident::HealNet));
            self.incidents.push((crash, Incident::Crash(place)));
            self.incidents.push((crash + 10 * MS + draw.below(100 * MS), Incident::Restart(place)));
            at = crash + 500 * MS + draw.below(SECOND);
        }
        self.sort_incidents();
    }

    /// A state that is wrong from an entry on, checkpoints and all. Without snapshots: who gets one of a wrong state is as
    /// wrong, and two of three would be right by their majority.
    fn damage_deeply(&mut self, draw: &mut Draw) {
        self.log_entries = 10_000;
        self.checkpoint_entries = 5 + draw.below(10);
        self.hash_interval = 8;
        let at = SECOND + draw.below(self.heal_at - SECOND);
        let group = self.shard(draw);
        // Where the first map has a replica of it.
        let place = (group as usize - 1 + draw.below(self.replicas as u64) as usize) % self.nodes;
        let incident = Incident::Corrupt { place, group, deep: true };
        self.incidents.push((at, incident));
        self.sort_incidents();
    }

    /// Of those who crash some lose their disk; others find it damaged, and disks fail under running processes.
    fn change_with_disks(&mut self, draw: &mut Draw) {
        self.durable = true;
        for (_, incident) in &mut self.incidents {
            if let Incident::Crash(place) = *incident
                && draw.below(3) == 0
            {
                *incident = Incident::Wipe(place);
            }
        }
        let mut at = 2 * SECOND + draw.below(4 * SECOND);
        while at < self.heal_at {
            match draw.below(5) {
                0 => self.bounce(self.places(), at, draw),
                1 => self.fail_disk(at, draw),
                2 | 3 => self.rot(at, draw),
                _ => self.bounce(1, at, draw),
            }
            at += SECOND + draw.below(6 * SECOND);
        }
        self.sort_incidents();
    }

    /// The process stays for a while, without a replica that takes part.
    fn fail_disk(&mut self, at: Micros, draw: &mut Draw) {
        let place = draw.below(self.places() as u64) as Place;
        let until = at + draw.below(5 * SECOND);
        let end = if draw.below(2) == 0 { Incident::Crash(place) } else { Incident::Wipe(place) };
        self.incidents.push((at, Incident::FailDisk(place)));
        self.incidents.push((until, end));
        self.incidents.push((until + 10 * MS + draw.below(SECOND), Incident::Restart(place)));
    }

    fn rot(&mut self, at: Micros, draw: &mut Draw) {
        let place = draw.below(self.places() as u64) as Place;
        let group = if draw.below(4) == 0 { 0 } else { self.shard(draw) };
        let incident = Incident::Damage { place, group, log: draw.below(2) == 0 };
        self.incidents.push((at, Incident::Crash(place)));
        self.incidents.push((at + MS, incident));
        self.incidents.push((at + 10 * MS + draw.below(SECOND), Incident::Restart(place)));
    }

    /// The group's number of any shard.
    fn shard(&self, draw: &mut Draw) -> u32 {
        1 + draw.below(u64::from(self.shards)) as u32
    }

    fn sort_incidents(&mut self) {
        self.incidents.retain(|(at, _)| *at < self.heal_at);
        self.incidents.sort_by_key(|(at, _)| *at);
    }
}
