//! Which open calls have surely happened: their values were seen. Only advice for the order of the search.

use std::collections::BTreeSet;

use crate::machine::command::{Command, Outcome};
use bytes::Bytes;

use super::split::{Action, KeyCall};

/// Tickets of calls without an answer of which some value was read by somebody. Operations of one ticket mostly share
/// a log entry, so if one happened, all did.
pub(super) fn seen_tickets(calls: &[KeyCall]) -> BTreeSet<u64> {
    let seen: BTreeSet<&Bytes> =
        calls.iter().flat_map(|call| &call.parts).filter_map(|(_, told)| value(told)).collect();
    let open = calls.iter().filter(|call| call.ended.is_none() && call.ticket != 0);
    let sums: Vec<i64> = calls.iter().flat_map(|call| &call.parts).filter_map(|(_, told)| sum(told)).collect();
    let was_seen = |call: &&KeyCall| {
        call.parts.iter().any(|(action, _)| match action {
            Action::Write(Command::Increment { delta, .. }) => sums.iter().any(|sum| sum & delta == *delta),
            action => written(action).is_some_and(|piece| seen.iter().any(|value| contains(value, piece))),
        })
    };
    open.filter(was_seen).map(|call| call.ticket).collect()
}

fn value(told: &Option<Outcome>) -> Option<&Bytes> {
    match told.as_ref()? {
        Outcome::Value(Some(found)) => Some(&found.value),
        Outcome::Stored { old: Some(found), .. } | Outcome::NotMet { old: Some(found), .. } => Some(&found.value),
        _ => None,
    }
}

fn sum(told: &Option<Outcome>) -> Option<i64> {
    match told.as_ref()? {
        Outcome::Integer { value, .. } => Some(*value),
        Outcome::Value(Some(found)) => std::str::from_utf8(&found.value).ok()?.parse().ok(),
        _ => None,
    }
}

fn written(action: &Action) -> Option<&Bytes> {
    match action {
        Action::Write(Command::Put(put)) => Some(&put.value),
        Action::Write(Command::Append { suffix: piece, .. } | Command::SetRange { patch: piece, .. }) => Some(piece),
        Action::Write(_) | Action::Read(_) | Action::Flush | Action::Reset(_) => None,
    }
}

fn contains(value: &[u8], piece: &[u8]) -> bool {
    !piece.is_empty() && value.windows(piece.len()).any(|window| window == piece)
}
