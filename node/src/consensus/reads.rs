//! The queue of linearizable reads (PROTOCOL 6): raft-rs may drop a ReadIndex without a word, so the queue is ours.

use std::collections::VecDeque;

use crate::types::{Incarnation, ReplicaId};

/// Rounds under way: more would only split batches.
const MAX_ROUNDS: usize = 8;

struct Round<R> {
    counter: u64,
    age_ticks: u32,
    reads: Vec<R>,
}

/// Reads that wait for their index, in rounds that share one ReadIndex each.
pub(super) struct ReadQueue<R> {
    replica: ReplicaId,
    incarnation: Incarnation,
    boot: u64,
    counter: u64,
    waiting: Vec<R>,
    rounds: VecDeque<Round<R>>,
}

impl<R> ReadQueue<R> {
    pub(super) fn new(replica: ReplicaId, incarnation: Incarnation, boot: u64) -> Self {
        Self { replica, incarnation, boot, counter: 0, waiting: Vec::new(), rounds: VecDeque::new() }
    }

    pub(super) fn push(&mut self, read: R) {
        self.waiting.push(read);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.rounds.iter().map(|round| round.reads.len()).sum::<usize>()
    }

    /// The context of a new round for all that wait; `None` when nothing waits or enough rounds are under way.
    pub(super) fn next_round(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() || self.rounds.len() >= MAX_ROUNDS {
            return None;
        }
        self.counter += 1;
        self.rounds.push_back(Round {
            counter: self.counter,
            age_ticks: 0,
            reads: std::mem::take(&mut self.waiting),
        });
        Some(self.context(self.counter))
    }

    /// Replica, incarnation, boot, counter: never used again. A leader may still hold the questions of an earlier process
    /// of this life, and would answer a new one with their index.
    fn context(&self, counter: u64) -> Vec<u8> {
        let mut context = Vec::with_capacity(40);
        context.extend_from_slice(&self.replica.0.to_be_bytes());
        context.extend_from_slice(&self.incarnation.0.to_be_bytes());
        context.extend_from_slice(&self.boot.to_be_bytes());
        context.extend_from_slice(&counter.to_be_bytes());
        context
    }

    /// The reads of the round with this context; `None` when it is not one that is under way.
    pub(super) fn take(&mut self, context: &[u8]) -> Option<Vec<R>> {
        let position = self.rounds.iter().position(|round| self.context(round.counter) == context)?;
        self.rounds.remove(position).map(|round| round.reads)
    }

    /// Puts the reads of rounds that were not answered for `patience` ticks back in the queue.
    pub(super) fn tick(&mut self, patience: u32) {
        for round in &mut self.rounds {
            round.age_ticks += 1;
        }
        while self.rounds.front().is_some_and(|round| round.age_ticks > patience) {
            let round = self.rounds.pop_front().expect("front was there");
            self.waiting.extend(round.reads);
        }
    }

    /// The leader or the term changed: every round may have been forgotten.
    pub(super) fn reissue_all(&mut self) {
        for round in self.rounds.drain(..) {
            self.waiting.extend(round.reads);
        }
    }

    pub(super) fn remove(&mut self, expired: impl Fn(&R) -> bool) -> Vec<R> {
        let mut removed = Vec::new();
        for reads in std::iter::once(&mut self.waiting).chain(self.rounds.iter_mut().map(|round| &mut round.reads)) {
            removed.extend(reads.extract_if(.., |read| expired(read)));
        }
        self.rounds.retain(|round| !round.reads.is_empty());
        removed
    }
}
