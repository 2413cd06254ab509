//! The texts of errors. Clients match on them, so they are Redis's wherever Redis has the condition.

use super::{framing::TooLarge, reply::Reply};
use crate::{
    error::Error,
    machine::command::Refusal,
    types::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const NOT_AN_INT: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
pub(super) const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
pub(super) const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
pub(super) const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// A syntax error.
pub(super) fn syntax() -> Reply {
    Reply::error(SYNTAX)
}

/// The reply to an operation that has no outcome; the table is in the module's documentation.
pub(super) fn of_error(error: &Error) -> Reply {
    let prefix = match error {
        Error::Unavailable { .. } => "CLUSTERDOWN",
        Error::Busy { .. } | Error::NotLeader { .. } | Error::Moved { .. } => "TRYAGAIN",
        Error::ShuttingDown => "LOADING",
        Error::OutcomeUnknown { .. } => "OUTCOMEUNKNOWN",
        Error::Invalid { .. } | Error::Fatal(_) => "ERR",
    };
    Reply::error_from(format!("{prefix} {error}"))
}

/// Whether the operation certainly had no effect.
pub(super) fn is_not_applied(error: &Error) -> bool {
    match error {
        Error::OutcomeUnknown { .. } | Error::Fatal(_) => false,
        Error::Unavailable { .. }
        | Error::Busy { .. }
        | Error::NotLeader { .. }
        | Error::Moved { .. }
        | Error::ShuttingDown
        | Error::Invalid { .. } => true,
    }
}

/// The reply to a write over several shards that did not succeed on all of them.
pub(super) fn partly_applied(error: &Error) -> Reply {
    Reply::error_from(format!("OUTCOMEUNKNOWN a part of the keys may have been written, another was not: {error}"))
}

/// The reply to a command that can't be carried out on what is there.
pub(super) fn of_refusal(refusal: Refusal) -> Reply {
    Reply::error(match refusal {
        Refusal::NotAnInteger => NOT_AN_INTEGER,
        Refusal::Overflow => "ERR increment or decrement would overflow",
        Refusal::NotANumber => "ERR value is not a valid float",
        Refusal::NotFinite => "ERR increment would produce NaN or Infinity",
        Refusal::TooLong => TOO_LONG,
        Refusal::NoSuchKey => "ERR no such key",
        Refusal::Invalid => SYNTAX,
    })
}

/// The reply to an outcome of another kind than the command has: a bug of ours that one client may see.
pub(super) fn unexpected_outcome() -> Reply {
    Reply::error("ERR internal error: the outcome doesn't fit the command")
}

/// The reply to a request that was skipped.
pub(super) fn too_large(what: TooLarge, max_request_bytes: usize) -> Reply {
    Reply::error_from(match what {
        TooLarge::Bulk(bytes) => format!("ERR value is too long: {bytes} bytes, the limit is {MAX_VALUE_BYTES}"),
        TooLarge::Request => format!("ERR request is too large: the limit is {max_request_bytes} bytes"),
    })
}

/// The reply to a key that is too long.
pub(super) fn key_too_long(bytes: usize) -> Reply {
    Reply::error_from(format!("ERR key is too long: {bytes} bytes, the limit is {MAX_KEY_BYTES}"))
}

/// The reply to a command whose answer would be too large.
pub(super) fn reply_too_large(bytes: usize, limit: usize) -> Reply {
    Reply::error_from(format!("ERR reply is too large: {bytes} bytes, the limit is {limit}; ask for fewer keys"))
}

/// The reply to a transaction that was applied, and whose answer would be too large.
pub(super) fn applied_and_too_large(bytes: usize, limit: usize) -> Reply {
    Reply::error_from(format!(
        "OUTCOMEUNKNOWN the transaction was applied, but its reply has {bytes} bytes, and the limit is {limit}"
    ))
}

/// The reply to an atomic command over keys of several shards.
pub(super) fn cross_slot() -> Reply {
    Reply::error(CROSS_SLOT)
}

/// The reply to a wrong number of words; `name` is in lower case, a subcommand as `client|id`.
pub(super) fn wrong_arity(name: &str) -> Reply {
    Reply::error_from(format!("ERR wrong number of arguments for '{name}' command"))
}

/// The reply to a deadline that can't be.
pub(super) fn invalid_expire(name: &str) -> Reply {
    Reply::error_from(format!("ERR invalid expire time in '{name}' command"))
}
