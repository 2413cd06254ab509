//! Each request of the Cache service as an operation of the machine, and the machine's outcome as its answer.
//!
//! Pure. Limits on keys, values and fields are judged here, before anything leaves the door; the same code
//! serves single requests and the parts of a batch.

use bytes::Bytes;
use crema_api::v1::{self, increment_request::By, increment_response::Sum, time_to_live::Ttl, write_condition};

use super::failure::{Failure, invalid};
use crate::{
    error::Error,
    machine::command::{Command, Condition, ExpireCondition, Expiry, Found, Meta, Op, Outcome, Put, Query},
    types::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Timestamp, Value, Version},
};

/// One request about one key.
pub(super) trait Operation: Sized {
    /// What it is answered with.
    type Answer;

    /// The key.
    fn key(&self) -> &Bytes;

    /// Whether an old value will do.
    fn level(&self) -> Result<Level, Error> {
        Ok(Level::Linearizable)
    }

    /// The operation, with all its fields judged but the key.
    fn into_op(self) -> Result<Op, Error>;

    /// The answer for an outcome that is not a refusal.
    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure>;
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Not older than any answer given before the request.
    Linearizable,
    /// What this node has.
    Local,
}

/// Reads a level; a number that this version doesn't know is an error, not the default.
pub(super) fn level(raw: i32) -> Result<Level, Error> {
    match v1::ReadLevel::try_from(raw) {
        Ok(v1::ReadLevel::Unspecified | v1::ReadLevel::Linearizable) => Ok(Level::Linearizable),
        Ok(v1::ReadLevel::Local) => Ok(Level::Local),
        Err(_) => Err(invalid("read_level", format!("{raw} is not a read level (1 linearizable, 2 local)"))),
    }
}

/// Refuses a key that is empty or too long.
pub(super) fn check_key(key: &Bytes) -> Result<(), Error> {
    match key.len() {
        0 => Err(invalid("key", "it is empty; a key has 1 to 65536 bytes")),
        1..=MAX_KEY_BYTES => Ok(()),
        long => Err(invalid("key", format!("it has {long} bytes; the limit is {MAX_KEY_BYTES}"))),
    }
}

fn check_value(field: &'static str, value: Bytes) -> Result<Value, Error> {
    match value.len() {
        0..=MAX_VALUE_BYTES => Ok(value),
        long => Err(invalid(field, format!("it has {long} bytes; the limit is {MAX_VALUE_BYTES}"))),
    }
}

impl Operation for v1::GetRequest {
    type Answer = v1::GetResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn level(&self) -> Result<Level, Error> {
        level(self.read_level)
    }

    fn into_op(self) -> Result<Op, Error> {
        Ok(Op::Read(Query::Get { key: self.key }))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        match outcome {
            Outcome::Value(found) => Ok(v1::GetResponse { entry: found.map(entry) }),
            _ => Err(Failure::Mismatch),
        }
    }
}

impl Operation for v1::ExistsRequest {
    type Answer = v1::ExistsResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn level(&self) -> Result<Level, Error> {
        level(self.read_level)
    }

    fn into_op(self) -> Result<Op, Error> {
        Ok(Op::Read(Query::Meta { key: self.key }))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        match outcome {
            Outcome::Meta(meta) => Ok(v1::ExistsResponse { meta: meta.map(key_meta) }),
            _ => Err(Failure::Mismatch),
        }
    }
}

impl Operation for v1::PutRequest {
    type Answer = v1::PutResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn into_op(self) -> Result<Op, Error> {
        let Self { key, value, ttl, condition: required, return_old } = self;
        let put = Put {
            key,
            value: check_value("value", value)?,
            expiry: expiry(ttl)?,
            condition: condition("condition", required)?,
            return_old,
        };
        Ok(Op::Write(Command::Put(put)))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        match outcome {
            Outcome::Stored { version, old } => {
                Ok(v1::PutResponse { stored: true, version: version.0, old: old.map(entry) })
            }
            Outcome::NotMet { current, old } => {
                Ok(v1::PutResponse { stored: false, version: number(current), old: old.map(entry) })
            }
            _ => Err(Failure::Mismatch),
        }
    }
}

impl Operation for v1::DeleteRequest {
    type Answer = v1::DeleteResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn into_op(self) -> Result<Op, Error> {
        let condition = condition("condition", self.condition)?;
        Ok(Op::Write(Command::Delete { key: self.key, condition }))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        match outcome {
            Outcome::Deleted(deleted) => Ok(v1::DeleteResponse { deleted, version: 0 }),
            Outcome::NotMet { current, old: _ } => {
                Ok(v1::DeleteResponse { deleted: false, version: number(current) })
            }
            _ => Err(Failure::Mismatch),
        }
    }
}

impl Operation for v1::CompareAndSetRequest {
    type Answer = v1::CompareAndSetResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn into_op(self) -> Result<Op, Error> {
        let Self { key, expected, value, ttl } = self;
        let condition = match condition("expected", expected)? {
            Condition::Always => return Err(invalid("expected", "it is not set; a put without a condition is Put")),
            set => set,
        };
        let value = check_value("value", value)?;
        let put = Put { key, value, expiry: expiry(ttl)?, condition, return_old: true };
        Ok(Op::Write(Command::Put(put)))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        match outcome {
            Outcome::Stored { version, old: _ } => {
                Ok(v1::CompareAndSetResponse { swapped: true, version: version.0, current: None })
            }
            Outcome::NotMet { current: _, old } => {
                Ok(v1::CompareAndSetResponse { swapped: false, version: 0, current: old.map(entry) })
            }
            _ => Err(Failure::Mismatch),
        }
    }
}

impl Operation for v1::IncrementRequest {
    type Answer = v1::IncrementResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn into_op(self) -> Result<Op, Error> {
        let key = self.key;
        let command = match self.by {
            Some(By::Integer(delta)) => Command::Increment { key, delta },
            Some(By::Decimal(delta)) => Command::IncrementFloat { key, delta: delta.into() },
            None => return Err(invalid("by", "it is not set; give an integer or a decimal")),
        };
        Ok(Op::Write(command))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        let (sum, version) = match outcome {
            Outcome::Integer { value, version } => (Sum::Integer(value), version),
            Outcome::Decimal { value, version } => {
                // The machine writes decimals in ASCII.
                let text = String::from_utf8(value.into()).map_err(|_| Failure::Mismatch)?;
                (Sum::Decimal(text), version)
            }
            _ => return Err(Failure::Mismatch),
        };
        Ok(v1::IncrementResponse { sum: Some(sum), version: version.0 })
    }
}

impl Operation for v1::ExpireRequest {
    type Answer = v1::ExpireResponse;

    fn key(&self) -> &Bytes {
        &self.key
    }

    fn into_op(self) -> Result<Op, Error> {
        let expiry = match expiry(self.ttl)? {
            Expiry::Default => return Err(invalid("ttl", "it is not set; give after_ms, at_unix_ms or never")),
            Expiry::Keep => {
                return Err(invalid("ttl", "keep changes nothing here; give after_ms, at_unix_ms or never"));
            }
            set @ (Expiry::Never | Expiry::AfterMs(_) | Expiry::At(_)) => set,
        };
        let condition = match v1::DeadlineCondition::try_from(self.condition) {
            Ok(v1::DeadlineCondition::Unspecified) => ExpireCondition::Always,
            Ok(v1::DeadlineCondition::IfNone) => ExpireCondition::IfNone,
            Ok(v1::DeadlineCondition::IfSome) => ExpireCondition::IfSome,
            Ok(v1::DeadlineCondition::IfLater) => ExpireCondition::IfLater,
            Ok(v1::DeadlineCondition::IfEarlier) => ExpireCondition::IfEarlier,
            Err(_) => return Err(invalid("condition", format!("{} is not a deadline condition", self.condition))),
        };
        Ok(Op::Write(Command::Expire { key: self.key, expiry, condition, return_value: false }))
    }

    fn answer(outcome: Outcome) -> Result<Self::Answer, Failure> {
        match outcome {
            Outcome::Expiry(changed) => Ok(v1::ExpireResponse { changed }),
            _ => Err(Failure::Mismatch),
        }
    }
}

fn expiry(ttl: Option<v1::TimeToLive>) -> Result<Expiry, Error> {
    match ttl.and_then(|t| t.ttl) {
        None => Ok(Expiry::Default),
        Some(Ttl::AfterMs(0)) => Err(invalid("ttl", "after_ms is 0; it must be at least 1")),
        Some(Ttl::AfterMs(ms)) => Ok(Expiry::AfterMs(ms)),
        Some(Ttl::AtUnixMs(ms)) => Ok(Expiry::At(Timestamp(ms))),
        Some(Ttl::Never(true)) => Ok(Expiry::Never),
        Some(Ttl::Keep(true)) => Ok(Expiry::Keep),
        Some(Ttl::Never(false) | Ttl::Keep(false)) => {
            Err(invalid("ttl", "never and keep must be true; leave ttl out for the default"))
        }
    }
}

fn condition(field: &'static str, required: Option<v1::WriteCondition>) -> Result<Condition, Error> {
    use write_condition::Condition as Required;
    match required.and_then(|c| c.condition) {
        None => Ok(Condition::Always),
        Some(Required::Absent(true)) => Ok(Condition::IfAbsent),
        Some(Required::Present(true)) => Ok(Condition::IfPresent),
        Some(Required::Absent(false) | Required::Present(false)) => {
            Err(invalid(field, "absent and present must be true; leave the condition out for none"))
        }
        Some(Required::Value(value)) => Ok(Condition::IfValue(check_value(field, value)?)),
        Some(Required::Version(0)) => Err(invalid(field, "version 0 is no version; ask for absent instead")),
        Some(Required::Version(version)) => Ok(Condition::IfVersion(Version(version))),
    }
}

fn entry(found: Found) -> v1::CacheEntry {
    v1::CacheEntry { value: found.value, meta: Some(key_meta(found.meta)) }
}

fn key_meta(meta: Meta) -> v1::KeyMeta {
    v1::KeyMeta { version: meta.version.0, expires_at_unix_ms: meta.expires_at.map(|at| at.0), ttl_ms: meta.ttl_ms }
}

fn number(version: Option<Version>) -> u64 {
    version.map_or(0, |v| v.0)
}
