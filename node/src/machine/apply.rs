//! What each command does. Called only by [`Machine::apply`], in log order; the rules are Redis 7's where Redis has
//! the command.
//!
//! An expired key is absent here even while its entry is still in the map. A change that leaves an entry takes a new
//! version; what only removes takes none, for nothing is left to carry it. Nothing here panics on what a client sent.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    machine::{
        Machine,
        command::{Command, Condition, ExpireCondition, Expiry, Found, Outcome, Put, Query, Refusal},
        number, read,
        store::{Entry, EntryStore},
    },
    types::{Key, MAX_VALUE_BYTES, Timestamp, Value, Version},
};

impl<S: EntryStore> Machine<S> {
    /// Carries out one command.
    pub(super) fn run(&mut self, command: Command) -> Outcome {
        match command {
            Command::Put(put) => self.put(put),
            Command::Delete { key, condition } => self.delete(&key, &condition),
            Command::Take { key } => self.take(&key),
            Command::Expire { key, expiry, condition, return_value } => {
                self.expire(&key, expiry, condition, return_value)
            }
            Command::Touch { key } => self.touch(&key),
            Command::Increment { key, delta } => self.increment(&key, delta),
            Command::IncrementFloat { key, delta } => self.increment_float(&key, &delta),
            Command::Append { key, suffix } => self.append(&key, &suffix),
            Command::SetRange { key, offset, patch } => self.set_range(&key, offset, &patch),
            Command::Flush => Outcome::Count(self.clear()),
            Command::Read(query) => self.read_in_log(&query),
            Command::Copy { from, to, replace, remove_source } => self.copy(&from, &to, replace, remove_source),
            Command::Guarded { watches, commands } => self.guarded(&watches, commands, true),
            Command::Batch(parts) => self.batch(parts),
        }
    }

    fn put(&mut self, put: Put) -> Outcome {
        let Put { key, value, expiry, condition, return_old } = put;
        let current = self.present(&key);
        let old = current.as_deref().filter(|_| return_old).map(|entry| self.describe(entry));
        if !is_met(&condition, current.as_deref()) {
            return Outcome::NotMet { current: current.map(|entry| entry.version()), old };
        }
        if value.len() > MAX_VALUE_BYTES {
            return Outcome::Refused(Refusal::TooLong);
        }
        let expires_at = self.deadline(expiry, current.as_deref());
        let version = self.next_version();
        if self.has_passed(expires_at) {
            self.remove(&key);
        } else {
            self.store_value(&key, &value, expires_at, version);
        }
        Outcome::Stored { version, old }
    }

    fn delete(&mut self, key: &Key, condition: &Condition) -> Outcome {
        let current = self.present(key);
        if !is_met(condition, current.as_deref()) {
            return Outcome::NotMet { current: current.map(|entry| entry.version()), old: None };
        }
        if current.is_some() {
            self.remove(key);
        }
        Outcome::Deleted(current.is_some())
    }

    fn take(&mut self, key: &Key) -> Outcome {
        let Some(entry) = self.present(key) else { return Outcome::Value(None) };
        self.remove(key);
        Outcome::Value(Some(self.describe(&entry)))
    }

    fn expire(&mut self, key: &Key, expiry: Expiry, condition: ExpireCondition, return_value: bool) -> Outcome {
        let expires_at = match expiry {
            Expiry::Default | Expiry::Keep => return Outcome::Refused(Refusal::Invalid),
            Expiry::Never => None,
            Expiry::AfterMs(ms) => Some(self.clock().plus_ms(ms)),
            Expiry::At(at) => Some(at),
        };
        let Some(entry) = self.present(key) else {
            return if return_value { Outcome::Value(None) } else { Outcome::Expiry(false) };
        };
        // Redis answers 0 to PERSIST of a key that has no deadline: nothing changes, so there is no new version.
        let persists_for_nothing = expires_at.is_none() && entry.expires_at().is_none();
        let changed = !persists_for_nothing && allows(condition, entry.expires_at(), expires_at);
        let entry = if changed { self.move_deadline(entry, expires_at) } else { entry };
        if return_value { Outcome::Value(Some(self.describe(&entry))) } else { Outcome::Expiry(changed) }
    }

    /// Gives a key that is present a new deadline, or removes it when that has passed; what was left, or went.
    fn move_deadline(&mut self, entry: Arc<Entry>, expires_at: Option<Timestamp>) -> Arc<Entry> {
        if self.has_passed(expires_at) {
            self.remove(entry.key());
            return entry;
        }
        let revised = Arc::new(entry.revised(self.next_version(), expires_at));
        self.insert(revised.clone());
        revised
    }

    fn touch(&mut self, key: &Key) -> Outcome {
        let present = self.present(key).is_some();
        if present {
            self.store.touch(key);
        }
        Outcome::Present(present)
    }

    fn increment(&mut self, key: &Key, delta: i64) -> Outcome {
        let current = self.present(key);
        let Some(before) = current.as_deref().map_or(Some(0), |entry| number::parse_integer(entry.value())) else {
            return Outcome::Refused(Refusal::NotAnInteger);
        };
        let Some(value) = before.checked_add(delta) else {
            return Outcome::Refused(Refusal::Overflow);
        };
        let version = self.rewrite(key, current.as_deref(), Bytes::from(value.to_string()));
        Outcome::Integer { value, version }
    }

    fn increment_float(&mut self, key: &Key, delta: &[u8]) -> Outcome {
        let current = self.present(key);
        let before = current.as_deref().map_or(&b"0"[..], |entry| entry.value());
        match number::add_decimals(before, delta) {
            Ok(sum) => {
                let value = Bytes::from(sum);
                let version = self.rewrite(key, current.as_deref(), value.clone());
                Outcome::Decimal { value, version }
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn append(&mut self, key: &Key, suffix: &[u8]) -> Outcome {
        let current = self.present(key);
        let before = current.as_deref().map_or(&b""[..], |entry| entry.value());
        let len = before.len() + suffix.len();
        if len > MAX_VALUE_BYTES {
            return Outcome::Refused(Refusal::TooLong);
        }
        let mut value = BytesMut::with_capacity(len);
        value.extend_from_slice(before);
        value.extend_from_slice(suffix);
        self.rewrite(key, current.as_deref(), value.freeze());
        Outcome::Length(len as u64)
    }

    fn set_range(&mut self, key: &Key, offset: u64, patch: &[u8]) -> Outcome {
        let current = self.present(key);
        let before = current.as_deref().map_or(&b""[..], |entry| entry.value());
        if patch.is_empty() {
            return Outcome::Length(before.len() as u64);
        }
        let Some(end) = offset.checked_add(patch.len() as u64).filter(|end| *end <= MAX_VALUE_BYTES as u64) else {
            return Outcome::Refused(Refusal::TooLong);
        };
        let (start, end) = (offset as usize, end as usize);
        let mut value = BytesMut::with_capacity(before.len().max(end));
        value.extend_from_slice(before);
        value.resize(before.len().max(end), 0);
        value[start..end].copy_from_slice(patch);
        let len = value.len() as u64;
        self.rewrite(key, current.as_deref(), value.freeze());
        Outcome::Length(len)
    }

    fn read_in_log(&mut self, query: &Query) -> Outcome {
        let clock = self.clock();
        let outcome = self.view(clock, clock).answer(query);
        self.note_access(query);
        outcome
    }

    fn copy(&mut self, from: &Key, to: &Key, replace: bool, remove_source: bool) -> Outcome {
        let Some(source) = self.present(from) else { return Outcome::Refused(Refusal::NoSuchKey) };
        if let Some(there) = self.present(to).filter(|_| !replace) {
            return Outcome::NotMet { current: Some(there.version()), old: None };
        }
        if from == to {
            return Outcome::Stored { version: source.version(), old: None };
        }
        let version = self.next_version();
        if remove_source {
            self.remove(from);
        }
        self.store_value(to, source.value(), source.expires_at(), version);
        Outcome::Stored { version, old: None }
    }

    /// `outermost`: it is no part of another one, so there may be one more among its commands.
    fn guarded(&mut self, watches: &[(Key, Option<Version>)], commands: Vec<Command>, outermost: bool) -> Outcome {
        for (key, seen) in watches {
            let current = self.present(key).map(|entry| entry.version());
            if current != *seen {
                return Outcome::NotMet { current, old: None };
            }
        }
        let run = |command| match command {
            Command::Guarded { watches, commands } if outermost => self.guarded(&watches, commands, false),
            Command::Guarded { .. } => Outcome::Refused(Refusal::Invalid),
            Command::Batch(_) if !outermost => Outcome::Refused(Refusal::Invalid),
            command => self.run(command),
        };
        Outcome::Many(commands.into_iter().map(run).collect())
    }

    fn batch(&mut self, parts: Vec<Command>) -> Outcome {
        let run = |part| match part {
            Command::Batch(_) | Command::Guarded { .. } => Outcome::Refused(Refusal::Invalid),
            part => self.run(part),
        };
        Outcome::Many(parts.into_iter().map(run).collect())
    }

    /// The entry of a key, if log time shows it.
    fn present(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.store.get(key).filter(|entry| !self.has_passed(entry.expires_at()))
    }

    fn has_passed(&self, deadline: Option<Timestamp>) -> bool {
        deadline.is_some_and(|at| at <= self.clock())
    }

    fn describe(&self, entry: &Entry) -> Found {
        read::found(entry, self.clock())
    }

    /// A new value under a new version. The deadline stays; a key that was absent gets the default.
    fn rewrite(&mut self, key: &Key, current: Option<&Entry>, value: Value) -> Version {
        let expires_at = self.deadline(Expiry::Keep, current);
        let version = self.next_version();
        self.store_value(key, &value, expires_at, version);
        version
    }

    fn store_value(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Timestamp>,
        version: Version,
    ) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(key, value, version, expires_at));
        self.insert(entry.clone());
        entry
    }

    /// The moment that a client's wish means now. A key that comes without one gets the default.
    fn deadline(&self, expiry: Expiry, current: Option<&Entry>) -> Option<Timestamp> {
        let default = || self.settings.default_ttl_ms.filter(|ms| *ms > 0).map(|ms| self.clock().plus_ms(ms));
        match expiry {
            Expiry::Default => default(),
            Expiry::Never => None,
            Expiry::AfterMs(ms) => Some(self.clock().plus_ms(ms)),
            Expiry::At(at) => Some(at),
            Expiry::Keep => current.map_or_else(default, |entry| entry.expires_at()),
        }
    }
}

fn is_met(condition: &Condition, current: Option<&Entry>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::IfAbsent => current.is_none(),
        Condition::IfPresent => current.is_some(),
        Condition::IfValue(value) => current.is_some_and(|entry| entry.value() == value),
        Condition::IfVersion(version) => current.is_some_and(|entry| entry.version() == *version),
    }
}

/// Whether a deadline may move; no deadline is infinitely late.
fn allows(condition: ExpireCondition, old: Option<Timestamp>, new: Option<Timestamp>) -> bool {
    let later = |a: Option<Timestamp>, b: Option<Timestamp>| match (a, b) {
        (Some(a), Some(b)) => a > b,
        (None, Some(_)) => true,
        (Some(_) | None, None) => false,
    };
    match condition {
        ExpireCondition::Always => true,
        ExpireCondition::IfNone => old.is_none(),
        ExpireCondition::IfSome => old.is_some(),
        ExpireCondition::IfLater => later(new, old),
        ExpireCondition::IfEarlier => later(old, new),
        ExpireCondition::IfSomeEarlier => old.is_some() && later(old, new),
    }
}
