//! The search: is there an order of one key's calls that the model accepts and that respects real time?
//!
//! Wing and Gong's algorithm with Lowe's memory of visited (set of linearized calls, state), as in Lowe, "Testing
//! for linearizability" (2017). Calls without an answer may be placed anywhere after their begin, or nowhere; since
//! few of them explain anything, they are tried only where the answered ones lead nowhere. Versions that clients were
//! told order most calls beforehand (`versions`).

// tidy: purity because it is only looked into, never walked: its order decides nothing.
use std::collections::HashMap as Memo;
use std::{
    cmp::Ordering,
    collections::{BTreeSet, BinaryHeap},
    fmt,
};

use crate::types::Key;

use super::{
    hints,
    model::{self, Rules, State},
    split::KeyCall,
    versions::Versions,
};

/// How many steps one key's search may take before it gives up and says so.
#[derive(Clone, Copy, Debug)]
pub struct SearchLimit {
    /// States tried.
    pub max_steps: u64,
}

impl Default for SearchLimit {
    fn default() -> Self {
        Self { max_steps: 2_000_000 }
    }
}

/// Why a history is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: Key,
    /// What does not fit.
    pub reason: String,
    /// The search gave up: nothing is proved either way.
    pub undecided: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {:?}: {}", self.key, self.reason)
    }
}

impl std::error::Error for Violation {}

/// Searches for a linearization of one key's calls, which are in the order of their begin. Returns the steps taken.
///
/// # Errors
/// There is none, or the search gave up (`too hard`: the workload needs fewer open calls for one key).
pub fn check_key(key: &Key, calls: &[KeyCall], rules: &Rules, limit: SearchLimit) -> Result<u64, Violation> {
    let mut search = Search::new(calls, rules);
    match search.run(limit) {
        Verdict::Linearizable => Ok(search.steps),
        Verdict::TooHard => {
            let steps = search.steps;
            let reason =
                format!("too hard: no verdict after {steps} steps over {} calls; {}", calls.len(), search.explain());
            Err(Violation { key: key.clone(), reason, undecided: true })
        }
        Verdict::Impossible => Err(Violation { key: key.clone(), reason: search.explain(), undecided: false }),
    }
}

enum Verdict {
    Linearizable,
    Impossible,
    TooHard,
}

struct Search<'a> {
    calls: &'a [KeyCall],
    rules: &'a Rules,
    /// For each call the one before it with the same ticket.
    before: Vec<Option<usize>>,
    after: Vec<Option<usize>>,
    versions: Versions,
    /// Tickets of open calls whose values were seen; made when first needed.
    hints: Option<BTreeSet<u64>>,
    /// Calls with an answer: all must be placed.
    answered: usize,
    /// Calls with an answer, as a mask.
    answered_mask: Mask,
    /// What is still to be tried, the most promising first.
    agenda: BinaryHeap<Attempt>,
    /// For each set of answered calls and state, the sets of open calls with which it was tried. What uses more of
    /// them explains nothing more.
    seen: Memo<(Mask, State), Vec<Mask>>,
    best: (usize, Placed, State),
    steps: u64,
}

/// A set of calls, one bit for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mask(Box<[u64]>);

/// Calls placed so far, and the state that they lead to.
#[derive(Clone)]
struct Config {
    placed: Placed,
    state: State,
    answered: usize,
    /// Calls placed that were told the version of their change.
    versioned: usize,
    /// What the open calls cost that were placed since the last one with an answer.
    cost: i64,
}

/// A configuration to go on from: first with calls that were answered, and if that leads nowhere with open ones.
struct Attempt {
    promise: i64,
    order: u64,
    config: Config,
    with_open: bool,
}

/// An open call in a row costs as much promise as so many answered calls give: the error may be further back. One
/// whose value was seen, or that shares its ticket with such a one, has surely happened and costs little.
const OPEN_COST: i64 = 4;
const SEEN_COST: i64 = 1;

impl<'a> Search<'a> {
    fn new(calls: &'a [KeyCall], rules: &'a Rules) -> Self {
        let (mut before, mut after) = (vec![None; calls.len()], vec![None; calls.len()]);
        for (i, call) in calls.iter().enumerate().filter(|(_, call)| call.ticket != 0) {
            if let Some(j) = (0..i).rev().find(|j| calls[*j].ticket == call.ticket) {
                before[i] = Some(j);
                after[j] = Some(i);
            }
        }
        let mut answered_mask = vec![0; calls.len().div_ceil(64)];
        for (i, _) in calls.iter().enumerate().filter(|(_, call)| call.ended.is_some()) {
            answered_mask[i / 64] |= 1 << (i % 64);
        }
        Self {
            calls,
            rules,
            before,
            after,
            versions: Versions::of(calls),
            hints: None,
            answered: calls.iter().filter(|call| call.ended.is_some()).count(),
            answered_mask: Mask(answered_mask.into()),
            agenda: BinaryHeap::new(),
            seen: Memo::new(),
            best: (0, Placed::none(calls.len()), State::default()),
            steps: 0,
        }
    }

    fn run(&mut self, limit: SearchLimit) -> Verdict {
        let placed = Placed::none(self.calls.len());
        let start = Config { placed, state: State::default(), answered: 0, versioned: 0, cost: 0 };
        self.plan(start, false);
        while let Some(Attempt { config, with_open, .. }) = self.agenda.pop() {
            if config.answered == self.answered {
                return Verdict::Linearizable;
            }
            if self.steps > limit.max_steps {
                return Verdict::TooHard;
            }
            self.expand(&config, with_open);
            if !with_open {
                self.plan(config, true);
            }
        }
        Verdict::Impossible
    }

    fn plan(&mut self, config: Config, with_open: bool) {
        if config.answered > self.best.0 {
            self.best = (config.answered, config.placed.clone(), config.state.clone());
        }
        let promise = config.answered as i64 - config.cost - i64::from(with_open);
        self.agenda.push(Attempt { promise, order: self.steps, config, with_open });
    }

    /// Plans every configuration that is one call further.
    fn expand(&mut self, config: &Config, with_open: bool) {
        let mut candidates = self.candidates(&config.placed);
        candidates
            .retain(|i| self.calls[*i].ended.is_none() == with_open && self.versions.allows(*i, config.versioned));
        // What is planned last is tried first: what was answered first.
        candidates.sort_by_key(|i| std::cmp::Reverse(self.calls[*i].ended.map_or(u64::MAX, |at| at.order)));
        for i in candidates {
            for state in model::step(self.rules, &config.state, &self.calls[i]).into_iter().rev() {
                self.steps += 1;
                // Nobody saw an open call: when it changes nothing it explains nothing.
                if with_open && state == config.state {
                    continue;
                }
                let next = Config {
                    placed: config.placed.with(i),
                    state,
                    answered: config.answered + usize::from(!with_open),
                    versioned: config.versioned + usize::from(self.versions.is_told(i)),
                    cost: if with_open { config.cost + self.cost_of(i) } else { 0 },
                };
                if self.is_new(&next) {
                    self.plan(next, false);
                }
            }
        }
    }

    fn cost_of(&mut self, open: usize) -> i64 {
        let hints = self.hints.get_or_insert_with(|| hints::seen_tickets(self.calls));
        if hints.contains(&self.calls[open].ticket) { SEEN_COST } else { OPEN_COST }
    }

    /// Whether nothing at least as good was tried before; remembers it.
    fn is_new(&mut self, config: &Config) -> bool {
        let masked = |keep: fn(u64, u64) -> u64| -> Mask {
            let words = config.placed.bits.iter().zip(&self.answered_mask.0);
            Mask(words.map(|(bits, mask)| keep(*bits, *mask)).collect())
        };
        let (answered, open) = (masked(|bits, mask| bits & mask), masked(|bits, mask| bits & !mask));
        let tried = self.seen.entry((answered, config.state.clone())).or_default();
        let worse = |other: &Mask| other.0.iter().zip(&open.0).all(|(other, open)| other & !open == 0);
        if tried.iter().any(worse) {
            return false;
        }
        tried.push(open);
        true
    }

    /// The calls that may come next: begun before every unplaced answer.
    fn candidates(&self, placed: &Placed) -> Vec<usize> {
        let mut horizon = u64::MAX;
        let mut candidates = Vec::new();
        for (i, call) in self.calls.iter().enumerate().skip(placed.prefix) {
            if call.begun.order > horizon {
                break;
            }
            if placed.contains(i) {
                continue;
            }
            horizon = horizon.min(call.ended.map_or(u64::MAX, |at| at.order));
            let before_is_due = self.before[i].is_some_and(|j| !placed.contains(j) && self.calls[j].ended.is_some());
            let after_is_done = self.after[i].is_some_and(|j| placed.contains(j));
            if !before_is_due && !after_is_done {
                candidates.push(i);
            }
        }
        candidates
    }

    /// Where the longest attempt got stuck.
    fn explain(&self) -> String {
        use fmt::Write as _;
        let (answered, placed, state) = &self.best;
        let mut text = format!(
            "not linearizable: {answered} of {} answered calls can be ordered, then the state is {state:?} and none \
             of these fits:",
            self.answered
        );
        for i in self.candidates(placed) {
            let call = &self.calls[i];
            let end = call.ended.map_or_else(|| "open".to_owned(), |at| at.order.to_string());
            let _ = write!(text, "\n  client {} [{}..{end}] {:?}", call.client, call.begun.order, call.parts);
        }
        text
    }
}

impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Attempt {}

impl PartialOrd for Attempt {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Attempt {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.promise, self.order).cmp(&(other.promise, other.order))
    }
}

/// A set of calls. The ones below `prefix` are all in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Placed {
    prefix: usize,
    bits: Box<[u64]>,
}

impl Placed {
    fn none(calls: usize) -> Self {
        Self { prefix: 0, bits: vec![0; calls.div_ceil(64)].into() }
    }

    fn contains(&self, i: usize) -> bool {
        self.bits[i / 64] & (1 << (i % 64)) != 0
    }

    fn with(&self, i: usize) -> Self {
        let mut next = self.clone();
        next.bits[i / 64] |= 1 << (i % 64);
        while next.prefix < next.bits.len() * 64 && next.contains(next.prefix) {
            next.prefix += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests;
