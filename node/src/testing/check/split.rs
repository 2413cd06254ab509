//! From a history of shards to a history of each key.
//!
//! An operation on several keys becomes one [`KeyCall`] for each of them: what it did to that key, at one
//! position. Operations about no key in particular (`Scan`, `Size`, `RandomKey`) are left out: no register
//! explains them.

use std::collections::BTreeMap;

use crate::{
    machine::command::{Command, Op, Outcome, Put, Query},
    types::{Key, ShardId},
};

use super::history::{Call, End, History, Moment, Reset};

/// What one call did to one key.
#[derive(Clone, Debug)]
pub struct KeyCall {
    /// Steps at one position, nothing between them, each with what the client was told of it.
    pub parts: Vec<(Action, Option<Outcome>)>,
    /// When it was sent.
    pub begun: Moment,
    /// When it was known to have happened; `None`: it may happen at any time, or never.
    pub ended: Option<Moment>,
    /// Calls with the same ticket other than 0 take effect in their order.
    pub ticket: u64,
    /// Who asked (for messages).
    pub client: u64,
}

/// A step on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A command on this key.
    Write(Command),
    /// A query on this key.
    Read(Query),
    /// The whole shard was emptied.
    Flush,
    /// The shard lost all and began this generation.
    Reset(u64),
}

/// Splits a history. Calls known not to be applied, and those without an answer that change nothing, say
/// nothing and are dropped.
#[must_use]
pub fn by_key(history: &History) -> BTreeMap<Key, Vec<KeyCall>> {
    let mut keys: BTreeMap<Key, ShardId> = BTreeMap::new();
    for call in history.calls() {
        visit(&call.op, None, &mut |key, _, _| {
            if let Some(key) = key {
                keys.insert(key.clone(), call.shard);
            }
        });
    }
    let mut split: BTreeMap<Key, Vec<KeyCall>> = keys.keys().map(|key| (key.clone(), Vec::new())).collect();
    for call in history.calls() {
        let (outcome, ended) = match &call.ended {
            Some((at, End::Done(outcome))) => (Some(outcome), Some(*at)),
            Some((_, End::Unknown)) | None => (None, None),
            Some((_, End::NotApplied)) => continue,
        };
        for (key, parts) in parts_by_key(call, outcome, &keys) {
            if ended.is_none() && parts.iter().all(|(action, _)| is_idle(action)) {
                continue;
            }
            let Call { begun, ticket, client, .. } = *call;
            split.entry(key).or_default().push(KeyCall { parts, begun, ended, ticket, client });
        }
    }
    add_resets(history, &keys, &mut split);
    split
}

/// A reset is a call of nobody's on each key of its shard: what was open meanwhile may come before it or after it.
fn add_resets(history: &History, keys: &BTreeMap<Key, ShardId>, split: &mut BTreeMap<Key, Vec<KeyCall>>) {
    for Reset { shard, generation, begun, ended } in history.resets().iter().copied() {
        for (key, _) in keys.iter().filter(|(_, of)| **of == shard) {
            let calls = split.entry(key.clone()).or_default();
            let at = calls.partition_point(|call| call.begun.order < begun.order);
            let parts = vec![(Action::Reset(generation), None)];
            calls.insert(at, KeyCall { parts, begun, ended, ticket: 0, client: u64::MAX });
        }
    }
}

/// Whether an action never changes anything.
fn is_idle(action: &Action) -> bool {
    matches!(action, Action::Read(_) | Action::Write(Command::Touch { .. }))
}

type Parts = Vec<(Action, Option<Outcome>)>;

fn parts_by_key(call: &Call, outcome: Option<&Outcome>, keys: &BTreeMap<Key, ShardId>) -> BTreeMap<Key, Parts> {
    let mut parts: BTreeMap<Key, Parts> = BTreeMap::new();
    visit(&call.op, outcome, &mut |key, action, seen| match key {
        Some(key) => parts.entry(key.clone()).or_default().push((action, seen.cloned())),
        None => {
            for (key, _) in keys.iter().filter(|(_, shard)| **shard == call.shard) {
                parts.entry(key.clone()).or_default().push((action.clone(), None));
            }
        }
    });
    parts
}

/// Calls `each` with every step of `op`: its key (`None`: all of the shard), the step, and its outcome.
fn visit(op: &Op, outcome: Option<&Outcome>, each: &mut impl FnMut(Option<&Key>, Action, Option<&Outcome>)) {
    match op {
        Op::Read(query) => visit_query(query, outcome, each),
        Op::Write(command) => visit_command(command, outcome, each),
    }
}

fn visit_query(
    query: &Query,
    outcome: Option<&Outcome>,
    each: &mut impl FnMut(Option<&Key>, Action, Option<&Outcome>),
) {
    match query {
        Query::Get { key }
        | Query::GetRange { key, .. }
        | Query::Strlen { key }
        | Query::Exists { key }
        | Query::Meta { key } => each(Some(key), Action::Read(query.clone()), outcome),
        Query::Scan { .. } | Query::Size | Query::Expiring | Query::RandomKey { .. } => {}
        Query::Multi(queries) => {
            for (i, query) in queries.iter().enumerate() {
                visit_query(query, part(outcome, i), each);
            }
        }
    }
}

fn visit_command(
    command: &Command,
    outcome: Option<&Outcome>,
    each: &mut impl FnMut(Option<&Key>, Action, Option<&Outcome>),
) {
    match command {
        Command::Put(Put { key, .. })
        | Command::Delete { key, .. }
        | Command::Take { key }
        | Command::Expire { key, .. }
        | Command::Touch { key }
        | Command::Increment { key, .. }
        | Command::IncrementFloat { key, .. }
        | Command::Append { key, .. }
        | Command::SetRange { key, .. } => each(Some(key), Action::Write(command.clone()), outcome),
        Command::Flush => each(None, Action::Flush, outcome),
        Command::Read(query) => visit_query(query, outcome, each),
        Command::Copy { .. } | Command::Guarded { .. } => {
            unreachable!("the workload draws none: what they do to one key depends on another: {command:?}")
        }
        Command::Batch(commands) => {
            for (i, command) in commands.iter().enumerate() {
                visit_command(command, part(outcome, i), each);
            }
        }
    }
}

/// The outcome of one part; a shape that does not fit is passed on whole, so that the model refuses it.
fn part(outcome: Option<&Outcome>, i: usize) -> Option<&Outcome> {
    match outcome {
        Some(Outcome::Many(parts)) => parts.get(i).or(outcome),
        other => other,
    }
}
