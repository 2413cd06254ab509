//! All that may differ between a Redis and us, each with its reason.
//!
//! Some commands are never drawn, or not everywhere, since the difference is known and lasts:
//! - `READONLY`: it makes reads local here, and perhaps old;
//! - `DBSIZE`, `FLUSHALL`, `FLUSHDB`, `INFO`, `KEYS`, `RANDOMKEY` and `SCAN` amid a transaction: they look at all shards, and a
//!   transaction has one; they are refused;
//! - `WATCH` of an absent key: one that came and went again is as it was here, and has changed in Redis;
//! - `COMMAND GETKEYS` of a command with subcommands: Redis knows the keys of those that there are only;
//! - modes of `EXPIRE` with relative times: whether two in a row end at the same millisecond is a matter of luck.

use crate::generator::Command;

/// How two replies to a command are compared.
#[derive(Clone, Copy)]
enum Rule {
    /// Both numbers are positive and apart by at most so many, or they are equal.
    Within(i64),
    /// The same items, in whatever order.
    SameItems,
    /// Nothing there, and an error here.
    RefusedHere,
    /// Replies of one kind: two numbers, two strings, two errors.
    SameKind,
    /// Both are errors, or neither is.
    SameSuccess,
    /// Only that there is a reply.
    Any,
}

/// The beginning of a command (words in upper case; `$` is its end), the rule, and why.
const DIFFERENCES: &[(&str, Rule, &str)] = &[
    ("TTL", Rule::Within(2), "the clocks move between the two"),
    ("PTTL", Rule::Within(2_000), "the clocks move between the two"),
    ("EXPIRETIME", Rule::Within(2), "the clocks move between the two"),
    ("PEXPIRETIME", Rule::Within(2_000), "the clocks move between the two"),
    ("GETEX", Rule::RefusedHere, "it looks at the key before its options in Redis"),
    ("TIME", Rule::SameSuccess, "the clocks move between the two"),
    ("KEYS", Rule::SameItems, "the order is that of a hash table"),
    ("SCAN", Rule::Any, "cursors are our own; that a scan is whole is tested elsewhere"),
    ("DBSIZE", Rule::SameKind, "Redis counts keys whose time has passed until it meets them"),
    ("RANDOMKEY", Rule::SameSuccess, "a draw"),
    ("OBJECT ENCODING", Rule::SameKind, "Redis's depends on the command that wrote the value, ours on the value"),
    ("OBJECT REFCOUNT", Rule::SameKind, "Redis shares the objects of small numbers"),
    ("OBJECT IDLETIME", Rule::Any, "not tracked here, and refused"),
    (
        "MEMORY USAGE",
        Rule::SameSuccess,
        "entries are built otherwise; Redis tells the size of a key whose time has passed",
    ),
    ("WAIT", Rule::SameKind, "Redis has no replicas here; ours has a majority of them with every write"),
    ("SLOWLOG LEN", Rule::SameKind, "who is slow is a matter of luck"),
    ("SLOWLOG GET", Rule::SameKind, "who is slow is a matter of luck"),
    ("CLIENT LIST", Rule::SameKind, "ids, ports and fields are our own"),
    ("CLIENT INFO", Rule::SameKind, "ids, ports and fields are our own"),
    ("CLIENT ID", Rule::SameKind, "ids are our own"),
    ("INFO", Rule::SameKind, "facts of another program"),
    ("HELLO", Rule::SameSuccess, "ids and the patch version are our own"),
    ("COMMAND DOCS", Rule::SameKind, "Redis has more commands"),
    ("COMMAND INFO", Rule::SameKind, "Redis has more commands, and tells more of each"),
    ("COMMAND$", Rule::SameKind, "Redis has more commands, and tells more of each"),
    ("COMMAND COUNT", Rule::SameKind, "Redis has more commands"),
    ("COMMAND LIST", Rule::SameKind, "Redis has more commands"),
    ("CONFIG GET", Rule::SameSuccess, "settings are our own"),
];

/// Whether the replies are the same, but for a difference that is listed.
pub(crate) fn is_same(command: &Command, theirs: &[u8], ours: &[u8]) -> bool {
    if theirs == ours {
        return true;
    }
    let words: Vec<String> = command.iter().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect();
    let line = words.join(" ");
    let listed = DIFFERENCES.iter().find(|(begin, _, _)| match begin.strip_suffix('$') {
        Some(whole) => line == whole,
        None => line.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
    });
    listed.is_some_and(|(_, rule, _)| rule.allows(theirs, ours))
}

impl Rule {
    fn allows(self, theirs: &[u8], ours: &[u8]) -> bool {
        match self {
            Self::Within(bound) => match (number(theirs), number(ours)) {
                (Some(theirs), Some(ours)) => theirs > 0 && ours > 0 && theirs.abs_diff(ours) <= bound.unsigned_abs(),
                _ => false,
            },
            Self::SameItems => items(theirs) == items(ours),
            Self::RefusedHere => matches!(theirs, b"_\r\n" | b"$-1\r\n") && ours.starts_with(b"-"),
            Self::SameKind => theirs[0] == ours[0],
            Self::SameSuccess => theirs.starts_with(b"-") == ours.starts_with(b"-"),
            Self::Any => true,
        }
    }
}

fn number(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}

/// The lines of a flat list, sorted.
fn items(reply: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = reply.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}
