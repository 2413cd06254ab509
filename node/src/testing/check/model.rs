//! What each command means for one key, written independently of the code under test.
//!
//! [`step`] is the whole model: from a state, an action and what the client was told, to every state that is
//! then possible; none means that the answer is wrong there. What the client can't know (a version that was not
//! returned, the exact log time of a deadline) stays open in the state until an answer settles it.

use crate::{
    machine::command::{Command, Condition, ExpireCondition, Expiry, Found, Meta, Outcome, Put, Query, Refusal},
    types::Version,
};
use bytes::Bytes;

use super::split::{Action, KeyCall};

/// Each generation of a shard has its own range of versions, so that none passes for one of another.
const VERSIONS_PER_GENERATION: u64 = 1 << 48;

/// What may happen besides the clients' calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Any key may vanish at any time (capacity is limited).
    pub evictable: bool,
    /// What [`Expiry::Default`] means; 0 is never.
    pub default_ttl_ms: u64,
    /// How far log time may be from true time; `None` leaves deadlines unjudged.
    pub clocks: Option<ClockBounds>,
}

/// How far log time may be from true time.
#[derive(Clone, Copy, Debug)]
pub struct ClockBounds {
    /// Log time is at least true time less this.
    pub behind_ms: u64,
    /// Log time is at most true time and this.
    pub ahead_ms: u64,
}

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Every later change has a version of at least this.
    next_version: u64,
    held: Option<Held>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    value: Bytes,
    /// `None`: not seen yet, at least `next_version` of the change before it.
    version: Option<u64>,
    deadline: Option<Deadline>,
}

/// A moment in log time between the two, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Deadline {
    least: u64,
    most: u64,
}

/// The bounds of log time at the position of one call.
#[derive(Clone, Copy, Debug)]
struct LogTime {
    least: u64,
    most: u64,
}

/// Every state that is possible when `call` takes effect on `state`. Empty: it can't have happened there.
///
/// Spontaneous loss (expiry, eviction) is judged here too: it may come just before the call, and must have come
/// when the deadline has certainly passed.
#[must_use]
pub fn step(rules: &Rules, state: &State, call: &KeyCall) -> Vec<State> {
    let time = log_time(rules, call);
    let mut states = Vec::new();
    if let Some(held) = &state.held {
        if may_vanish(rules, held, time) {
            states.push(State { held: None, ..state.clone() });
        }
        if held.deadline.is_none_or(|d| d.most > time.least) {
            states.insert(0, state.clone());
        }
    } else {
        states.push(state.clone());
    }
    for (action, seen) in &call.parts {
        let mut next = Vec::new();
        for state in &states {
            Step { rules, time, seen: seen.as_ref() }.action(state, action, &mut next);
        }
        states = next;
    }
    states.dedup();
    states
}

fn log_time(rules: &Rules, call: &KeyCall) -> LogTime {
    match (rules.clocks, call.ended) {
        (None, _) => LogTime { least: 0, most: u64::MAX },
        (Some(clocks), ended) => LogTime {
            least: call.begun.ms.saturating_sub(clocks.behind_ms),
            most: ended.map_or(u64::MAX, |at| at.ms.saturating_add(clocks.ahead_ms)),
        },
    }
}

fn may_vanish(rules: &Rules, held: &Held, time: LogTime) -> bool {
    rules.evictable || held.deadline.is_some_and(|deadline| time.most >= deadline.least)
}

/// One action about to happen, and what the client was told of it (`None`: nothing, or not of this key).
struct Step<'a> {
    rules: &'a Rules,
    time: LogTime,
    seen: Option<&'a Outcome>,
}

impl Step<'_> {
    fn action(&self, state: &State, action: &Action, next: &mut Vec<State>) {
        match action {
            Action::Flush => next.push(State { held: None, ..state.clone() }),
            Action::Reset(generation) => {
                let least = generation.saturating_sub(1) * VERSIONS_PER_GENERATION + 1;
                next.push(State { next_version: state.next_version.max(least), held: None });
            }
            Action::Read(query) => self.query(state, query, next),
            Action::Write(command) => self.command(state, command, next),
        }
    }

    fn command(&self, state: &State, command: &Command, next: &mut Vec<State>) {
        match command {
            Command::Put(put) => self.put(state, put, next),
            Command::Delete { condition, .. } => self.delete(state, condition, next),
            Command::Take { .. } => self.take(state, next),
            Command::Expire { expiry, condition, return_value, .. } => {
                self.expire(state, *expiry, *condition, *return_value, next);
            }
            Command::Touch { .. } => self.expect(state, &Outcome::Present(state.held.is_some()), next),
            Command::Increment { delta, .. } => self.increment(state, *delta, next),
            Command::IncrementFloat { .. } => self.increment_float(state, next),
            Command::Append { suffix, .. } => self.append(state, suffix, next),
            Command::SetRange { offset, patch, .. } => self.set_range(state, *offset, patch, next),
            // Split away by `split`; reaching here is a bug of the checker.
            Command::Flush
            | Command::Read(_)
            | Command::Batch(_)
            | Command::Copy { .. }
            | Command::Guarded { .. } => unreachable!("split before: {command:?}"),
        }
    }

    fn put(&self, state: &State, put: &Put, next: &mut Vec<State>) {
        for (state, met) in judge(state, &put.condition) {
            if !met {
                self.not_met(&state, put.return_old, next);
                continue;
            }
            let Some(version) = self.stored(&state, put.return_old) else { continue };
            for fate in self.deadlines(put.expiry, state.held.as_ref()) {
                let held = match fate {
                    Fate::Dead => None,
                    Fate::Lives(deadline) => Some(Held { value: put.value.clone(), version: None, deadline }),
                };
                next.extend(changed(&state, held, version));
            }
        }
    }

    /// The version in a `Stored` answer (`None` inside: not told); outer `None`: the answer does not fit.
    fn stored(&self, state: &State, return_old: bool) -> Option<Option<u64>> {
        match self.seen {
            None => Some(None),
            Some(Outcome::Stored { version, old }) => {
                let fits = if return_old { fits(state, old.as_ref()) } else { old.is_none() };
                fits.then_some(Some(version.0))
            }
            Some(_) => None,
        }
    }

    fn not_met(&self, state: &State, return_old: bool, next: &mut Vec<State>) {
        match self.seen {
            None => next.push(state.clone()),
            Some(Outcome::NotMet { current, old }) => {
                if return_old && !fits(state, old.as_ref()) || !return_old && old.is_some() {
                    return;
                }
                match (current, &state.held) {
                    (None, None) => next.push(state.clone()),
                    (Some(version), Some(_)) => next.extend(settle_version(state, *version)),
                    (None, Some(_)) | (Some(_), None) => {}
                }
            }
            Some(_) => {}
        }
    }

    fn delete(&self, state: &State, condition: &Condition, next: &mut Vec<State>) {
        for (state, met) in judge(state, condition) {
            match (met, &state.held, self.seen) {
                (true, Some(_), None | Some(Outcome::Deleted(true))) => {
                    next.push(State { held: None, ..state });
                }
                (_, None, None | Some(Outcome::Deleted(false))) => next.push(state),
                (false, _, _) => self.not_met(&state, false, next),
                (true, _, Some(_)) => {}
            }
        }
    }

    fn take(&self, state: &State, next: &mut Vec<State>) {
        match self.seen {
            None => next.push(State { held: None, ..state.clone() }),
            Some(Outcome::Value(found)) => {
                next.extend(settle(state, found.as_ref()).map(|state| State { held: None, ..state }));
            }
            Some(_) => {}
        }
    }

    fn expire(
        &self,
        state: &State,
        expiry: Expiry,
        condition: ExpireCondition,
        return_value: bool,
        next: &mut Vec<State>,
    ) {
        if matches!(expiry, Expiry::Keep | Expiry::Default) {
            return self.expect(state, &Outcome::Refused(Refusal::Invalid), next);
        }
        let Some(held) = &state.held else {
            let told = if return_value { Outcome::Value(None) } else { Outcome::Expiry(false) };
            return self.expect(state, &told, next);
        };
        let told = match self.seen {
            None => None,
            Some(Outcome::Expiry(changed)) if !return_value => Some(*changed),
            // The answer holds the value; its version and deadline may be those before or after.
            Some(Outcome::Value(Some(found))) if return_value && found.value == held.value => None,
            Some(_) => return,
        };
        for fate in self.deadlines(expiry, Some(held)) {
            let deadline = match fate {
                Fate::Dead => Deadline { least: 0, most: self.time.most },
                Fate::Lives(Some(deadline)) => deadline,
                Fate::Lives(None) => Deadline { least: u64::MAX, most: u64::MAX },
            };
            let (may, must) = deadline_condition(condition, held.deadline, deadline);
            // PERSIST of a key without a deadline changes nothing, and may say so.
            let idle = fate == Fate::Lives(None) && held.deadline.is_none();
            if may && told != Some(false) {
                let held = match fate {
                    Fate::Dead => None,
                    Fate::Lives(deadline) => Some(Held { value: held.value.clone(), version: None, deadline }),
                };
                next.extend(changed(state, held, None));
            }
            if (!must || idle) && told != Some(true) {
                next.push(state.clone());
            }
        }
    }

    fn increment(&self, state: &State, delta: i64, next: &mut Vec<State>) {
        let number = match &state.held {
            None => Some(0),
            Some(held) => integer(&held.value),
        };
        let Some(number) = number else {
            return self.expect(state, &Outcome::Refused(Refusal::NotAnInteger), next);
        };
        let Some(sum) = number.checked_add(delta) else {
            return self.expect(state, &Outcome::Refused(Refusal::Overflow), next);
        };
        let version = match self.seen {
            None => None,
            Some(Outcome::Integer { value, version }) if *value == sum => Some(version.0),
            Some(_) => return,
        };
        next.extend(self.revalued(state, sum.to_string().into(), version));
    }

    /// The sum is taken from the answer: the pinned algorithm is proved by golden tests, not here. An unknown
    /// one is not modelled; recorders must not use it in histories that have faults.
    fn increment_float(&self, state: &State, next: &mut Vec<State>) {
        match self.seen {
            Some(Outcome::Decimal { value, version }) => {
                next.extend(self.revalued(state, value.clone(), Some(version.0)));
            }
            Some(Outcome::Refused(_)) | None => next.push(state.clone()),
            Some(_) => {}
        }
    }

    fn append(&self, state: &State, suffix: &[u8], next: &mut Vec<State>) {
        let mut value = state.held.as_ref().map_or_else(Vec::new, |held| held.value.to_vec());
        value.extend_from_slice(suffix);
        self.lengthened(state, value, next);
    }

    fn set_range(&self, state: &State, offset: u64, patch: &[u8], next: &mut Vec<State>) {
        let mut value = state.held.as_ref().map_or_else(Vec::new, |held| held.value.to_vec());
        if patch.is_empty() {
            return self.expect(state, &Outcome::Length(value.len() as u64), next);
        }
        let end = offset as usize + patch.len();
        if value.len() < end {
            value.resize(end, 0);
        }
        value[offset as usize..end].copy_from_slice(patch);
        self.lengthened(state, value, next);
    }

    fn lengthened(&self, state: &State, value: Vec<u8>, next: &mut Vec<State>) {
        match self.seen {
            None => {}
            Some(Outcome::Length(length)) if *length == value.len() as u64 => {}
            Some(_) => return,
        }
        next.extend(self.revalued(state, value.into(), None));
    }

    /// The key gets a new value. Its deadline stays; one that was absent gets the default.
    fn revalued(&self, state: &State, value: Bytes, told: Option<u64>) -> Option<State> {
        let deadline = match (&state.held, self.rules.default_ttl_ms) {
            (Some(held), _) => held.deadline,
            (None, 0) => None,
            (None, ms) => Some(self.in_ms(ms)),
        };
        changed(state, Some(Held { value, version: None, deadline }), told)
    }

    fn query(&self, state: &State, query: &Query, next: &mut Vec<State>) {
        let held = state.held.as_ref();
        match (query, self.seen) {
            (_, None) => next.push(state.clone()),
            (Query::Get { .. }, Some(Outcome::Value(found))) => next.extend(settle(state, found.as_ref())),
            (Query::GetRange { start, end, .. }, Some(Outcome::Value(found))) => match (held, found) {
                (None, None) => next.push(state.clone()),
                (Some(held), Some(found)) if found.value == range(&held.value, *start, *end) => {
                    next.extend(settle_meta(state, found.meta));
                }
                (Some(_), _) | (None, Some(_)) => {}
            },
            (Query::Strlen { .. }, Some(_)) => {
                let length = held.map_or(0, |held| held.value.len() as u64);
                self.expect(state, &Outcome::Length(length), next);
            }
            (Query::Exists { .. }, Some(_)) => self.expect(state, &Outcome::Present(held.is_some()), next),
            (Query::Meta { .. }, Some(Outcome::Meta(meta))) => match (held, meta) {
                (None, None) => next.push(state.clone()),
                (Some(_), Some(meta)) => next.extend(settle_meta(state, *meta)),
                (None, Some(_)) | (Some(_), None) => {}
            },
            (_, Some(_)) => {}
        }
    }

    /// Nothing changes, and the client was told exactly this.
    fn expect(&self, state: &State, told: &Outcome, next: &mut Vec<State>) {
        if self.seen.is_none_or(|seen| seen == told) {
            next.push(state.clone());
        }
    }

    /// What becomes of a key that is given this deadline now.
    fn deadlines(&self, expiry: Expiry, held: Option<&Held>) -> Vec<Fate> {
        let (present, kept) = (held.is_some(), held.and_then(|held| held.deadline));
        match expiry {
            Expiry::Never => vec![Fate::Lives(None)],
            // `kept` is what is there; the default, when nothing is.
            Expiry::Keep if present => vec![Fate::Lives(kept)],
            Expiry::Default | Expiry::Keep if self.rules.default_ttl_ms == 0 => vec![Fate::Lives(None)],
            Expiry::Default | Expiry::Keep => vec![self.after(self.rules.default_ttl_ms)],
            // Not after log time, so already over.
            Expiry::AfterMs(0) => vec![Fate::Dead],
            Expiry::AfterMs(ms) => vec![self.after(ms)],
            Expiry::At(at) => {
                let lives = Fate::Lives(Some(Deadline { least: at.0, most: at.0 }));
                if at.0 <= self.time.least {
                    vec![Fate::Dead]
                } else if at.0 > self.time.most {
                    vec![lives]
                } else {
                    vec![lives, Fate::Dead]
                }
            }
        }
    }

    fn after(&self, ms: u64) -> Fate {
        Fate::Lives(Some(self.in_ms(ms)))
    }

    fn in_ms(&self, ms: u64) -> Deadline {
        let LogTime { least, most } = self.time;
        Deadline { least: least.saturating_add(ms), most: most.saturating_add(ms) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The deadline is over: the key goes.
    Dead,
    /// It stays, with this deadline.
    Lives(Option<Deadline>),
}

/// Whether the condition is met; both, when that hangs on a version that nobody has seen.
fn judge(state: &State, condition: &Condition) -> Vec<(State, bool)> {
    let held = state.held.as_ref();
    let met = match condition {
        Condition::Always => true,
        Condition::IfAbsent => held.is_none(),
        Condition::IfPresent => held.is_some(),
        Condition::IfValue(value) => held.is_some_and(|held| held.value == *value),
        Condition::IfVersion(version) => match held {
            None => false,
            Some(Held { version: Some(known), .. }) => *known == version.0,
            Some(Held { version: None, .. }) => {
                let open = (state.clone(), false);
                return settle_version(state, *version)
                    .map(|state| (state, true))
                    .into_iter()
                    .chain([open])
                    .collect();
            }
        },
    };
    vec![(state.clone(), met)]
}

/// Whether a deadline condition may hold, and whether it must.
fn deadline_condition(condition: ExpireCondition, held: Option<Deadline>, new: Deadline) -> (bool, bool) {
    let forever = Deadline { least: u64::MAX, most: u64::MAX };
    let old = held.unwrap_or(forever);
    match condition {
        ExpireCondition::Always => (true, true),
        ExpireCondition::IfNone => (held.is_none(), held.is_none()),
        ExpireCondition::IfSome => (held.is_some(), held.is_some()),
        ExpireCondition::IfSomeEarlier => {
            let (may, must) = deadline_condition(ExpireCondition::IfEarlier, held, new);
            (held.is_some() && may, held.is_some() && must)
        }
        ExpireCondition::IfLater => (new.most > old.least, new.least > old.most),
        ExpireCondition::IfEarlier => (new.least < old.most, new.most < old.least),
    }
}

/// The state after a change to `held`, whose version is `told` if the client knows it.
fn changed(state: &State, held: Option<Held>, told: Option<u64>) -> Option<State> {
    let version = told.unwrap_or(state.next_version);
    if version < state.next_version {
        return None;
    }
    // A version that was not told leaves the bound where it is: the next one seen may be this change's own.
    let next_version = if told.is_some() { version + 1 } else { state.next_version };
    Some(State { next_version, held: held.map(|held| Held { version: told, ..held }) })
}

/// The state as this answer settles it; `None`: the answer does not fit.
fn settle(state: &State, found: Option<&Found>) -> Option<State> {
    match (&state.held, found) {
        (None, None) => Some(state.clone()),
        (Some(held), Some(found)) if held.value == found.value => settle_meta(state, found.meta),
        (Some(_), _) | (None, Some(_)) => None,
    }
}

fn fits(state: &State, found: Option<&Found>) -> bool {
    settle(state, found).is_some()
}

fn settle_version(state: &State, version: Version) -> Option<State> {
    let held = state.held.as_ref()?;
    match held.version {
        Some(known) => (known == version.0).then(|| state.clone()),
        None if version.0 < state.next_version => None,
        None => {
            Some(State { next_version: version.0 + 1, held: Some(Held { version: Some(version.0), ..held.clone() }) })
        }
    }
}

fn settle_meta(state: &State, meta: Meta) -> Option<State> {
    let mut state = settle_version(state, meta.version)?;
    let held = state.held.as_mut()?;
    held.deadline = match (held.deadline, meta.expires_at) {
        (None, None) if meta.ttl_ms.is_none() => None,
        (Some(deadline), Some(at)) if (deadline.least..=deadline.most).contains(&at.0) => {
            // A visible key never has a time to live of 0.
            meta.ttl_ms.filter(|ttl| *ttl >= 1)?;
            Some(Deadline { least: at.0, most: at.0 })
        }
        (None, _) | (Some(_), _) => return None,
    };
    Some(state)
}

fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Redis's GETRANGE: inclusive, negative positions count from the end.
fn range(value: &[u8], start: i64, end: i64) -> Bytes {
    let length = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let clamp = |at: i64| if at < 0 { (length + at).max(0) } else { at };
    let (start, end) = (clamp(start), clamp(end).min(length - 1));
    if length == 0 || start > end {
        return Bytes::new();
    }
    Bytes::copy_from_slice(&value[start as usize..=end as usize])
}
