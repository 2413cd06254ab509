//! The machine against a model written as plainly as possible: a sorted map, purged of what has expired before each
//! entry, with no index, no running sum and no store behind a trait.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*};

use super::arbitrary;
use crate::{
    machine::{
        LogRecord, Machine, Settings,
        command::{Command, Condition, ExpireCondition, Expiry, Found, Meta, Outcome, Put, Query, Refusal},
        hash::entry_hash,
        model::ModelStore,
        number,
        store::{Entry, scan_hash, weight},
    },
    types::{Key, MAX_VALUE_BYTES, Timestamp, Value, Version},
};

#[derive(Default)]
struct Naive {
    map: BTreeMap<Key, Entry>,
    /// What this entry found expired: absent, but a scan's pages still count it until the entry is done.
    ghosts: BTreeSet<Key>,
    now: u64,
    version: u64,
    settings: Settings,
}

impl Naive {
    fn apply(&mut self, record: LogRecord) -> Vec<Outcome> {
        self.now = self.now.max(record.stamp.0);
        let now = self.now;
        self.ghosts.clear();
        self.map.retain(|key, entry| {
            let stays = entry.expires_at().is_none_or(|at| at.0 > now);
            if !stays {
                self.ghosts.insert(key.clone());
            }
            stays
        });
        self.settings = record.settings.unwrap_or(self.settings);
        let outcomes = record.commands.into_iter().map(|command| self.run(command)).collect();
        for (key, version) in record.evictions {
            if self.map.get(&key).is_some_and(|entry| entry.version() == version) {
                self.map.remove(&key);
            }
        }
        outcomes
    }

    fn run(&mut self, command: Command) -> Outcome {
        match command {
            Command::Put(put) => self.put(put),
            Command::Delete { key, condition } => {
                let there = self.map.get(&key);
                if !met(&condition, there) {
                    return Outcome::NotMet { current: there.map(|e| e.version()), old: None };
                }
                Outcome::Deleted(self.map.remove(&key).is_some())
            }
            Command::Take { key } => Outcome::Value(self.map.remove(&key).map(|e| self.found(&e))),
            Command::Expire { key, expiry, condition, return_value } => {
                self.expire(&key, expiry, condition, return_value)
            }
            Command::Touch { key } => Outcome::Present(self.map.contains_key(&key)),
            Command::Increment { key, delta } => {
                let text = self.map.get(&key).map_or("0".into(), |e| String::from_utf8_lossy(e.value()).into_owned());
                match text.parse::<i64>().ok().filter(|n| n.to_string() == text) {
                    None => Outcome::Refused(Refusal::NotAnInteger),
                    Some(n) => match n.checked_add(delta) {
                        None => Outcome::Refused(Refusal::Overflow),
                        Some(value) => {
                            Outcome::Integer { value, version: self.rewrite(key, value.to_string().into()) }
                        }
                    },
                }
            }
            Command::IncrementFloat { key, delta } => {
                let before = self.map.get(&key).map_or(Value::from("0"), |e| e.value_bytes());
                match number::add_decimals(&before, &delta) {
                    Err(refusal) => Outcome::Refused(refusal),
                    Ok(sum) => Outcome::Decimal { value: sum.clone().into(), version: self.rewrite(key, sum.into()) },
                }
            }
            Command::Append { key, suffix } => {
                let mut value = self.map.get(&key).map_or(vec![], |e| e.value().to_vec());
                value.extend(suffix);
                let length = value.len() as u64;
                self.rewrite(key, value.into());
                Outcome::Length(length)
            }
            Command::SetRange { key, offset, patch } => self.set_range(key, offset, &patch),
            Command::Flush => {
                let count = self.map.len() as u64;
                self.map.clear();
                self.ghosts.clear();
                Outcome::Count(count)
            }
            Command::Read(query) => self.answer(&query, true),
            Command::Copy { from, to, replace, remove_source } => {
                let Some(source) = self.map.get(&from).cloned() else {
                    return Outcome::Refused(Refusal::NoSuchKey);
                };
                if let (Some(there), false) = (self.map.get(&to), replace) {
                    return Outcome::NotMet { current: Some(there.version()), old: None };
                }
                if from == to {
                    return Outcome::Stored { version: source.version(), old: None };
                }
                if remove_source {
                    self.map.remove(&from);
                }
                let deadline = source.expires_at().map(|at| at.0);
                Outcome::Stored { version: self.store(to, source.value_bytes(), deadline), old: None }
            }
            Command::Guarded { watches, commands } => self.guarded(&watches, commands, 0),
            Command::Batch(parts) => Outcome::Many(
                parts
                    .into_iter()
                    .map(|part| match part {
                        Command::Batch(_) | Command::Guarded { .. } => Outcome::Refused(Refusal::Invalid),
                        part => self.run(part),
                    })
                    .collect(),
            ),
        }
    }

    fn guarded(&mut self, watches: &[(Key, Option<Version>)], commands: Vec<Command>, depth: u32) -> Outcome {
        let current = |key| self.map.get(key).map(|entry| entry.version());
        if let Some((key, _)) = watches.iter().find(|(key, seen)| current(key) != *seen) {
            return Outcome::NotMet { current: current(key), old: None };
        }
        let mut outcomes = Vec::new();
        for command in commands {
            outcomes.push(match (command, depth) {
                (Command::Guarded { watches, commands }, 0) => self.guarded(&watches, commands, 1),
                (Command::Guarded { .. } | Command::Batch(_), 1..) => Outcome::Refused(Refusal::Invalid),
                (command, _) => self.run(command),
            });
        }
        Outcome::Many(outcomes)
    }

    fn put(&mut self, put: Put) -> Outcome {
        let there = self.map.get(&put.key).cloned();
        let old = there.as_ref().filter(|_| put.return_old).map(|e| self.found(e));
        if !met(&put.condition, there.as_ref()) {
            return Outcome::NotMet { current: there.map(|e| e.version()), old };
        }
        let deadline = match (put.expiry, there) {
            (Expiry::Keep, Some(entry)) => entry.expires_at().map(|at| at.0),
            (Expiry::Keep | Expiry::Default, _) => self.default_deadline(),
            (Expiry::Never, _) => None,
            (Expiry::AfterMs(ms), _) => Some(self.now.saturating_add(ms)),
            (Expiry::At(at), _) => Some(at.0),
        };
        Outcome::Stored { version: self.store(put.key, put.value, deadline), old }
    }

    fn expire(&mut self, key: &Key, expiry: Expiry, condition: ExpireCondition, return_value: bool) -> Outcome {
        const FOREVER: u128 = u128::MAX;
        let new = match expiry {
            Expiry::Default | Expiry::Keep => return Outcome::Refused(Refusal::Invalid),
            Expiry::Never => FOREVER,
            Expiry::AfterMs(ms) => u128::from(self.now.saturating_add(ms)),
            Expiry::At(at) => u128::from(at.0),
        };
        let Some(entry) = self.map.get(key).cloned() else {
            return if return_value { Outcome::Value(None) } else { Outcome::Expiry(false) };
        };
        let old = entry.expires_at().map_or(FOREVER, |at| u128::from(at.0));
        let changes = match condition {
            _ if new == FOREVER && old == FOREVER => false,
            ExpireCondition::Always => true,
            ExpireCondition::IfNone => old == FOREVER,
            ExpireCondition::IfSome => old != FOREVER,
            ExpireCondition::IfLater => new > old,
            ExpireCondition::IfEarlier => new < old,
            ExpireCondition::IfSomeEarlier => old != FOREVER && new < old,
        };
        let mut after = entry.clone();
        if changes && new <= u128::from(self.now) {
            self.map.remove(key);
        } else if changes {
            self.store(key.clone(), entry.value_bytes(), u64::try_from(new).ok());
            after = self.map[key].clone();
        }
        if return_value { Outcome::Value(Some(self.found(&after))) } else { Outcome::Expiry(changes) }
    }

    fn set_range(&mut self, key: Key, offset: u64, patch: &[u8]) -> Outcome {
        let mut value = self.map.get(&key).map_or(vec![], |e| e.value().to_vec());
        if patch.is_empty() {
            return Outcome::Length(value.len() as u64);
        }
        if u128::from(offset) + patch.len() as u128 > MAX_VALUE_BYTES as u128 {
            return Outcome::Refused(Refusal::TooLong);
        }
        while value.len() < offset as usize + patch.len() {
            value.push(0);
        }
        for (i, byte) in patch.iter().enumerate() {
            value[offset as usize + i] = *byte;
        }
        let length = value.len() as u64;
        self.rewrite(key, value.into());
        Outcome::Length(length)
    }

    fn answer(&self, query: &Query, outermost: bool) -> Outcome {
        match query {
            Query::Get { key } => Outcome::Value(self.map.get(key).map(|e| self.found(e))),
            Query::GetRange { key, start, end } => Outcome::Value(self.map.get(key).map(|e| Found {
                value: redis_range(e.value(), i128::from(*start), i128::from(*end)),
                ..self.found(e)
            })),
            Query::Strlen { key } => Outcome::Length(self.map.get(key).map_or(0, |e| e.value().len() as u64)),
            Query::Exists { key } => Outcome::Present(self.map.contains_key(key)),
            Query::Meta { key } => Outcome::Meta(self.map.get(key).map(|e| self.found(e).meta)),
            Query::Expiring => {
                Outcome::Count(self.map.values().filter(|entry| entry.expires_at().is_some()).count() as u64)
            }
            Query::Size => Outcome::Count(self.map.len() as u64),
            Query::Scan { cursor, count } => self.scan(*cursor, *count),
            Query::RandomKey { seed } => {
                let from = crate::types::Draw::new(*seed).next_u64();
                let order = self.in_order();
                let at = order.iter().position(|(hash, _)| *hash >= from).unwrap_or(0);
                Outcome::RandomKey(order.get(at).map(|(_, key)| key.clone()))
            }
            Query::Multi(queries) if outermost => {
                Outcome::Many(queries.iter().map(|query| self.answer(query, false)).collect())
            }
            Query::Multi(_) => Outcome::Refused(Refusal::Invalid),
        }
    }

    /// The few keys of these tests have hashes that differ in their upper bits.
    fn scan(&self, cursor: u64, count: u32) -> Outcome {
        let mut rest = self.in_order();
        rest.extend(self.ghosts.iter().map(|key| (scan_hash(key), key.clone())));
        rest.sort();
        rest.retain(|(hash, _)| hash >> 16 >= cursor);
        let page = (count.max(1) as usize).min(rest.len());
        let cursor = rest.get(page).map_or(0, |(hash, _)| hash >> 16);
        let keys = rest[..page].iter().map(|(_, key)| key.clone()).filter(|key| self.map.contains_key(key));
        Outcome::Keys { cursor, keys: keys.collect() }
    }

    fn in_order(&self) -> Vec<(u64, Key)> {
        let mut order: Vec<_> = self.map.keys().map(|key| (scan_hash(key), key.clone())).collect();
        order.sort();
        order
    }

    fn rewrite(&mut self, key: Key, value: Value) -> Version {
        let deadline = match self.map.get(&key) {
            Some(entry) => entry.expires_at().map(|at| at.0),
            None => self.default_deadline(),
        };
        self.store(key, value, deadline)
    }

    fn store(&mut self, key: Key, value: Value, deadline: Option<u64>) -> Version {
        self.version += 1;
        self.ghosts.remove(&key);
        let version = Version(self.version);
        if deadline.is_some_and(|at| at <= self.now) {
            self.map.remove(&key);
        } else {
            self.map.insert(key.clone(), Entry::new(&key, &value, version, deadline.map(Timestamp)));
        }
        version
    }

    fn default_deadline(&self) -> Option<u64> {
        self.settings.default_ttl_ms.filter(|ms| *ms != 0).map(|ms| self.now + ms)
    }

    fn found(&self, entry: &Entry) -> Found {
        let ttl_ms = entry.expires_at().map(|at| if at.0 > self.now { at.0 - self.now } else { 1 });
        let meta = Meta { version: entry.version(), expires_at: entry.expires_at(), ttl_ms };
        Found { value: entry.value_bytes(), meta }
    }
}

fn met(condition: &Condition, there: Option<&Entry>) -> bool {
    match (condition, there) {
        (Condition::Always, _) | (Condition::IfAbsent, None) | (Condition::IfPresent, Some(_)) => true,
        (Condition::IfValue(value), Some(entry)) => entry.value() == value,
        (Condition::IfVersion(version), Some(entry)) => entry.version() == *version,
        (Condition::IfAbsent, Some(_)) => false,
        (Condition::IfPresent | Condition::IfValue(_) | Condition::IfVersion(_), None) => false,
    }
}

/// Step by step as Redis 7.2's `getrangeCommand`.
fn redis_range(value: &[u8], mut start: i128, mut end: i128) -> Value {
    let len = value.len() as i128;
    if start < 0 && end < 0 && start > end {
        return Value::new();
    }
    if start < 0 {
        start += len;
    }
    if end < 0 {
        end += len;
    }
    start = start.max(0);
    end = end.max(0);
    if end >= len {
        end = len - 1;
    }
    if start > end || len == 0 { Value::new() } else { Value::copy_from_slice(&value[start as usize..=end as usize]) }
}

/// Index, sums and hash computed anew from the entries.
fn check_sums(machine: &Machine<ModelStore>) {
    let entries: Vec<&Arc<Entry>> = machine.store().iter().collect();
    assert_eq!(machine.len(), entries.len());
    assert_eq!(machine.weight_bytes(), entries.iter().map(|e| weight(e)).sum::<u64>());
    let hash = entries.iter().fold(0, |sum: u128, e| sum.wrapping_add(entry_hash(e)));
    assert_eq!(machine.state_hash(), hash);
    assert_eq!(machine.next_deadline(), entries.iter().filter_map(|e| e.expires_at()).min());
    assert_eq!(machine.store().published(), (machine.applied(), machine.log_time()));
}

proptest! {
    #[test]
    fn the_machine_does_what_the_model_does(records in vec(arbitrary::record(), 0..25)) {
        let (mut machine, mut naive) = (Machine::new(ModelStore::new()), Naive::default());
        for record in records {
            let index = machine.applied().next();
            let outcomes = machine.apply(index, record.clone());
            prop_assert_eq!(outcomes, naive.apply(record));
            let mut entries: Vec<Entry> = machine.store().iter().map(|entry| Entry::clone(entry)).collect();
            entries.sort_by(|a, b| a.key().cmp(b.key()));
            prop_assert_eq!(entries, naive.map.values().cloned().collect::<Vec<_>>());
            prop_assert_eq!((machine.log_time().0, machine.last_version().0), (naive.now, naive.version));
            check_sums(&machine);
        }
    }

    #[test]
    fn a_read_answers_as_the_log_would(
        records in vec(arbitrary::record(), 0..10),
        query in arbitrary::query(),
        ahead in 0_u64..40,
    ) {
        let mut machine = Machine::new(ModelStore::new());
        for record in records {
            machine.apply(machine.applied().next(), record);
        }
        let now = machine.log_time().plus_ms(ahead);
        if let Err(needs) = machine.read(&query, now) {
            prop_assert!(machine.log_time() < needs.at && needs.at <= now);
            let stamped = LogRecord { stamp: needs.at, ..Default::default() };
            machine.apply(machine.applied().next(), stamped);
        }
        // One stamp is enough, and what is then read is what the log would say at that clock.
        let outcome = machine.read(&query, now).expect("decided");
        let in_log = LogRecord { stamp: now, commands: vec![Command::Read(query)], ..Default::default() };
        prop_assert_eq!(vec![outcome], machine.apply(machine.applied().next(), in_log));
    }

    #[test]
    fn a_whole_scan_meets_every_key_once(keys in proptest::collection::btree_set("[a-z]{1,4}", 0..60), count in 0_u32..9) {
        let mut machine = Machine::new(ModelStore::new());
        let commands = keys.iter().map(|key| Command::Increment { key: key.clone().into(), delta: 1 }).collect();
        machine.apply(machine.applied().next(), LogRecord { commands, ..Default::default() });
        let (mut cursor, mut met) = (0, Vec::new());
        loop {
            match machine.read(&Query::Scan { cursor, count }, Timestamp(0)) {
                Ok(Outcome::Keys { cursor: next, keys }) => {
                    prop_assert!(next >> crate::machine::read::SCAN_CURSOR_BITS == 0);
                    cursor = next;
                    met.extend(keys.into_iter().map(|key| String::from_utf8_lossy(&key).into_owned()));
                }
                other => panic!("{other:?}"),
            }
            if cursor == 0 {
                break;
            }
        }
        met.sort();
        prop_assert_eq!(met, keys.into_iter().collect::<Vec<_>>());
    }
}
