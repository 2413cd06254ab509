//! How the cluster changes its shape in a run: who comes, goes, comes back empty, and what moves.

use super::{Incident, Plan};
use crate::{
    testing::{
        clock::{MS, Micros, SECOND},
        net::Place,
    },
    types::Draw,
};

/// The frame in which the cluster changes.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Whether it changes at all.
    pub changes: bool,
    /// Places beyond the first nodes: nobody lives there at first.
    pub spares: usize,
    /// A process that ends is followed by another one, which knows nothing.
    pub returns: bool,
    /// A silent node is declared down after so long.
    pub repair_after_ms: Option<u64>,
    /// Migrations at once.
    pub concurrency: u32,
}

impl Shape {
    /// The first nodes, and none of their places is ever taken again.
    #[must_use]
    pub fn fixed() -> Self {
        Self { changes: false, spares: 0, returns: false, repair_after_ms: None, concurrency: 4 }
    }

    fn draw(draw: &mut Draw, nodes: usize) -> Self {
        let spares = draw.below(3) as usize;
        let returns = draw.below(4) > 0;
        let repair_after_ms = match returns {
            true => [None, Some(5_000), Some(60_000)][draw.below(3) as usize],
            false => Some(5_000),
        };
        Self {
            changes: true,
            spares: if nodes == 1 { spares.max(1) } else { spares },
            returns,
            repair_after_ms,
            concurrency: [1, 2, 4][draw.below(3) as usize],
        }
    }
}

/// What an operator asks of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Move everything off a node.
    Drain(Place),
    /// Let it stay after all.
    Undrain(Place),
    /// Take an empty node out.
    Remove(Place),
    /// Move one replica.
    Move {
        /// The group's number.
        group: u32,
        /// Which of its voters, counted round.
        voter: usize,
        /// Where to.
        to: Place,
    },
    /// Roll the first migration back.
    Cancel,
    /// Nothing is to move for now, or again.
    Pause(bool),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Join,
    Bounce,
    Drain,
    Move,
    Cancel,
    Pause,
}

impl Plan {
    /// How many places there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.nodes + self.shape.spares
    }

    /// Whether the cluster changes its shape, and how; half of all seeds do.
    pub(super) fn draw_shape(&mut self, draw: &mut Draw) {
        if draw.below(2) == 0 {
            return;
        }
        let all = [Kind::Join, Kind::Bounce, Kind::Drain, Kind::Move, Kind::Move, Kind::Cancel, Kind::Pause];
        let kinds: Vec<Kind> = all.into_iter().filter(|_| draw.below(3) > 0).collect();
        self.change_shape(&kinds, draw);
    }

    /// Moves of replicas all along, for a hunt.
    pub(super) fn move_often(&mut self, draw: &mut Draw) {
        self.change_shape(&[Kind::Join, Kind::Move, Kind::Move, Kind::Move], draw);
        self.shape.spares = self.shape.spares.max(1);
        self.shape.concurrency = 4;
        self.incidents.insert(0, (700 * MS, Incident::Restart(self.nodes)));
    }

    /// Changes of the configuration that count on what is past.
    pub(super) fn change_stale(&mut self, draw: &mut Draw) {
        self.change_shape(&[Kind::Move], draw);
        let mut at = 2 * SECOND;
        while at < self.heal_at {
            let group = draw.below(u64::from(self.shards) + 1) as u32;
            self.incidents.push((at, Incident::StaleChange { group }));
            at += 200 * MS + draw.below(SECOND);
        }
        self.incidents.sort_by_key(|(at, _)| *at);
    }

    fn change_shape(&mut self, kinds: &[Kind], draw: &mut Draw) {
        let before = std::mem::replace(&mut self.shape, Shape::draw(draw, self.nodes));
        self.shape.spares = self.shape.spares.max(before.spares);
        self.heal_at += if before.changes { 0 } else { 6 * SECOND };
        let mut at = SECOND + draw.below(SECOND);
        while at < self.heal_at && !kinds.is_empty() {
            let kind = kinds[draw.below(kinds.len() as u64) as usize];
            self.reshape(kind, at, draw);
            at += 100 * MS + draw.below(2 * SECOND);
        }
        self.incidents.retain(|(at, _)| *at < self.heal_at);
        self.incidents.sort_by_key(|(at, _)| *at);
    }

    fn reshape(&mut self, kind: Kind, at: Micros, draw: &mut Draw) {
        let place = draw.below(self.places() as u64) as Place;
        let mut set = |at: Micros, incident: Incident| self.incidents.push((at, incident));
        match kind {
            Kind::Join => set(at, Incident::Restart(place)),
            Kind::Bounce => {
                set(at, Incident::Crash(place));
                set(at + draw.below(3 * SECOND), Incident::Restart(place));
            }
            Kind::Drain => {
                set(at, Incident::Wish(Wish::Drain(place)));
                match draw.below(3) {
                    0 => set(at + draw.below(4 * SECOND), Incident::Wish(Wish::Undrain(place))),
                    1 => set(at + SECOND + draw.below(4 * SECOND), Incident::Wish(Wish::Remove(place))),
                    _ => {}
                }
            }
            Kind::Move => {
                let group = draw.below(u64::from(self.shards) + 1) as u32;
                let voter = draw.below(5) as usize;
                set(at, Incident::Wish(Wish::Move { group, voter, to: place }));
            }
            Kind::Cancel => set(at, Incident::Wish(Wish::Cancel)),
            Kind::Pause => {
                set(at, Incident::Wish(Wish::Pause(true)));
                set(at + draw.below(3 * SECOND), Incident::Wish(Wish::Pause(false)));
            }
        }
    }
}
