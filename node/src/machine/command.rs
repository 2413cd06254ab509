//! What a client may ask of a shard, and what it is told: the words of the state machine.
//!
//! Built by the doors (`resp`, `grpc`, `cache`), judged only in `machine::apply` and `machine::read`. Nothing
//! here has behaviour; the bytes of these types are in `machine::codec`.

use bytes::Bytes;

use crate::types::{Key, Timestamp, Value, Version};

/// One client's operation on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Changes nothing; may be answered without the log.
    Read(Query),
    /// Goes through the log.
    Write(Command),
}

/// A change, applied at one log position. Everything it decides, it decides there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets a value.
    Put(Put),
    /// Removes a key.
    Delete {
        /// The key.
        key: Key,
        /// When not met, nothing happens.
        condition: Condition,
    },
    /// Returns the value and removes the key (`GETDEL`).
    Take {
        /// The key.
        key: Key,
    },
    /// Changes only the deadline of a key that is present.
    Expire {
        /// The key.
        key: Key,
        /// The new deadline. `Expiry::Keep` and `Expiry::Default` are refused as `Invalid`; a moment that is not
        /// after log time deletes the key, as in Redis. `Expiry::Never` is `PERSIST`.
        expiry: Expiry,
        /// When not met, nothing happens.
        condition: ExpireCondition,
        /// Answer with the value too (`GETEX`).
        return_value: bool,
    },
    /// Records an access and changes nothing (`TOUCH`).
    Touch {
        /// The key.
        key: Key,
    },
    /// Adds to a decimal integer (64 bit, an absent key counts as 0). The deadline stays.
    Increment {
        /// The key.
        key: Key,
        /// What is added.
        delta: i64,
    },
    /// Adds to a decimal number by the pinned algorithm of `machine::number`. The deadline stays.
    IncrementFloat {
        /// The key.
        key: Key,
        /// What is added, as the client wrote it.
        delta: Bytes,
    },
    /// Appends to a value (an absent key counts as empty). The deadline stays.
    Append {
        /// The key.
        key: Key,
        /// What is appended.
        suffix: Value,
    },
    /// Overwrites from an offset, padding with zero bytes. The deadline stays.
    SetRange {
        /// The key.
        key: Key,
        /// Where the first byte goes.
        offset: u64,
        /// What is written; empty writes nothing and creates nothing.
        patch: Value,
    },
    /// Removes every key of the shard.
    Flush,
    /// A read that must be ordered among writes: same answer as the query, at this log position.
    Read(Query),
    /// Gives a value and its deadline to another key of the shard (`COPY`, `RENAME`). Onto itself nothing changes.
    Copy {
        /// The key that has it.
        from: Key,
        /// The key that gets it.
        to: Key,
        /// When `to` is present: whether it is overwritten. Else nothing happens.
        replace: bool,
        /// Whether `from` goes.
        remove_source: bool,
    },
    /// Commands at one log position, if every watched key is as it was seen (`WATCH … EXEC`, `MSETNX`); else none of
    /// them. A guarded command among them holds only plain ones.
    Guarded {
        /// Each key with the version that it must have; `None` must be absent.
        watches: Vec<(Key, Option<Version>)>,
        /// Carried out in their order, each judged on its own as in a batch.
        commands: Vec<Command>,
    },
    /// Several commands at one log position, nothing between them. Batches don't nest. Each part is judged on
    /// its own: a part that fails leaves the others' effects in place (as in Redis's EXEC).
    Batch(Vec<Command>),
}

/// Sets a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: Key,
    /// The new value.
    pub value: Value,
    /// The new deadline. A moment that is not after log time stores nothing and removes the key.
    pub expiry: Expiry,
    /// When not met, nothing happens.
    pub condition: Condition,
    /// Answer with the value that was there, stored or not (`SET … GET`).
    pub return_old: bool,
}

/// A deadline as a client states it; log time makes it a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// The shard's default time to live, or never.
    #[default]
    Default,
    /// No deadline.
    Never,
    /// So many milliseconds after the entry's log time.
    AfterMs(u64),
    /// At this moment.
    At(Timestamp),
    /// The deadline that the key has now (`KEEPTTL`).
    Keep,
}

/// What must hold for a change to happen. An expired key is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key is absent.
    IfAbsent,
    /// The key is present.
    IfPresent,
    /// The key is present with this value.
    IfValue(Value),
    /// The key is present with this version.
    IfVersion(Version),
}

/// What must hold for a deadline to change; a key without a deadline counts as infinitely late (Redis).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpireCondition {
    /// Nothing.
    #[default]
    Always,
    /// There is no deadline.
    IfNone,
    /// There is a deadline.
    IfSome,
    /// The new one is later.
    IfLater,
    /// The new one is earlier.
    IfEarlier,
    /// There is a deadline and the new one is earlier (`XX LT`; `XX GT` is the same as `GT`).
    IfSomeEarlier,
}

/// A question about the state at one log position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Value, version and deadline.
    Get {
        /// The key.
        key: Key,
    },
    /// A part of the value by Redis's rules: inclusive, negative counts from the end.
    GetRange {
        /// The key.
        key: Key,
        /// First byte.
        start: i64,
        /// Last byte.
        end: i64,
    },
    /// The value's length in bytes, 0 when absent.
    Strlen {
        /// The key.
        key: Key,
    },
    /// Whether the key is present (`EXISTS`, `TYPE`).
    Exists {
        /// The key.
        key: Key,
    },
    /// Version and deadline without the value (`TTL`, `PTTL`, `EXPIRETIME`).
    Meta {
        /// The key.
        key: Key,
    },
    /// Keys from a cursor on, in the order of a fixed hash of the key.
    Scan {
        /// 0 to begin, else the cursor that the last answer gave.
        cursor: u64,
        /// About how many keys.
        count: u32,
    },
    /// How many keys are present.
    Size,
    /// How many keys are present that have a deadline.
    Expiring,
    /// A key chosen by `seed` alone.
    RandomKey {
        /// The draw; made by the door, so that reading stays a pure function.
        seed: u64,
    },
    /// Several queries at one position.
    Multi(Vec<Query>),
}

/// What happened. A pure function of the state and the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `Put`, `Copy`: stored under this version.
    Stored {
        /// The version of the change.
        version: Version,
        /// With `return_old`: what was there.
        old: Option<Found>,
    },
    /// `Put`, `Delete`: the condition was not met. `Copy`: the other key is there. `Guarded`: a watched key has changed.
    NotMet {
        /// The version that is there (of the first key that differs), if any.
        current: Option<Version>,
        /// With `return_old`: what is there.
        old: Option<Found>,
    },
    /// `Delete`: whether a key went.
    Deleted(bool),
    /// `Get`, `GetRange`, `Take`, and `Expire` with `return_value`: what is (or was) there.
    Value(Option<Found>),
    /// `Expire`: whether the deadline changed (or the key went because the deadline has passed).
    Expiry(bool),
    /// `Touch`, `Exists`: whether the key is there.
    Present(bool),
    /// `Increment`: the new number, under this version.
    Integer {
        /// The sum.
        value: i64,
        /// The version of the change.
        version: Version,
    },
    /// `IncrementFloat`: the new number as it is stored, under this version.
    Decimal {
        /// The sum.
        value: Value,
        /// The version of the change.
        version: Version,
    },
    /// `Append`, `SetRange`, `Strlen`: the length in bytes.
    Length(u64),
    /// `Meta`: `None` when absent.
    Meta(Option<Meta>),
    /// `Scan`: keys, and the cursor to go on with; 0 at the end.
    Keys {
        /// Where to go on.
        cursor: u64,
        /// The keys.
        keys: Vec<Key>,
    },
    /// `Size`, `Expiring`, `Flush` (how many went): a number of keys.
    Count(u64),
    /// `RandomKey`: `None` when the shard is empty.
    RandomKey(Option<Key>),
    /// `Batch`, `Guarded`, `Multi`: one outcome for each part.
    Many(Vec<Outcome>),
    /// The command can't be carried out on what is there; nothing changed.
    Refused(Refusal),
}

/// A value with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// Version and deadline.
    pub meta: Meta,
}

/// What is known of a key beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The version of its last change.
    pub version: Version,
    /// Its deadline.
    pub expires_at: Option<Timestamp>,
    /// How long it lives yet by the clock that judged the read, at least 1 while visible.
    pub ttl_ms: Option<u64>,
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The value is not a 64-bit decimal integer.
    NotAnInteger,
    /// The sum would leave 64 bits.
    Overflow,
    /// The value or the increment is not a decimal number.
    NotANumber,
    /// The sum would not be finite.
    NotFinite,
    /// The value would be longer than [`crate::types::MAX_VALUE_BYTES`].
    TooLong,
    /// `Copy`: there is nothing to copy.
    NoSuchKey,
    /// The parts don't fit together (a nested batch, `Keep` as a deadline of `Expire`).
    Invalid,
}
