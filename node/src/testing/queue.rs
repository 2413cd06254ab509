//! Things that will happen, by time; what is set for the same moment happens in the order in which it was set.

use std::{cmp::Ordering, cmp::Reverse, collections::BinaryHeap};

use crate::testing::clock::Micros;

/// A queue of timed things.
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Timed<T>>>,
    order: u64,
}

struct Timed<T> {
    at: Micros,
    order: u64,
    thing: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), order: 0 }
    }
}

impl<T> Queue<T> {
    /// Something will happen at this time.
    pub fn set(&mut self, at: Micros, thing: T) {
        self.order += 1;
        self.heap.push(Reverse(Timed { at, order: self.order, thing }));
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse(timed)| timed.at)
    }

    /// The next thing, and its time.
    pub fn pop(&mut self) -> Option<(Micros, T)> {
        self.heap.pop().map(|Reverse(timed)| (timed.at, timed.thing))
    }
}

impl<T> PartialEq for Timed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<T> Eq for Timed<T> {}

impl<T> PartialOrd for Timed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Timed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
