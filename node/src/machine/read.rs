//! Answers to queries: pure functions of the state at one log position and of the time the leader named.
//!
//! Called by the machine for linearizable reads and for reads in the log, and by `cache` for local reads of one key
//! ([`answer_key`]). Nothing here changes anything.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use crate::{
    machine::{
        command::{Found, Meta, Outcome, Query, Refusal},
        store::{Entry, EntryStore},
    },
    types::{Draw, Key, Timestamp, Value},
};

/// Deadlines and their keys, soonest first.
pub(super) type Deadlines = BTreeSet<(Timestamp, Key)>;

/// A `SCAN` cursor of the machine is below 2 to this power, so that a door can put the shard's number beside it.
pub const SCAN_CURSOR_BITS: u32 = 48;
const CURSOR_SHIFT: u32 = u64::BITS - SCAN_CURSOR_BITS;
/// The most keys that one `SCAN` looks at, whatever it asks for: it runs on the thread that applies.
pub const MAX_SCAN_COUNT: u32 = 10_000;
/// How many entries `RANDOMKEY` looks at in one go.
const RANDOM_PAGE: usize = 64;

/// A read met a key that the leader's clock calls expired and log time does not. The leader must commit an entry
/// with at least this stamp; after it is applied here the read is tried again (PROTOCOL 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedsStamp {
    /// The latest deadline of the shard that the leader's clock has passed, so that one stamp decides them all.
    pub at: Timestamp,
}

/// What is known of an entry beside its value, judged at `clock`.
#[must_use]
pub fn meta(entry: &Entry, clock: Timestamp) -> Meta {
    let ttl_ms = entry.expires_at().map(|at| at.0.saturating_sub(clock.0).max(1));
    Meta { version: entry.version(), expires_at: entry.expires_at(), ttl_ms }
}

/// An entry as an answer, judged at `clock`.
#[must_use]
pub fn found(entry: &Entry, clock: Timestamp) -> Found {
    Found { value: entry.value_bytes(), meta: meta(entry, clock) }
}

/// A part of a value as Redis 7 cuts it: both ends included, negative ones count from the end.
#[must_use]
pub fn range(value: &Value, start: i64, end: i64) -> Value {
    let len = value.len() as i64;
    let from_end = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    // Redis compares before it clamps: both beyond the front and crossed is empty, not the first byte.
    if len == 0 || start < 0 && end < 0 && start > end {
        return Value::new();
    }
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end {
        return Value::new();
    }
    value.slice(start as usize..=end as usize)
}

/// Answers a query about one key from what is there (`None` when absent or expired); `None` for any other query.
#[must_use]
pub fn answer_key(query: &Query, entry: Option<&Entry>, clock: Timestamp) -> Option<Outcome> {
    Some(match query {
        Query::Get { .. } => Outcome::Value(entry.map(|entry| found(entry, clock))),
        Query::GetRange { start, end, .. } => Outcome::Value(
            entry.map(|entry| Found { value: range(&entry.value_bytes(), *start, *end), meta: meta(entry, clock) }),
        ),
        Query::Strlen { .. } => Outcome::Length(entry.map_or(0, |entry| entry.value().len() as u64)),
        Query::Exists { .. } => Outcome::Present(entry.is_some()),
        Query::Meta { .. } => Outcome::Meta(entry.map(|entry| meta(entry, clock))),
        Query::Scan { .. } | Query::Size | Query::Expiring | Query::RandomKey { .. } | Query::Multi(_) => {
            return None;
        }
    })
}

/// The state at one log position, as one reader sees it.
pub(super) struct View<'a, S> {
    pub(super) store: &'a S,
    pub(super) deadlines: &'a Deadlines,
    /// Decides who is visible.
    pub(super) log_time: Timestamp,
    /// What the leader's next stamp would be.
    pub(super) now: Timestamp,
    /// Whether the answer depends on a deadline in (log time, now].
    pub(super) undecided: bool,
}

impl<S: EntryStore> View<'_, S> {
    pub(super) fn answer(&mut self, query: &Query) -> Outcome {
        match query {
            Query::Get { key }
            | Query::GetRange { key, .. }
            | Query::Strlen { key }
            | Query::Exists { key }
            | Query::Meta { key } => {
                let entry = self.store.get(key).filter(|entry| self.sees(entry));
                let clock = self.log_time.max(self.now);
                answer_key(query, entry.as_deref(), clock).unwrap_or(Outcome::Refused(Refusal::Invalid))
            }
            Query::Scan { cursor, count } => self.scan(*cursor, *count),
            Query::Size => self.size(),
            Query::Expiring => self.expiring(),
            Query::RandomKey { seed } => self.random_key(*seed),
            Query::Multi(queries) => Outcome::Many(
                queries
                    .iter()
                    .map(|query| match query {
                        Query::Multi(_) => Outcome::Refused(Refusal::Invalid),
                        query => self.answer(query),
                    })
                    .collect(),
            ),
        }
    }

    /// The stamp that the answer lacks. The latest deadline of all, not of those met: once these are gone, a scan or
    /// a random key comes to others, and each would ask for one stamp more.
    pub(super) fn needs(&self) -> Option<NeedsStamp> {
        let at = self.latest_passed().filter(|_| self.undecided)?;
        Some(NeedsStamp { at })
    }

    fn latest_passed(&self) -> Option<Timestamp> {
        self.deadlines.range(..after(self.now)).next_back().map(|(at, _)| *at)
    }

    /// Whether log time shows the entry. Notes it when the leader's clock would not.
    fn sees(&mut self, entry: &Entry) -> bool {
        match entry.expires_at() {
            Some(at) if at <= self.log_time => false,
            Some(at) if at <= self.now => {
                self.undecided = true;
                true
            }
            Some(_) | None => true,
        }
    }

    /// Every key that is present throughout a whole scan is returned, since the cursor is a place in a fixed order.
    fn scan(&mut self, cursor: u64, count: u32) -> Outcome {
        let Some(from) = cursor.checked_mul(1 << CURSOR_SHIFT) else {
            return Outcome::Keys { cursor: 0, keys: Vec::new() };
        };
        let (page, cursor) = self.page(from, count.clamp(1, MAX_SCAN_COUNT) as usize);
        let keys = page.into_iter().filter(|entry| self.sees(entry)).map(|entry| entry.key_bytes()).collect();
        Outcome::Keys { cursor, keys }
    }

    /// About `limit` entries from a hash on, cut where the cursor's bits change, and the cursor behind them.
    fn page(&self, from: u64, limit: usize) -> (Vec<Arc<Entry>>, u64) {
        let cursor_of = |entry: &Arc<Entry>| crate::machine::store::scan_hash(entry.key()) >> CURSOR_SHIFT;
        let mut ask = limit + 1;
        loop {
            let mut page = self.store.scan(from, ask);
            if page.len() < ask {
                return (page, 0);
            }
            let last = page.last().map_or(0, cursor_of);
            let keep = page.partition_point(|entry| cursor_of(entry) < last);
            if keep > 0 {
                page.truncate(keep);
                return (page, last);
            }
            // All share one cursor (hardly ever): what doesn't end on a boundary can't be gone on from.
            ask *= 2;
        }
    }

    /// How many keys log time shows.
    fn size(&mut self) -> Outcome {
        self.undecided |= self.latest_passed().is_some_and(|at| at > self.log_time);
        Outcome::Count(visible(self.store, self.deadlines, self.log_time))
    }

    /// How many of them have a deadline.
    fn expiring(&mut self) -> Outcome {
        self.undecided |= self.latest_passed().is_some_and(|at| at > self.log_time);
        Outcome::Count(self.deadlines.len() as u64 - expired(self.deadlines, self.log_time))
    }

    /// The first key that is visible from a drawn place on, round the end.
    fn random_key(&mut self, seed: u64) -> Outcome {
        let drawn = Draw::new(seed).next_u64();
        let mut from = drawn;
        let mut wrapped = drawn == 0;
        loop {
            let page = self.store.scan(from, RANDOM_PAGE);
            if let Some(entry) = page.iter().find(|entry| self.sees(entry)) {
                return Outcome::RandomKey(Some(entry.key_bytes()));
            }
            let next = page.last().and_then(|last| crate::machine::store::scan_hash(last.key()).checked_add(1));
            match next.filter(|_| page.len() >= RANDOM_PAGE) {
                Some(next) => from = next,
                None if wrapped => return Outcome::RandomKey(None),
                None => (from, wrapped) = (0, true),
            }
        }
    }
}

/// How many entries are not expired at a moment.
pub(super) fn visible(store: &impl EntryStore, deadlines: &Deadlines, at: Timestamp) -> u64 {
    store.len() as u64 - expired(deadlines, at)
}

fn expired(deadlines: &Deadlines, at: Timestamp) -> u64 {
    deadlines.range(..after(at)).count() as u64
}

/// The end of all deadlines up to and with a moment.
fn after(at: Timestamp) -> (Timestamp, Key) {
    // A deadline at the end of time never passes.
    (at.plus_ms(1), Key::new())
}

/// The deadlines that have passed at a moment, soonest first, at most `limit`.
pub(super) fn due(deadlines: &Deadlines, at: Timestamp, limit: usize) -> Vec<Key> {
    let range = (Bound::Unbounded, Bound::Excluded(after(at)));
    deadlines.range::<(Timestamp, Key), _>(range).take(limit).map(|(_, key)| key.clone()).collect()
}
