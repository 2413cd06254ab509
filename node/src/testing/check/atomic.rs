//! Batches of one shard are atomic: whoever reads both keys at one position sees both halves or none.
//!
//! Two keys are *twins* when every write to either of them was a batch that put the same value in both. A read of
//! both must then show equal values. Absence is left to the per-key check: eviction and expiry remove one alone.

use std::collections::BTreeMap;

use crate::{
    machine::command::{Command, Condition, Op, Outcome, Put, Query},
    types::Key,
};
use bytes::Bytes;

use super::{
    history::{End, History},
    linear::Violation,
};

/// Checks every read of a pair of twins.
///
/// # Errors
/// The keys, and the read that saw half a batch.
pub fn check(history: &History) -> Result<(), Violation> {
    let twins = twins(history);
    for call in history.calls() {
        let (Op::Read(Query::Multi(queries)), Some((_, End::Done(Outcome::Many(seen))))) = (&call.op, &call.ended)
        else {
            continue;
        };
        let found: Vec<(&Key, &Bytes)> = queries
            .iter()
            .zip(seen)
            .filter_map(|(query, seen)| match (query, seen) {
                (Query::Get { key }, Outcome::Value(Some(found))) => Some((key, &found.value)),
                _ => None,
            })
            .collect();
        for (i, (a, left)) in found.iter().enumerate() {
            for (b, right) in &found[i + 1..] {
                if twins.get(*a) == Some(&Some((*b).clone())) && left != right {
                    let reason = format!("half a batch was seen: {call}");
                    return Err(Violation { key: (*a).clone(), reason, undecided: false });
                }
            }
        }
    }
    Ok(())
}

/// For each written key its twin, or `None` when it was ever written without one.
fn twins(history: &History) -> BTreeMap<Key, Option<Key>> {
    let mut twins: BTreeMap<Key, Option<Key>> = BTreeMap::new();
    let mut note = |key: &Key, twin: Option<&Key>| {
        let known = twins.entry(key.clone()).or_insert_with(|| twin.cloned());
        if known.as_ref() != twin {
            *known = None;
        }
    };
    for call in history.calls() {
        let Op::Write(command) = &call.op else { continue };
        match command {
            Command::Batch(parts) => match parts.as_slice() {
                [Command::Put(a), Command::Put(b)] if same(a, b) => {
                    note(&a.key, Some(&b.key));
                    note(&b.key, Some(&a.key));
                }
                parts => parts.iter().filter_map(key_of).for_each(|key| note(key, None)),
            },
            command => {
                if let Some(key) = key_of(command) {
                    note(key, None);
                }
            }
        }
    }
    twins
}

fn same(a: &Put, b: &Put) -> bool {
    a.value == b.value && a.condition == Condition::Always && b.condition == Condition::Always
}

/// The key whose value a command may change.
fn key_of(command: &Command) -> Option<&Key> {
    match command {
        Command::Put(Put { key, .. })
        | Command::Increment { key, .. }
        | Command::IncrementFloat { key, .. }
        | Command::Append { key, .. }
        | Command::SetRange { key, .. } => Some(key),
        Command::Delete { .. }
        | Command::Take { .. }
        | Command::Expire { .. }
        | Command::Touch { .. }
        | Command::Flush
        | Command::Read(_)
        | Command::Copy { .. }
        | Command::Guarded { .. }
        | Command::Batch(_) => None,
    }
}
