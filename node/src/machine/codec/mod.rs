//! The bytes of log entries, forwarded operations and outcomes.
//!
//! Called by `consensus` (records), `multiraft` (operations and outcomes on their way between nodes) and
//! `checkpoint` (settings). What this build doesn't know is an error, never skipped: a replica that skipped a field
//! would differ from its peers from then on (PROTOCOL 5). Protobuf readers do skip unknown fields, so every message
//! is checked to encode to as many bytes as it was read from.

mod command;
mod outcome;

use bytes::{Buf, BufMut, Bytes};
use crema_api::v1::log as pb;
use prost::Message;

use crate::{
    machine::{
        LogRecord, Settings,
        command::{Command, Condition, Expiry, Op, Outcome, Put, Query, Refusal},
        store::{Capacity, EvictionPolicy},
    },
    types::{Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Timestamp, Version},
};

/// The level that this build writes, and the highest that it reads. A change of any format here, of what a command
/// does, or of the state hash is a new level. Level 1 is that of the first release, which is still to come: until then it
/// grows.
pub const FEATURE_LEVEL: u8 = 1;

/// The longest encoded record; a longer one could not be sent (PROTOCOL 5).
pub const MAX_ENTRY_BYTES: usize = 12 << 20;

/// Level and stamp, before the protobuf body. At every level.
const PREFIX_BYTES: usize = 1 + 8;

/// What a command takes beyond its keys and values, rounded up.
const COMMAND_OVERHEAD_BYTES: usize = 48;

/// Bytes that this build can't read as what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer release.
    #[error("feature level {found} is not among those this build reads (1 to {FEATURE_LEVEL})")]
    Level {
        /// The level it has.
        found: u8,
    },
    /// The end is missing.
    #[error("{what} ends too early")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// Not the protobuf message it should be.
    #[error("read {what}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What the protobuf reader says.
        source: prost::DecodeError,
    },
    /// A variant, value or field that this build does not know, or one that is missing.
    #[error("{what} is missing or not known to this build")]
    Unknown {
        /// Which.
        what: &'static str,
    },
}

/// A record as a log entry's data.
#[must_use]
pub fn encode_record(record: &LogRecord) -> Vec<u8> {
    let LogRecord { stamp, commands, evictions, settings } = record;
    let body = pb::Record {
        commands: commands.iter().map(command::to_pb).collect(),
        evictions: evictions
            .iter()
            .map(|(key, version)| pb::Eviction { key: key.clone(), version: version.0 })
            .collect(),
        settings: settings.as_ref().map(settings_to_pb),
    };
    let mut out = Vec::with_capacity(PREFIX_BYTES + body.encoded_len());
    out.put_u8(FEATURE_LEVEL);
    out.put_u64_le(stamp.0);
    body.encode_raw(&mut out);
    out
}

/// Reads [`encode_record`]. Keys and values are slices of `bytes`.
///
/// # Errors
/// On anything that this build would not have written. The replica must stop then.
pub fn decode_record(bytes: &Bytes) -> Result<LogRecord, DecodeError> {
    let mut rest = bytes.clone();
    let level = rest.try_get_u8().map_err(|_| DecodeError::Truncated { what: "a log record" })?;
    if level != FEATURE_LEVEL {
        return Err(DecodeError::Level { found: level });
    }
    let stamp = rest.try_get_u64_le().map_err(|_| DecodeError::Truncated { what: "a log record" })?;
    let pb::Record { commands, evictions, settings } = parse("a log record", rest)?;
    Ok(LogRecord {
        stamp: Timestamp(stamp),
        commands: commands.into_iter().map(command::from_pb).collect::<Result<_, _>>()?,
        evictions: evictions.into_iter().map(|e| (e.key, Version(e.version))).collect(),
        settings: settings.map(settings_from_pb).transpose()?,
    })
}

/// The stamp of an encoded record, whatever its level; `None` when it is too short to be one.
#[must_use]
pub fn peek_stamp(data: &[u8]) -> Option<Timestamp> {
    let stamp = data.get(1..PREFIX_BYTES)?;
    Some(Timestamp(u64::from_le_bytes(stamp.try_into().ok()?)))
}

/// An operation on its way to the leader.
#[must_use]
pub fn encode_op(op: &Op) -> Bytes {
    Bytes::from(command::op_to_pb(op).encode_to_vec())
}

/// Reads [`encode_op`].
///
/// # Errors
/// On anything that this build would not have written.
pub fn decode_op(bytes: &Bytes) -> Result<Op, DecodeError> {
    command::op_from_pb(parse("an operation", bytes.clone())?)
}

/// An outcome on its way back to the client.
#[must_use]
pub fn encode_outcome(outcome: &Outcome) -> Bytes {
    Bytes::from(outcome::to_pb(outcome).encode_to_vec())
}

/// As [`encode_outcome`]; of one that has more bytes than the limit only how many: values that are there once may be asked
/// for ten thousand times.
///
/// # Errors
/// The number of its bytes.
pub fn encode_outcome_within(outcome: &Outcome, limit: usize) -> Result<Bytes, usize> {
    let outcome = outcome::to_pb(outcome);
    match outcome.encoded_len() {
        bytes if bytes > limit => Err(bytes),
        _ => Ok(Bytes::from(outcome.encode_to_vec())),
    }
}

/// Reads [`encode_outcome`].
///
/// # Errors
/// On anything that this build would not have written.
pub fn decode_outcome(bytes: &Bytes) -> Result<Outcome, DecodeError> {
    outcome::from_pb(parse("an outcome", bytes.clone())?)
}

/// Shared settings as a message.
#[must_use]
pub fn settings_to_pb(settings: &Settings) -> pb::Settings {
    let Settings { capacity: Capacity { max_entries, max_bytes }, policy, default_ttl_ms } = *settings;
    let policy = match policy {
        EvictionPolicy::TinyLfu => 0,
        EvictionPolicy::Lru => 1,
    };
    pb::Settings { max_entries, max_bytes, policy, default_ttl_ms }
}

/// Reads [`settings_to_pb`].
///
/// # Errors
/// On a policy that this build does not know.
pub fn settings_from_pb(settings: pb::Settings) -> Result<Settings, DecodeError> {
    let pb::Settings { max_entries, max_bytes, policy, default_ttl_ms } = settings;
    let policy = match policy {
        0 => EvictionPolicy::TinyLfu,
        1 => EvictionPolicy::Lru,
        _ => return Err(DecodeError::Unknown { what: "an eviction policy" }),
    };
    Ok(Settings { capacity: Capacity { max_entries, max_bytes }, policy, default_ttl_ms })
}

/// About how many bytes a command takes in a record; never fewer than it does. Group commit cuts entries by it.
#[must_use]
pub fn command_size(command: &Command) -> usize {
    COMMAND_OVERHEAD_BYTES
        + match command {
            Command::Put(put) => put.key.len() + put.value.len() + condition_size(&put.condition),
            Command::Delete { key, condition } => key.len() + condition_size(condition),
            Command::Take { key }
            | Command::Touch { key }
            | Command::Increment { key, .. }
            | Command::Expire { key, .. } => key.len(),
            Command::IncrementFloat { key, delta } => key.len() + delta.len(),
            Command::Append { key, suffix } => key.len() + suffix.len(),
            Command::SetRange { key, patch, .. } => key.len() + patch.len(),
            Command::Flush => 0,
            Command::Read(query) => query_size(query),
            Command::Copy { from, to, .. } => from.len() + to.len(),
            Command::Guarded { watches, commands } => {
                let watched: usize = watches.iter().map(|(key, _)| COMMAND_OVERHEAD_BYTES + key.len()).sum();
                watched + commands.iter().map(command_size).sum::<usize>()
            }
            Command::Batch(parts) => parts.iter().map(command_size).sum(),
        }
}

/// As [`command_size`], of an operation: a read among writes goes into the log too.
#[must_use]
pub fn op_size(op: &Op) -> usize {
    match op {
        Op::Read(query) => COMMAND_OVERHEAD_BYTES + query_size(query),
        Op::Write(command) => command_size(command),
    }
}

fn condition_size(condition: &Condition) -> usize {
    match condition {
        Condition::IfValue(value) => value.len() + 16,
        Condition::Always | Condition::IfAbsent | Condition::IfPresent | Condition::IfVersion(_) => 0,
    }
}

fn query_size(query: &Query) -> usize {
    COMMAND_OVERHEAD_BYTES
        + match query {
            Query::Get { key }
            | Query::GetRange { key, .. }
            | Query::Strlen { key }
            | Query::Exists { key }
            | Query::Meta { key } => key.len(),
            Query::Scan { .. } | Query::Size | Query::Expiring | Query::RandomKey { .. } => 0,
            Query::Multi(queries) => queries.iter().map(query_size).sum(),
        }
}

/// Whether an operation may be proposed or asked: its keys and values are within the limits, nothing is nested that
/// must not be, and it fits an entry. What fails here could be unreadable for the replicas (PROTOCOL 5).
///
/// # Errors
/// [`Refusal::TooLong`] for a key, a value or the whole; [`Refusal::Invalid`] for an empty key or a wrong nesting.
pub fn check_op(op: &Op) -> Result<(), Refusal> {
    match op {
        Op::Read(query) => check_query(query),
        Op::Write(command) => {
            check_command(command)?;
            // The record's own frame is small beside the overhead that each command counts.
            if command_size(command) > MAX_ENTRY_BYTES - COMMAND_OVERHEAD_BYTES {
                return Err(Refusal::TooLong);
            }
            Ok(())
        }
    }
}

/// Nothing may be deeper than a guarded command in a guarded command: the machine refuses what is.
fn check_guarded(watches: &[(Key, Option<Version>)], commands: &[Command], outermost: bool) -> Result<(), Refusal> {
    watches.iter().try_for_each(|(key, _)| check_key(key))?;
    commands.iter().try_for_each(|command| match command {
        Command::Guarded { watches, commands } if outermost => check_guarded(watches, commands, false),
        Command::Guarded { .. } => Err(Refusal::Invalid),
        Command::Batch(_) if !outermost => Err(Refusal::Invalid),
        command => check_command(command),
    })
}

fn check_command(command: &Command) -> Result<(), Refusal> {
    match command {
        Command::Put(Put { key, value, condition, expiry: _, return_old: _ }) => {
            check_key(key)?;
            check_value(value)?;
            check_condition(condition)
        }
        Command::Delete { key, condition } => {
            check_key(key)?;
            check_condition(condition)
        }
        Command::Expire { expiry: Expiry::Default | Expiry::Keep, .. } => Err(Refusal::Invalid),
        Command::Take { key }
        | Command::Touch { key }
        | Command::Increment { key, .. }
        | Command::Expire { key, .. } => check_key(key),
        Command::IncrementFloat { key, delta: value }
        | Command::Append { key, suffix: value }
        | Command::SetRange { key, patch: value, .. } => {
            check_key(key)?;
            check_value(value)
        }
        Command::Flush => Ok(()),
        Command::Read(query) => check_query(query),
        Command::Copy { from, to, replace: _, remove_source: _ } => {
            check_key(from)?;
            check_key(to)
        }
        Command::Guarded { watches, commands } => check_guarded(watches, commands, true),
        Command::Batch(parts) => parts.iter().try_for_each(|part| match part {
            Command::Batch(_) | Command::Guarded { .. } => Err(Refusal::Invalid),
            part => check_command(part),
        }),
    }
}

fn check_query(query: &Query) -> Result<(), Refusal> {
    match query {
        Query::Get { key }
        | Query::GetRange { key, .. }
        | Query::Strlen { key }
        | Query::Exists { key }
        | Query::Meta { key } => check_key(key),
        Query::Scan { .. } | Query::Size | Query::Expiring | Query::RandomKey { .. } => Ok(()),
        Query::Multi(queries) => queries.iter().try_for_each(|query| match query {
            Query::Multi(_) => Err(Refusal::Invalid),
            query => check_query(query),
        }),
    }
}

fn check_condition(condition: &Condition) -> Result<(), Refusal> {
    match condition {
        Condition::IfValue(value) => check_value(value),
        Condition::Always | Condition::IfAbsent | Condition::IfPresent | Condition::IfVersion(_) => Ok(()),
    }
}

fn check_key(key: &Key) -> Result<(), Refusal> {
    match key.len() {
        0 => Err(Refusal::Invalid),
        1..=MAX_KEY_BYTES => Ok(()),
        _ => Err(Refusal::TooLong),
    }
}

fn check_value(value: &Bytes) -> Result<(), Refusal> {
    if value.len() > MAX_VALUE_BYTES { Err(Refusal::TooLong) } else { Ok(()) }
}

/// Reads a message and refuses fields that this build does not know: they would be lost in silence.
pub(crate) fn parse<M: Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, DecodeError> {
    let len = bytes.len();
    let message = M::decode(bytes).map_err(|source| DecodeError::Malformed { what, source })?;
    if message.encoded_len() != len {
        return Err(DecodeError::Unknown { what: "a field" });
    }
    Ok(message)
}
