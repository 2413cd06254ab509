//! Commands, queries and operations to and from their messages.

use crema_api::v1::log as pb;

use super::DecodeError;
use crate::{
    machine::command::{Command, Condition, ExpireCondition, Expiry, Op, Put, Query},
    types::{Key, Timestamp, Version},
};

pub(super) fn op_to_pb(op: &Op) -> pb::Op {
    let op = match op {
        Op::Read(query) => pb::op::Op::Read(query_to_pb(query)),
        Op::Write(command) => pb::op::Op::Write(to_pb(command)),
    };
    pb::Op { op: Some(op) }
}

pub(super) fn op_from_pb(op: pb::Op) -> Result<Op, DecodeError> {
    match op.op {
        Some(pb::op::Op::Read(query)) => Ok(Op::Read(query_from_pb(query)?)),
        Some(pb::op::Op::Write(command)) => Ok(Op::Write(from_pb(command)?)),
        None => Err(DecodeError::Unknown { what: "an operation" }),
    }
}

pub(super) fn to_pb(command: &Command) -> pb::Command {
    use pb::command::Command as Pb;
    let command = match command {
        Command::Put(put) => Pb::Put(put_to_pb(put)),
        Command::Delete { key, condition } => {
            Pb::Delete(pb::Delete { key: key.clone(), condition: condition_to_pb(condition) })
        }
        Command::Take { key } => Pb::Take(key.clone()),
        Command::Expire { key, expiry, condition, return_value } => Pb::Expire(pb::Expire {
            key: key.clone(),
            expiry: expiry_to_pb(*expiry),
            condition: expire_condition_to_pb(*condition),
            return_value: *return_value,
        }),
        Command::Touch { key } => Pb::Touch(key.clone()),
        Command::Increment { key, delta } => Pb::Increment(pb::Increment { key: key.clone(), delta: *delta }),
        Command::IncrementFloat { key, delta } => {
            Pb::IncrementFloat(pb::IncrementFloat { key: key.clone(), delta: delta.clone() })
        }
        Command::Append { key, suffix } => Pb::Append(pb::Append { key: key.clone(), suffix: suffix.clone() }),
        Command::SetRange { key, offset, patch } => {
            Pb::SetRange(pb::SetRange { key: key.clone(), offset: *offset, patch: patch.clone() })
        }
        Command::Flush => Pb::Flush(pb::Empty {}),
        Command::Read(query) => Pb::Read(query_to_pb(query)),
        Command::Copy { from, to, replace, remove_source } => Pb::Copy(pb::Copy {
            from: from.clone(),
            to: to.clone(),
            replace: *replace,
            remove_source: *remove_source,
        }),
        Command::Guarded { watches, commands } => Pb::Guarded(pb::Guarded {
            watches: watches.iter().map(watch_to_pb).collect(),
            commands: commands.iter().map(to_pb).collect(),
        }),
        Command::Batch(parts) => Pb::Batch(pb::Batch { commands: parts.iter().map(to_pb).collect() }),
    };
    pb::Command { command: Some(command) }
}

pub(super) fn from_pb(command: pb::Command) -> Result<Command, DecodeError> {
    use pb::command::Command as Pb;
    Ok(match command.command.ok_or(DecodeError::Unknown { what: "a command" })? {
        Pb::Put(put) => Command::Put(put_from_pb(put)?),
        Pb::Delete(pb::Delete { key, condition }) => {
            Command::Delete { key, condition: condition_from_pb(condition)? }
        }
        Pb::Take(key) => Command::Take { key },
        Pb::Expire(pb::Expire { key, expiry, condition, return_value }) => Command::Expire {
            key,
            expiry: expiry_from_pb(expiry)?,
            condition: expire_condition_from_pb(condition)?,
            return_value,
        },
        Pb::Touch(key) => Command::Touch { key },
        Pb::Increment(pb::Increment { key, delta }) => Command::Increment { key, delta },
        Pb::IncrementFloat(pb::IncrementFloat { key, delta }) => Command::IncrementFloat { key, delta },
        Pb::Append(pb::Append { key, suffix }) => Command::Append { key, suffix },
        Pb::SetRange(pb::SetRange { key, offset, patch }) => Command::SetRange { key, offset, patch },
        Pb::Flush(pb::Empty {}) => Command::Flush,
        Pb::Read(query) => Command::Read(query_from_pb(query)?),
        Pb::Copy(pb::Copy { from, to, replace, remove_source }) => Command::Copy { from, to, replace, remove_source },
        Pb::Guarded(pb::Guarded { watches, commands }) => Command::Guarded {
            watches: watches.into_iter().map(|pb::Watch { key, version }| (key, version.map(Version))).collect(),
            commands: commands.into_iter().map(from_pb).collect::<Result<_, _>>()?,
        },
        Pb::Batch(pb::Batch { commands }) => {
            Command::Batch(commands.into_iter().map(from_pb).collect::<Result<_, _>>()?)
        }
    })
}

fn watch_to_pb((key, version): &(Key, Option<Version>)) -> pb::Watch {
    pb::Watch { key: key.clone(), version: version.map(|version| version.0) }
}

fn put_to_pb(put: &Put) -> pb::Put {
    let Put { key, value, expiry, condition, return_old } = put;
    pb::Put {
        key: key.clone(),
        value: value.clone(),
        expiry: expiry_to_pb(*expiry),
        condition: condition_to_pb(condition),
        return_old: *return_old,
    }
}

fn put_from_pb(put: pb::Put) -> Result<Put, DecodeError> {
    let pb::Put { key, value, expiry, condition, return_old } = put;
    Ok(Put { key, value, expiry: expiry_from_pb(expiry)?, condition: condition_from_pb(condition)?, return_old })
}

fn expiry_to_pb(expiry: Expiry) -> Option<pb::Expiry> {
    use pb::expiry::Expiry as Pb;
    let expiry = match expiry {
        Expiry::Default => return None,
        Expiry::Never => Pb::Never(pb::Empty {}),
        Expiry::AfterMs(ms) => Pb::AfterMs(ms),
        Expiry::At(at) => Pb::At(at.0),
        Expiry::Keep => Pb::Keep(pb::Empty {}),
    };
    Some(pb::Expiry { expiry: Some(expiry) })
}

fn expiry_from_pb(expiry: Option<pb::Expiry>) -> Result<Expiry, DecodeError> {
    use pb::expiry::Expiry as Pb;
    let Some(expiry) = expiry else { return Ok(Expiry::Default) };
    Ok(match expiry.expiry.ok_or(DecodeError::Unknown { what: "an expiry" })? {
        Pb::Never(pb::Empty {}) => Expiry::Never,
        Pb::AfterMs(ms) => Expiry::AfterMs(ms),
        Pb::At(at) => Expiry::At(Timestamp(at)),
        Pb::Keep(pb::Empty {}) => Expiry::Keep,
    })
}

fn condition_to_pb(condition: &Condition) -> Option<pb::Condition> {
    use pb::condition::Condition as Pb;
    let condition = match condition {
        Condition::Always => return None,
        Condition::IfAbsent => Pb::IfAbsent(pb::Empty {}),
        Condition::IfPresent => Pb::IfPresent(pb::Empty {}),
        Condition::IfValue(value) => Pb::IfValue(value.clone()),
        Condition::IfVersion(version) => Pb::IfVersion(version.0),
    };
    Some(pb::Condition { condition: Some(condition) })
}

fn condition_from_pb(condition: Option<pb::Condition>) -> Result<Condition, DecodeError> {
    use pb::condition::Condition as Pb;
    let Some(condition) = condition else { return Ok(Condition::Always) };
    Ok(match condition.condition.ok_or(DecodeError::Unknown { what: "a condition" })? {
        Pb::IfAbsent(pb::Empty {}) => Condition::IfAbsent,
        Pb::IfPresent(pb::Empty {}) => Condition::IfPresent,
        Pb::IfValue(value) => Condition::IfValue(value),
        Pb::IfVersion(version) => Condition::IfVersion(Version(version)),
    })
}

fn expire_condition_to_pb(condition: ExpireCondition) -> u32 {
    match condition {
        ExpireCondition::Always => 0,
        ExpireCondition::IfNone => 1,
        ExpireCondition::IfSome => 2,
        ExpireCondition::IfLater => 3,
        ExpireCondition::IfEarlier => 4,
        ExpireCondition::IfSomeEarlier => 5,
    }
}

fn expire_condition_from_pb(condition: u32) -> Result<ExpireCondition, DecodeError> {
    Ok(match condition {
        0 => ExpireCondition::Always,
        1 => ExpireCondition::IfNone,
        2 => ExpireCondition::IfSome,
        3 => ExpireCondition::IfLater,
        4 => ExpireCondition::IfEarlier,
        5 => ExpireCondition::IfSomeEarlier,
        _ => return Err(DecodeError::Unknown { what: "a condition on a deadline" }),
    })
}

fn query_to_pb(query: &Query) -> pb::Query {
    use pb::query::Query as Pb;
    let query = match query {
        Query::Get { key } => Pb::Get(key.clone()),
        Query::GetRange { key, start, end } => {
            Pb::GetRange(pb::GetRange { key: key.clone(), start: *start, end: *end })
        }
        Query::Strlen { key } => Pb::Strlen(key.clone()),
        Query::Exists { key } => Pb::Exists(key.clone()),
        Query::Meta { key } => Pb::Meta(key.clone()),
        Query::Scan { cursor, count } => Pb::Scan(pb::Scan { cursor: *cursor, count: *count }),
        Query::Size => Pb::Size(pb::Empty {}),
        Query::Expiring => Pb::Expiring(pb::Empty {}),
        Query::RandomKey { seed } => Pb::RandomKey(*seed),
        Query::Multi(queries) => Pb::Multi(pb::Multi { queries: queries.iter().map(query_to_pb).collect() }),
    };
    pb::Query { query: Some(query) }
}

fn query_from_pb(query: pb::Query) -> Result<Query, DecodeError> {
    use pb::query::Query as Pb;
    Ok(match query.query.ok_or(DecodeError::Unknown { what: "a query" })? {
        Pb::Get(key) => Query::Get { key },
        Pb::GetRange(pb::GetRange { key, start, end }) => Query::GetRange { key, start, end },
        Pb::Strlen(key) => Query::Strlen { key },
        Pb::Exists(key) => Query::Exists { key },
        Pb::Meta(key) => Query::Meta { key },
        Pb::Scan(pb::Scan { cursor, count }) => Query::Scan { cursor, count },
        Pb::Size(pb::Empty {}) => Query::Size,
        Pb::Expiring(pb::Empty {}) => Query::Expiring,
        Pb::RandomKey(seed) => Query::RandomKey { seed },
        Pb::Multi(pb::Multi { queries }) => {
            Query::Multi(queries.into_iter().map(query_from_pb).collect::<Result<_, _>>()?)
        }
    })
}
