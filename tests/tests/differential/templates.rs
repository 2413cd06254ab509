//! The table of commands that are drawn, and of words that fill them.
//!
//! `KEY DECIMAL VALUE INT FLOAT TTL AT MODE PATTERN` are drawn anew at each place; `DECIMAL` names keys of decimal numbers only. `WORD+` stands for one to three of them, and `A&B+`
//! for so many pairs.

/// One kind of command.
pub(crate) struct Template {
    pub(crate) words: &'static str,
    /// How often it is drawn, beside the others.
    pub(crate) weight: u64,
    pub(crate) reach: Reach,
}

/// Which keys it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Any.
    Any,
    /// Those of one shard.
    OneShard,
    /// All: it is never drawn amid a transaction.
    Everything,
}

const fn one(weight: u64, words: &'static str) -> Template {
    Template { words, weight, reach: Reach::OneShard }
}

const fn all(weight: u64, words: &'static str) -> Template {
    Template { words, weight, reach: Reach::Everything }
}

const fn any(weight: u64, words: &'static str) -> Template {
    Template { words, weight, reach: Reach::Any }
}

#[rustfmt::skip]
pub(crate) const TEMPLATES: &[Template] = &[
    any(30, "GET KEY"), any(30, "SET KEY VALUE"), any(4, "SET KEY VALUE NX"), any(4, "SET KEY VALUE XX GET"),
    any(4, "SET KEY VALUE EX TTL"), any(4, "SET KEY VALUE PX TTL"), any(3, "SET KEY VALUE EXAT AT"),
    any(3, "SET KEY VALUE PXAT AT GET"), any(3, "SET KEY VALUE KEEPTTL"), any(2, "SET KEY VALUE NX GET"),
    any(2, "SET KEY VALUE KEEPTTL EX TTL"), any(1, "SET KEY VALUE NX XX"),
    any(6, "MGET KEY+"), any(6, "MSET KEY&VALUE+"), any(4, "GETDEL KEY"), any(3, "GETEX KEY"),
    any(3, "GETEX KEY EX TTL"), any(3, "GETEX KEY PXAT AT"), any(3, "GETEX KEY PERSIST"), any(4, "GETSET KEY VALUE"),
    any(4, "SETNX KEY VALUE"), any(4, "SETEX KEY TTL VALUE"), any(4, "PSETEX KEY TTL VALUE"),
    any(8, "INCR KEY"), any(6, "DECR KEY"), any(6, "INCRBY KEY INT"), any(6, "DECRBY KEY INT"),
    any(8, "INCRBYFLOAT DECIMAL FLOAT"), any(3, "SET DECIMAL FLOAT"), any(2, "GET DECIMAL"), any(1, "DEL DECIMAL"), any(8, "APPEND KEY VALUE"), any(6, "STRLEN KEY"), any(6, "GETRANGE KEY INT INT"),
    any(3, "SUBSTR KEY INT INT"), any(6, "SETRANGE KEY INT VALUE"), any(6, "EXPIRE KEY TTL"),
    any(4, "EXPIREAT KEY AT MODE+"), any(4, "PEXPIRE KEY TTL"), any(3, "EXPIREAT KEY AT"),
    any(3, "PEXPIREAT KEY AT MODE"), any(6, "TTL KEY"), any(4, "PTTL KEY"), any(4, "EXPIRETIME KEY"),
    any(4, "PEXPIRETIME KEY"), any(4, "PERSIST KEY"), any(8, "DEL KEY+"), any(3, "UNLINK KEY+"), any(5, "EXISTS KEY+"),
    any(4, "TOUCH KEY+"), any(4, "TYPE KEY"), any(2, "PING"), any(2, "PING VALUE"), any(2, "ECHO VALUE"),
    any(1, "SELECT INT"), any(1, "AUTH VALUE"), any(1, "AUTH default VALUE"), any(1, "AUTH VALUE VALUE"),
    any(1, "UNKNOWN VALUE INT"), any(1, "CLIENT GETNAME"), any(1, "CLIENT SETNAME INT"), any(1, "CLIENT VALUE"),
    one(4, "MSETNX KEY&VALUE+"), one(4, "RENAME KEY KEY"), one(4, "RENAMENX KEY KEY"), one(4, "COPY KEY KEY"),
    one(4, "COPY KEY KEY REPLACE"), one(1, "COPY KEY KEY DB INT"), all(2, "KEYS PATTERN"), all(1, "DBSIZE"),
    all(1, "RANDOMKEY"), all(1, "FLUSHALL"), all(1, "FLUSHDB ASYNC"), any(2, "OBJECT ENCODING KEY"),
    any(1, "OBJECT REFCOUNT KEY"), any(1, "OBJECT FREQ KEY"), any(1, "OBJECT IDLETIME KEY"), any(1, "OBJECT NOSUCH KEY"),
    any(2, "MEMORY USAGE KEY"), any(1, "MEMORY USAGE KEY SAMPLES INT"), any(1, "WAIT 0 INT"), any(1, "WAIT INT 1"),
    one(8, "MULTI"), one(14, "EXEC"), one(3, "DISCARD"), one(6, "WATCH KEY+"), one(2, "UNWATCH"), any(1, "RESET"),
    any(1, "SLOWLOG RESET"), any(1, "SLOWLOG LEN"), any(1, "SLOWLOG GET INT"), any(1, "CLIENT NO-EVICT ON"),
    any(1, "CLIENT NO-EVICT INT"), any(1, "CLIENT REPLY ON"), any(1, "CLIENT REPLY INT"), any(1, "CLIENT KILL INT"),
    any(1, "CLIENT KILL ID 123456789"), any(1, "CLIENT KILL VALUE INT"), any(1, "CLIENT LIST TYPE pubsub"),
    any(1, "CLIENT LIST ID INT"), any(1, "CLIENT LIST"), any(1, "CLIENT INFO"), any(1, "CLIENT ID"), any(1, "TIME"),
    all(1, "INFO"), all(1, "INFO server"), any(1, "COMMAND GETKEYS SET KEY VALUE"), any(1, "COMMAND GETKEYS MSET KEY&VALUE+"),
    any(1, "COMMAND GETKEYS COPY KEY KEY"), any(1, "COMMAND GETKEYS ECHO VALUE"),
    any(1, "COMMAND COUNT"), any(1, "COMMAND INFO NOSUCH"), any(1, "COMMAND DOCS NOSUCH"), any(1, "COMMAND LIST"),
    any(1, "COMMAND VALUE"), all(1, "HELLO"), all(1, "HELLO INT"), all(1, "HELLO 2"), all(1, "HELLO 3"),
    all(1, "HELLO 3 SETNAME INT"), all(1, "HELLO 3 AUTH VALUE VALUE"), all(2, "SCAN 0 COUNT 1000"),
    all(1, "SCAN INT"), all(1, "SCAN 0 MATCH PATTERN"), all(1, "SCAN 0 VALUE INT"), any(1, "CONFIG GET databases"),
    any(1, "CONFIG GET nosuch"), any(1, "OBJECT"), any(1, "SLOWLOG NOSUCH"),
];

pub(crate) const PATTERNS: &[&[u8]] = &[b"*", b"k*", b"{t}?", b"*[0-2]", b"k[^1]", b"none", b""];

/// Whole numbers and what looks like them.
pub(crate) const INTEGERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"5",
    b"10",
    b"-7",
    b"100",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"01",
    b"+1",
    b" 1",
    b"1.0",
    b"",
    b"abc",
    b"1 ",
    b"-0",
    b"20000000",
];

/// Decimal numbers and what looks like them. Their sums are exact in Redis's `long double`, as they always are here; of
/// others the last digits differ (`machine::number` says why), and so do hexadecimal ones and those beyond `f64`.
pub(crate) const FLOATS: &[&[u8]] = &[
    b"0.5", b"-0.25", b"1", b"3.0e2", b"25e-2", b"10.125", b"-1.5", b"nan", b"inf", b"-inf", b"abc", b"", b" 1.5",
    b"5.0", b"1.", b".5", b"+2.5", b"1e", b"1.5 ", b"1e3",
];

/// Times to live: long, or none at all, so that nothing depends on the clock.
pub(crate) const TTLS: &[&[u8]] =
    &[b"1000000", b"2000000", b"400000", b"300000", b"0", b"-1", b"-1000", b"9223372036854775807", b"x", b"1.5", b""];

pub(crate) const VALUES: &[&[u8]] = &[b"a", b"", b"hello", b"Hello, World", b"with space", b"\x00\xff\r\n", b"3.14"];
