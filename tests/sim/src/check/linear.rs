//! The search: is there an order of one key's calls that the model accepts and that respects real time?
//!
//! Wing and Gong's algorithm with Lowe's memory of visited (set of linearized calls, state), as in Lowe, "Testing
//! for linearizability" (2017). Calls without an answer may be placed anywhere after their begin, or nowhere; since
//! few of them explain anything, the search first allows none in a row, then one, then more.

use std::{collections::HashMap, fmt};

use crema::types::Key;

use super::{
    model::{self, Rules, State},
    split::KeyCall,
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
    match search.widen(limit) {
        Verdict::Linearizable => Ok(search.steps),
        Verdict::TooHard => {
            let reason = format!("too hard: no answer after {} steps over {} calls", search.steps, calls.len());
            Err(Violation { key: key.clone(), reason })
        }
        Verdict::Impossible => Err(Violation { key: key.clone(), reason: search.explain() }),
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
    /// Calls with an answer: all must be placed.
    answered: usize,
    /// How many calls without an answer may come in a row.
    open_run: usize,
    /// Whether that bound cut off a move.
    cut: bool,
    /// For each set of answered calls and state: the sets of open calls (and the length of their last row) with
    /// which it was tried. What uses more of them than a try that failed fails too.
    seen: HashMap<(Box<[u64]>, State), Vec<(Box<[u64]>, usize)>>,
    /// Calls with an answer, as a mask.
    answered_mask: Box<[u64]>,
    best: (usize, Placed, State),
    steps: u64,
}

/// A choice point: a state and the moves from it that were not tried yet, the best last.
struct Frame {
    placed: Placed,
    answered: usize,
    /// Calls without an answer placed since the last one with an answer.
    run: usize,
    moves: Vec<(usize, State)>,
}

impl<'a> Search<'a> {
    fn new(calls: &'a [KeyCall], rules: &'a Rules) -> Self {
        let (mut before, mut after) = (vec![None; calls.len()], vec![None; calls.len()]);
        for (i, call) in calls.iter().enumerate().filter(|(_, call)| call.ticket != 0) {
            if let Some(j) = (0..i).rev().find(|j| calls[*j].ticket == call.ticket) {
                before[i] = Some(j);
                after[j] = Some(i);
            }
        }
        let answered = calls.iter().filter(|call| call.ended.is_some()).count();
        let best = (0, Placed::none(calls.len()), State::default());
        let mut answered_mask = vec![0; calls.len().div_ceil(64)];
        for (i, _) in calls.iter().enumerate().filter(|(_, call)| call.ended.is_some()) {
            answered_mask[i / 64] |= 1 << (i % 64);
        }
        let (seen, answered_mask) = (HashMap::new(), answered_mask.into());
        Self { calls, rules, before, after, answered, open_run: 0, cut: false, seen, answered_mask, best, steps: 0 }
    }

    fn widen(&mut self, limit: SearchLimit) -> Verdict {
        loop {
            self.cut = false;
            self.seen.clear();
            match self.run(limit) {
                Verdict::Impossible if self.cut => self.open_run += 1,
                verdict => return verdict,
            }
        }
    }

    fn run(&mut self, limit: SearchLimit) -> Verdict {
        let start = Placed::none(self.calls.len());
        let mut stack = vec![self.frame(start, 0, 0, &State::default())];
        while let Some(frame) = stack.last_mut() {
            if frame.answered == self.answered {
                return Verdict::Linearizable;
            }
            let Some((call, state)) = frame.moves.pop() else {
                stack.pop();
                continue;
            };
            self.steps += 1;
            if self.steps > limit.max_steps {
                return Verdict::TooHard;
            }
            let placed = frame.placed.with(call);
            let (answered, run) = match self.calls[call].ended {
                Some(_) => (frame.answered + 1, 0),
                None => (frame.answered, frame.run + 1),
            };
            if self.is_new(&placed, run, &state) {
                let next = self.frame(placed, answered, run, &state);
                stack.push(next);
            }
        }
        Verdict::Impossible
    }

    /// Whether nothing at least as good was tried before; remembers it.
    fn is_new(&mut self, placed: &Placed, run: usize, state: &State) -> bool {
        let masked = |keep: fn(u64, u64) -> u64| -> Box<[u64]> {
            placed.bits.iter().zip(&self.answered_mask).map(|(bits, mask)| keep(*bits, *mask)).collect()
        };
        let (answered, open) = (masked(|bits, mask| bits & mask), masked(|bits, mask| bits & !mask));
        let tried = self.seen.entry((answered, state.clone())).or_default();
        let worse = |(other, other_run): &(Box<[u64]>, usize)| {
            *other_run <= run && other.iter().zip(&open).all(|(other, open)| other & !open == 0)
        };
        if tried.iter().any(worse) {
            return false;
        }
        tried.push((open, run));
        true
    }

    fn frame(&mut self, placed: Placed, answered: usize, run: usize, state: &State) -> Frame {
        if answered > self.best.0 {
            self.best = (answered, placed.clone(), state.clone());
        }
        let mut candidates = self.candidates(&placed);
        if run >= self.open_run {
            let all = candidates.len();
            candidates.retain(|i| self.calls[*i].ended.is_some());
            self.cut |= candidates.len() < all;
        }
        // Tried from the back: first what was answered first, calls without an answer at the very last.
        candidates.sort_by_key(|i| std::cmp::Reverse(self.calls[*i].ended.map_or(u64::MAX, |at| at.order)));
        let mut moves = Vec::new();
        for i in candidates {
            let mut states = model::step(self.rules, state, &self.calls[i]);
            if self.calls[i].ended.is_none() {
                // Nobody saw it: a step that changes nothing explains nothing.
                states.retain(|next| next != state);
            }
            moves.extend(states.into_iter().rev().map(|state| (i, state)));
        }
        Frame { placed, answered, run, moves }
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
