//! Outcomes to and from their messages.

use crema_api::v1::log as pb;

use super::DecodeError;
use crate::{
    machine::command::{Found, Meta, Outcome, Refusal},
    types::{Timestamp, Version},
};

pub(super) fn to_pb(outcome: &Outcome) -> pb::Outcome {
    use pb::outcome::Outcome as Pb;
    let outcome = match outcome {
        Outcome::Stored { version, old } => {
            Pb::Stored(pb::Stored { version: version.0, old: old.as_ref().map(found_to_pb) })
        }
        Outcome::NotMet { current, old } => {
            Pb::NotMet(pb::NotMet { current: current.map(|v| v.0), old: old.as_ref().map(found_to_pb) })
        }
        Outcome::Deleted(deleted) => Pb::Deleted(*deleted),
        Outcome::Value(found) => Pb::Value(pb::MaybeFound { found: found.as_ref().map(found_to_pb) }),
        Outcome::Expiry(changed) => Pb::Expiry(*changed),
        Outcome::Present(present) => Pb::Present(*present),
        Outcome::Integer { value, version } => Pb::Integer(pb::Integer { value: *value, version: version.0 }),
        Outcome::Decimal { value, version } => Pb::Decimal(pb::Decimal { value: value.clone(), version: version.0 }),
        Outcome::Length(length) => Pb::Length(*length),
        Outcome::Meta(meta) => Pb::Meta(pb::MaybeMeta { meta: meta.map(meta_to_pb) }),
        Outcome::Keys { cursor, keys } => Pb::Keys(pb::Keys { cursor: *cursor, keys: keys.clone() }),
        Outcome::Count(count) => Pb::Count(*count),
        Outcome::RandomKey(key) => Pb::RandomKey(pb::MaybeKey { key: key.clone() }),
        Outcome::Many(outcomes) => Pb::Many(pb::Many { outcomes: outcomes.iter().map(to_pb).collect() }),
        Outcome::Refused(refusal) => Pb::Refused(refusal_to_pb(*refusal)),
    };
    pb::Outcome { outcome: Some(outcome) }
}

pub(super) fn from_pb(outcome: pb::Outcome) -> Result<Outcome, DecodeError> {
    use pb::outcome::Outcome as Pb;
    Ok(match outcome.outcome.ok_or(DecodeError::Unknown { what: "an outcome" })? {
        Pb::Stored(pb::Stored { version, old }) => {
            Outcome::Stored { version: Version(version), old: old.map(found_from_pb).transpose()? }
        }
        Pb::NotMet(pb::NotMet { current, old }) => {
            Outcome::NotMet { current: current.map(Version), old: old.map(found_from_pb).transpose()? }
        }
        Pb::Deleted(deleted) => Outcome::Deleted(deleted),
        Pb::Value(pb::MaybeFound { found }) => Outcome::Value(found.map(found_from_pb).transpose()?),
        Pb::Expiry(changed) => Outcome::Expiry(changed),
        Pb::Present(present) => Outcome::Present(present),
        Pb::Integer(pb::Integer { value, version }) => Outcome::Integer { value, version: Version(version) },
        Pb::Decimal(pb::Decimal { value, version }) => Outcome::Decimal { value, version: Version(version) },
        Pb::Length(length) => Outcome::Length(length),
        Pb::Meta(pb::MaybeMeta { meta }) => Outcome::Meta(meta.map(meta_from_pb)),
        Pb::Keys(pb::Keys { cursor, keys }) => Outcome::Keys { cursor, keys },
        Pb::Count(count) => Outcome::Count(count),
        Pb::RandomKey(pb::MaybeKey { key }) => Outcome::RandomKey(key),
        Pb::Many(pb::Many { outcomes }) => {
            Outcome::Many(outcomes.into_iter().map(from_pb).collect::<Result<_, _>>()?)
        }
        Pb::Refused(refusal) => Outcome::Refused(refusal_from_pb(refusal)?),
    })
}

fn found_to_pb(found: &Found) -> pb::Found {
    let Found { value, meta } = found;
    pb::Found { value: value.clone(), meta: Some(meta_to_pb(*meta)) }
}

fn found_from_pb(found: pb::Found) -> Result<Found, DecodeError> {
    let pb::Found { value, meta } = found;
    let meta = meta.ok_or(DecodeError::Unknown { what: "a value's version" })?;
    Ok(Found { value, meta: meta_from_pb(meta) })
}

fn meta_to_pb(meta: Meta) -> pb::Meta {
    let Meta { version, expires_at, ttl_ms } = meta;
    pb::Meta { version: version.0, expires_at: expires_at.map(|at| at.0), ttl_ms }
}

fn meta_from_pb(meta: pb::Meta) -> Meta {
    let pb::Meta { version, expires_at, ttl_ms } = meta;
    Meta { version: Version(version), expires_at: expires_at.map(Timestamp), ttl_ms }
}

fn refusal_to_pb(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::NotAnInteger => 1,
        Refusal::Overflow => 2,
        Refusal::NotANumber => 3,
        Refusal::NotFinite => 4,
        Refusal::TooLong => 5,
        Refusal::Invalid => 6,
        Refusal::NoSuchKey => 7,
    }
}

fn refusal_from_pb(refusal: u32) -> Result<Refusal, DecodeError> {
    Ok(match refusal {
        1 => Refusal::NotAnInteger,
        2 => Refusal::Overflow,
        3 => Refusal::NotANumber,
        4 => Refusal::NotFinite,
        5 => Refusal::TooLong,
        6 => Refusal::Invalid,
        7 => Refusal::NoSuchKey,
        _ => return Err(DecodeError::Unknown { what: "a refusal" }),
    })
}
