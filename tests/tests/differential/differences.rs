//! All that may differ between a Redis and us, each with its reason.

use crate::generator::Command;

/// How two replies to a command are compared.
#[derive(Clone, Copy)]
enum Rule {
    /// Both numbers are positive and apart by at most so many, or they are equal.
    Within(i64),
    /// The same items, in whatever order.
    SameItems,
    /// Both are errors, or neither is.
    SameSuccess,
    /// Only that there is a reply.
    Any,
}

/// The beginning of a command (words in upper case), the rule, and why.
const DIFFERENCES: &[(&str, Rule, &str)] = &[
    ("TTL", Rule::Within(2), "the clocks move between the two"),
    ("PTTL", Rule::Within(2_000), "the clocks move between the two"),
    ("EXPIRETIME", Rule::Within(2), "the clocks move between the two"),
    ("PEXPIRETIME", Rule::Within(2_000), "the clocks move between the two"),
    ("KEYS", Rule::SameItems, "the order is that of a hash table"),
    ("RANDOMKEY", Rule::SameSuccess, "a draw"),
];

/// Whether the replies are the same, but for a difference that is listed.
pub(crate) fn is_same(command: &Command, theirs: &[u8], ours: &[u8]) -> bool {
    if theirs == ours {
        return true;
    }
    let words: Vec<String> = command.iter().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect();
    let line = words.join(" ");
    let listed = DIFFERENCES
        .iter()
        .find(|(begin, _, _)| line.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
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
