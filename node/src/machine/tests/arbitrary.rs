//! Strategies for whatever can be in a log: few keys, so that commands meet, and values that are often numbers.

use proptest::{collection::vec, option, prelude::*};

use crate::{
    machine::{
        LogRecord, Settings,
        command::{Command, Condition, ExpireCondition, Expiry, Found, Meta, Outcome, Put, Query, Refusal},
        store::{Capacity, EvictionPolicy},
    },
    types::{Key, Timestamp, Value, Version},
};

pub(super) fn key() -> impl Strategy<Value = Key> {
    (0_u8..8).prop_map(|n| Key::from(format!("key{n}")))
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-20_i64..20).prop_map(|n| Value::from(n.to_string())),
        prop_oneof![Just(i64::MAX), Just(i64::MIN)].prop_map(|n| Value::from(n.to_string())),
        (-200_i64..200).prop_map(|n| Value::from(format!("{}", n as f64 / 16.0))),
        vec(any::<u8>(), 0..12).prop_map(Value::from),
    ]
}

/// Moments close to each other, and now and then the ends of time.
fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![20 => 0_u64..200, 1 => Just(u64::MAX)].prop_map(Timestamp)
}

fn version() -> impl Strategy<Value = Version> {
    (0_u64..40).prop_map(Version)
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::Default),
        Just(Expiry::Never),
        prop_oneof![10 => 0_u64..60, 1 => Just(u64::MAX)].prop_map(Expiry::AfterMs),
        timestamp().prop_map(Expiry::At),
        Just(Expiry::Keep),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Always),
        1 => Just(Condition::IfAbsent),
        1 => Just(Condition::IfPresent),
        1 => value().prop_map(Condition::IfValue),
        1 => version().prop_map(Condition::IfVersion),
    ]
}

fn expire_condition() -> impl Strategy<Value = ExpireCondition> {
    prop_oneof![
        Just(ExpireCondition::Always),
        Just(ExpireCondition::IfNone),
        Just(ExpireCondition::IfSome),
        Just(ExpireCondition::IfLater),
        Just(ExpireCondition::IfEarlier),
        Just(ExpireCondition::IfSomeEarlier),
    ]
}

fn simple_query() -> impl Strategy<Value = Query> {
    prop_oneof![
        key().prop_map(|key| Query::Get { key }),
        (key(), -9_i64..9, -9_i64..9).prop_map(|(key, start, end)| Query::GetRange { key, start, end }),
        (key(), any::<i64>(), any::<i64>()).prop_map(|(key, start, end)| Query::GetRange { key, start, end }),
        key().prop_map(|key| Query::Strlen { key }),
        key().prop_map(|key| Query::Exists { key }),
        key().prop_map(|key| Query::Meta { key }),
        (0_u32..20).prop_map(|count| Query::Scan { cursor: 0, count }),
        (any::<u64>(), any::<u32>()).prop_map(|(cursor, count)| Query::Scan { cursor, count }),
        Just(Query::Size),
        Just(Query::Expiring),
        any::<u64>().prop_map(|seed| Query::RandomKey { seed }),
    ]
}

pub(super) fn query() -> impl Strategy<Value = Query> {
    prop_oneof![9 => simple_query(), 1 => vec(simple_query(), 0..4).prop_map(Query::Multi)]
}

fn put() -> impl Strategy<Value = Command> {
    (key(), value(), expiry(), condition(), any::<bool>()).prop_map(|(key, value, expiry, condition, return_old)| {
        Command::Put(Put { key, value, expiry, condition, return_old })
    })
}

fn expire() -> impl Strategy<Value = Command> {
    (key(), expiry(), expire_condition(), any::<bool>())
        .prop_map(|(key, expiry, condition, return_value)| Command::Expire { key, expiry, condition, return_value })
}

fn simple_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => put(),
        2 => (key(), condition()).prop_map(|(key, condition)| Command::Delete { key, condition }),
        1 => key().prop_map(|key| Command::Take { key }),
        4 => expire(),
        1 => key().prop_map(|key| Command::Touch { key }),
        2 => (key(), -30_i64..30).prop_map(|(key, delta)| Command::Increment { key, delta }),
        1 => (key(), any::<i64>()).prop_map(|(key, delta)| Command::Increment { key, delta }),
        2 => (key(), value()).prop_map(|(key, delta)| Command::IncrementFloat { key, delta }),
        2 => (key(), value()).prop_map(|(key, suffix)| Command::Append { key, suffix }),
        2 => (key(), prop_oneof![9 => 0_u64..20, 1 => any::<u64>()], value())
            .prop_map(|(key, offset, patch)| Command::SetRange { key, offset, patch }),
        2 => (key(), key(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, replace, remove_source)| Command::Copy { from, to, replace, remove_source }),
        3 => query().prop_map(Command::Read),
    ]
}

/// Half of them watch nothing, or their guards would hardly ever hold.
fn guarded(part: BoxedStrategy<Command>) -> impl Strategy<Value = Command> {
    let watches =
        prop_oneof![Just(vec![]), vec((key(), prop_oneof![3 => Just(None), 1 => version().prop_map(Some)]), 0..3)];
    (watches, vec(part, 0..4)).prop_map(|(watches, commands)| Command::Guarded { watches, commands })
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        12 => simple_command(),
        1 => vec(simple_command(), 0..4).prop_map(Command::Batch),
        2 => guarded(simple_command().boxed()),
        1 => guarded(guarded(prop_oneof![simple_command(), vec(simple_command(), 0..3).prop_map(Command::Batch)].boxed()).boxed()),
        1 => vec(guarded(simple_command().boxed()), 0..3).prop_map(Command::Batch),
        1 => guarded(vec(simple_command(), 0..3).prop_map(Command::Batch).boxed()),
        1 => simple_command().prop_map(|inner| Command::Batch(vec![Command::Batch(vec![inner])])),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (0_u64..9, 0_u64..900, any::<bool>(), option::of(0_u64..50)).prop_map(
        |(max_entries, max_bytes, lru, default_ttl_ms)| Settings {
            capacity: Capacity { max_entries, max_bytes },
            policy: if lru { EvictionPolicy::Lru } else { EvictionPolicy::TinyLfu },
            default_ttl_ms,
        },
    )
}

pub(super) fn record() -> impl Strategy<Value = LogRecord> {
    (
        (0_u64..200).prop_map(Timestamp),
        vec(command(), 0..6),
        vec((key(), version()), 0..3),
        prop_oneof![9 => Just(None), 1 => settings().prop_map(Some)],
    )
        .prop_map(|(stamp, commands, evictions, settings)| LogRecord { stamp, commands, evictions, settings })
}

fn meta() -> impl Strategy<Value = Meta> {
    (version(), option::of(timestamp()), option::of(any::<u64>())).prop_map(|(version, expires_at, ttl_ms)| Meta {
        version,
        expires_at,
        ttl_ms,
    })
}

fn found() -> impl Strategy<Value = Option<Found>> {
    option::of((value(), meta()).prop_map(|(value, meta)| Found { value, meta }))
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::NotAnInteger),
        Just(Refusal::Overflow),
        Just(Refusal::NotANumber),
        Just(Refusal::NotFinite),
        Just(Refusal::TooLong),
        Just(Refusal::NoSuchKey),
        Just(Refusal::Invalid),
    ]
}

pub(super) fn outcome() -> impl Strategy<Value = Outcome> {
    let simple = prop_oneof![
        (version(), found()).prop_map(|(version, old)| Outcome::Stored { version, old }),
        (option::of(version()), found()).prop_map(|(current, old)| Outcome::NotMet { current, old }),
        any::<bool>().prop_map(Outcome::Deleted),
        found().prop_map(Outcome::Value),
        any::<bool>().prop_map(Outcome::Expiry),
        any::<bool>().prop_map(Outcome::Present),
        (any::<i64>(), version()).prop_map(|(value, version)| Outcome::Integer { value, version }),
        (value(), version()).prop_map(|(value, version)| Outcome::Decimal { value, version }),
        any::<u64>().prop_map(Outcome::Length),
        option::of(meta()).prop_map(Outcome::Meta),
        (any::<u64>(), vec(value(), 0..4)).prop_map(|(cursor, keys)| Outcome::Keys { cursor, keys }),
        any::<u64>().prop_map(Outcome::Count),
        option::of(value()).prop_map(Outcome::RandomKey),
        refusal().prop_map(Outcome::Refused),
    ];
    simple.prop_recursive(3, 16, 4, |inner| vec(inner, 0..4).prop_map(Outcome::Many))
}
