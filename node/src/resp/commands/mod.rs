//! The commands: one file per family, one table of all (`table`).
//!
//! A handler reads the words of one command and says what to do: a [`Reply`] at once, or requests to shards and how
//! their outcomes become the reply. It performs nothing itself; `batch` does.

mod catalogue;
mod clients;
mod cluster;
mod connection;
mod copies;
mod counters;
mod expiry;
mod info;
mod keys;
mod lookup;
mod multi;
mod object;
mod pattern;
mod ranges;
mod redirect;
mod scan;
mod server;
mod settings;
mod slow;
mod strings;
mod table;

use bytes::Bytes;

use super::{
    args::Args,
    errors,
    reply::Reply,
    session::{Server, Session},
};
use crate::{
    error::Error,
    machine::command::{Command, Op, Outcome, Query},
    multiraft::execute::Request,
    partitioning::ShardMap,
    types::{Key, ShardId},
};

pub(super) use lookup::find;
pub(super) use table::all;

/// What the table says of a command.
pub(super) struct Spec {
    /// In lower case.
    pub(super) name: &'static str,
    /// How many words, the name included; at least so many if negative.
    arity: i32,
    flags: &'static [&'static str],
    keys: Keys,
    group: &'static str,
    /// The Redis version that brought it.
    since: &'static str,
    summary: &'static str,
    plan: Handler,
}

/// Which words are keys.
#[derive(Clone, Copy)]
enum Keys {
    None,
    /// The first word behind the name.
    First,
    /// All words behind the name.
    All,
    /// Every other word behind the name.
    Pairs,
    /// The two words behind the name.
    FirstTwo,
    /// The second word behind the name: the first is a subcommand.
    Second,
}

type Handler = fn(&mut Ctx<'_>, &Args) -> Planned;

/// What a handler says; `Err` is a reply too, so that `?` works.
pub(super) type Planned = Result<Step, Reply>;

/// What a handler knows.
pub(super) struct Ctx<'a> {
    pub(super) session: &'a mut Session,
    pub(super) map: &'a ShardMap,
    /// The command's name in lower case.
    name: &'static str,
}

/// What to do for a command.
pub(super) enum Step {
    /// Nothing more: this is the reply.
    Done(Reply),
    /// One request, and what its outcome is in a reply.
    One(Request, fn(Outcome) -> Reply),
    /// Several requests, and what comes of their results, in their order.
    Many(Vec<Request>, Finish),
}

/// Turns the results of several requests into a reply or into more work.
pub(super) type Finish = Box<dyn FnOnce(Vec<Result<Outcome, Error>>) -> Step + Send>;

/// The names of all commands, in lower case.
pub(super) fn names() -> Vec<&'static str> {
    table::all().iter().map(|spec| spec.name).collect()
}

/// Plans one command.
pub(super) fn plan(index: usize, session: &mut Session, map: &ShardMap, args: &Args) -> Step {
    let spec = &all()[index];
    if !fits_arity(spec.arity, args.len()) {
        return Step::Done(multi::reject(session, spec, errors::wrong_arity(spec.name)));
    }
    if let Some(reply) = redirect::check(spec, session, map, args) {
        return Step::Done(multi::reject(session, spec, reply));
    }
    multi::queue(index, session, map, args).unwrap_or_else(|| plan_here(spec, session, map, args))
}

/// Plans a command that was admitted.
fn plan_here(spec: &Spec, session: &mut Session, map: &ShardMap, args: &Args) -> Step {
    let mut ctx = Ctx { session, map, name: spec.name };
    (spec.plan)(&mut ctx, args).unwrap_or_else(Step::Done)
}

/// The reply to a command that is not in the table, as Redis words it.
pub(super) fn unknown(args: &Args) -> Reply {
    const SHOWN_BYTES: usize = 128;
    let mut shown = Vec::new();
    for index in 1..args.len() {
        if shown.len() >= SHOWN_BYTES {
            break;
        }
        let room = SHOWN_BYTES - shown.len();
        shown.push(b'\'');
        shown.extend(cut(args.word(index), room));
        shown.extend_from_slice(b"' ");
    }
    let mut text = b"ERR unknown command '".to_vec();
    text.extend(cut(args.word(0), SHOWN_BYTES));
    text.extend_from_slice(b"', with args beginning with: ");
    text.extend(shown);
    Reply::error_from(text)
}

/// So much of a word as Redis shows of it: a zero byte ends it.
fn cut(word: &[u8], length: usize) -> Vec<u8> {
    word.iter().take(length).take_while(|byte| **byte != 0).copied().collect()
}

fn fits_arity(arity: i32, words: usize) -> bool {
    let words = i32::try_from(words).unwrap_or(i32::MAX);
    if arity < 0 { words >= -arity } else { words == arity }
}

impl Ctx<'_> {
    fn server(&self) -> &Server {
        &self.session.server
    }

    /// A write of one key.
    fn write(&self, key: &[u8], command: Command, reply: fn(Outcome) -> Reply) -> Planned {
        let request = Request { shard: self.map.shard_of(key), op: Op::Write(command) };
        Ok(Step::One(request, reply))
    }

    /// A read of one key.
    fn read(&self, key: &[u8], query: Query, reply: fn(Outcome) -> Reply) -> Planned {
        let request = Request { shard: self.map.shard_of(key), op: Op::Read(query) };
        Ok(Step::One(request, reply))
    }

    /// One request to each of [`Self::own_shards`].
    fn on_own_shards(&self, op: impl Fn() -> Op) -> Vec<Request> {
        self.own_shards().into_iter().map(|shard| Request { shard, op: op() }).collect()
    }

    /// One request to every shard.
    fn on_all_shards(&self, op: impl Fn() -> Op) -> Vec<Request> {
        (0..self.map.num_shards()).map(|shard| Request { shard, op: op() }).collect()
    }

    /// The places of keys by shard, in the order in which the shards come up.
    fn by_shard(&self, keys: &[Key]) -> Vec<(ShardId, Vec<usize>)> {
        let mut groups: Vec<(ShardId, Vec<usize>)> = Vec::new();
        let mut group_of = std::collections::HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            let shard = self.map.shard_of(key);
            let group = *group_of.entry(shard).or_insert(groups.len());
            if group == groups.len() {
                groups.push((shard, Vec::new()));
            }
            groups[group].1.push(place);
        }
        groups
    }

    /// One atomic command for each shard that has keys, with a part for each of its keys.
    fn write_keys(&self, keys: &[Key], part: impl Fn(usize) -> Command) -> Vec<Request> {
        let requests = self.by_shard(keys).into_iter().map(|(shard, places)| {
            let mut parts: Vec<Command> = places.into_iter().map(&part).collect();
            let command = if parts.len() == 1 { parts.remove(0) } else { Command::Batch(parts) };
            Request { shard, op: Op::Write(command) }
        });
        requests.collect()
    }

    /// The shard of keys that one command must find at one place.
    fn one_shard<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Result<ShardId, Reply> {
        let mut shards = keys.into_iter().map(|key| self.map.shard_of(key));
        let shard = shards.next().ok_or_else(errors::unexpected_outcome)?;
        if shards.all(|other| other == shard) { Ok(shard) } else { Err(errors::cross_slot()) }
    }

    /// The words from `first` on, as keys.
    fn keys_from(args: &Args, first: usize) -> Result<Vec<Key>, Reply> {
        (first..args.len()).map(|index| args.key(index)).collect()
    }
}

/// The outcomes of reads, or the first error.
fn all_read(results: Vec<Result<Outcome, Error>>) -> Result<Vec<Outcome>, Reply> {
    results.into_iter().collect::<Result<_, _>>().map_err(|error| errors::of_error(&error))
}

/// The outcomes of writes. An error that lets a client try again is only given if nothing was applied anywhere.
fn all_written(results: Vec<Result<Outcome, Error>>) -> Result<Vec<Outcome>, Reply> {
    let untouched = results.iter().all(|result| match result {
        Ok(_) => false,
        Err(error) => errors::is_not_applied(error),
    });
    results.into_iter().collect::<Result<_, _>>().map_err(|error| match untouched {
        true => errors::of_error(&error),
        false => errors::partly_applied(&error),
    })
}

/// The parts of a `Batch` or `Multi`; a single command is its only part.
fn parts(outcome: Outcome) -> Vec<Outcome> {
    match outcome {
        Outcome::Many(parts) => parts,
        single => vec![single],
    }
}

/// The reply to an outcome that a command can't have, or that every command can have.
fn other(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Refused(refusal) => errors::of_refusal(refusal),
        _ => errors::unexpected_outcome(),
    }
}

/// A value or nothing.
fn value(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Value(found) => Reply::optional(found.map(|found| found.value)),
        outcome => other(outcome),
    }
}

/// A length.
fn length(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Length(bytes) => Reply::count(bytes),
        outcome => other(outcome),
    }
}

/// A subcommand; its name in lower case, its arity with both names counted.
struct Sub {
    name: &'static str,
    arity: i32,
    plan: Handler,
}

/// Plans a subcommand, with Redis's errors for one that doesn't exist or has the wrong number of words.
fn plan_sub(subs: &[Sub], ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let sub = find_sub(subs, ctx.name, args)?;
    if !fits_arity(sub.arity, args.len()) {
        return Err(errors::wrong_arity(&format!("{}|{}", ctx.name, sub.name)));
    }
    (sub.plan)(ctx, args)
}

/// The subcommand that is named by the second word.
fn find_sub<'s>(subs: &'s [Sub], name: &str, args: &Args) -> Result<&'s Sub, Reply> {
    subs.iter().find(|sub| args.is(1, sub.name)).ok_or_else(|| {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend(cut(args.word(1), 128));
        text.extend_from_slice(format!("'. Try {} HELP.", name.to_ascii_uppercase()).as_bytes());
        Reply::error_from(text)
    })
}

/// The subcommands of a command whose second word, if there is one, is one of them.
fn subs_of(name: &str) -> Option<&'static [Sub]> {
    match name {
        "client" => Some(clients::SUBS),
        "cluster" => Some(cluster::SUBS),
        "command" => Some(catalogue::SUBS),
        "config" => Some(settings::SUBS),
        "memory" => Some(object::MEMORY),
        "object" => Some(object::OBJECT),
        "slowlog" => Some(slow::SUBS),
        _ => None,
    }
}

/// The reply to a `HELP` subcommand.
fn help(lines: &[&'static str]) -> Planned {
    Ok(Step::Done(Reply::Array(lines.iter().map(|line| Reply::Simple(line)).collect())))
}

/// Milliseconds since the Unix epoch.
fn wall_clock_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Text as a byte string.
fn text(text: impl Into<String>) -> Reply {
    Reply::Bulk(Bytes::from(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_not_told_to_retry_a_write_that_may_have_happened() {
        let busy = || Err(Error::Busy { what: "queue" });
        let unknown = || Err(Error::OutcomeUnknown { reason: "timeout".into(), index: None });
        let prefix = |results| match all_written(results) {
            Err(Reply::Error(text)) => {
                String::from_utf8_lossy(&text).split(' ').next().unwrap_or_default().to_owned()
            }
            other => format!("{other:?}"),
        };
        assert_eq!(prefix(vec![busy(), busy()]), "TRYAGAIN");
        assert_eq!(prefix(vec![Ok(Outcome::Deleted(true)), busy()]), "OUTCOMEUNKNOWN");
        assert_eq!(prefix(vec![busy(), unknown()]), "OUTCOMEUNKNOWN");
    }
}
