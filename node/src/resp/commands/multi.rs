//! Transactions: `MULTI EXEC DISCARD WATCH UNWATCH`, and how commands are queued.
//!
//! `EXEC` sends what is queued, reads too, as one guarded command: one log entry of one shard, applied if no watched
//! key has changed. So all keys of a transaction must be of one shard.

use std::sync::{Arc, atomic::Ordering};

use super::{
    super::transaction::{
        Full, MAX_QUEUED_BYTES, MAX_QUEUED_COMMANDS, MAX_WATCHED_BYTES, MAX_WATCHED_KEYS, Queue, Transaction,
    },
    Args, Command, Ctx, Finish, Key, Op, Outcome, Planned, Query, Reply, Request, Session, Spec, Step, all, all_read,
    errors, fits_arity, parts, plan_here, subs_of,
};
use crate::{
    error::Error,
    partitioning::ShardMap,
    types::{ShardId, Version},
};

/// What is carried out at once in a transaction, too.
const IMMEDIATE: &[&str] = &["multi", "exec", "discard", "watch", "quit", "reset"];
/// What asks every shard, or one of them in rounds, so that no log entry could answer it.
const OF_ALL_SHARDS: &[&str] = &["cluster", "dbsize", "flushall", "flushdb", "info", "keys", "randomkey", "scan"];

pub(super) fn multi(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    if ctx.session.transaction.is_open() {
        return Err(Reply::error("ERR MULTI calls can not be nested"));
    }
    ctx.session.transaction.begin();
    note_queued(ctx.session);
    Ok(Step::Done(Reply::OK))
}

pub(super) fn discard(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let ended = ctx.session.transaction.end();
    note_queued(ctx.session);
    ended.map(|_| Step::Done(Reply::OK)).ok_or_else(|| Reply::error("ERR DISCARD without MULTI"))
}

pub(super) fn unwatch(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.transaction.watched().take();
    Ok(Step::Done(Reply::OK))
}

/// Reads the versions of the keys, linearizably whatever the connection's reads are.
pub(super) fn watch(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if ctx.session.transaction.is_open() {
        return Err(Reply::error("ERR WATCH inside MULTI is not allowed"));
    }
    // In memory of their own: they stay.
    let keys: Vec<Key> = Ctx::keys_from(args, 1)?.into_iter().map(|key| Key::copy_from_slice(&key)).collect();
    let watched = ctx.session.transaction.watched().clone();
    if watched.is_full_with(keys.len(), keys.iter().map(Key::len).sum()) {
        return Err(Reply::error_from(format!(
            "ERR too many watched keys: the limits are {MAX_WATCHED_KEYS} keys and {MAX_WATCHED_BYTES} bytes"
        )));
    }
    let shard = ctx.one_shard(keys.iter().chain(watched.any().iter()))?;
    let query = Query::Multi(keys.iter().map(|key| Query::Meta { key: key.clone() }).collect());
    ctx.session.waits = true;
    let finish = move |results| {
        Step::Done(match versions(results) {
            Ok(versions) => {
                keys.into_iter().zip(versions).for_each(|(key, version)| watched.add(key, version));
                Reply::OK
            }
            Err(reply) => reply,
        })
    };
    Ok(Step::Many(vec![Request { shard, op: Op::Read(query) }], Box::new(finish)))
}

fn versions(results: Vec<Result<Outcome, Error>>) -> Result<Vec<Option<Version>>, Reply> {
    let version = |outcome| match outcome {
        Outcome::Meta(meta) => Ok(meta.map(|meta| meta.version)),
        _ => Err(errors::unexpected_outcome()),
    };
    all_read(results)?.into_iter().flat_map(parts).map(version).collect()
}

/// A command that is refused before it is queued spoils the transaction; `EXEC` itself ends it.
pub(super) fn reject(session: &mut Session, spec: &Spec, error: Reply) -> Reply {
    if spec.name != "exec" {
        session.transaction.spoil();
        return error;
    }
    session.transaction = Transaction::default();
    note_queued(session);
    match error {
        Reply::Error(text) => {
            let reason = text.strip_prefix(b"ERR ").unwrap_or(&text);
            Reply::error_from([b"EXECABORT Transaction discarded because of: ", reason].concat())
        }
        other => other,
    }
}

/// Queues a command when the connection is amid a transaction; `None` when it is to be carried out now.
pub(super) fn queue(index: usize, session: &mut Session, map: &ShardMap, args: &Args) -> Option<Step> {
    let spec = &all()[index];
    if !session.transaction.is_open() || IMMEDIATE.contains(&spec.name) {
        return None;
    }
    let reply = match admit(spec, index, session, map, args) {
        Ok(()) => Reply::Simple("QUEUED"),
        Err(reply) => {
            session.transaction.spoil();
            reply
        }
    };
    note_queued(session);
    Some(Step::Done(reply))
}

/// What Redis looks at when it queues; the rest is an error among the replies of `EXEC`.
fn admit(spec: &Spec, index: usize, session: &mut Session, map: &ShardMap, args: &Args) -> Result<(), Reply> {
    if OF_ALL_SHARDS.contains(&spec.name) {
        return Err(Reply::error("ERR Command not allowed inside a transaction"));
    }
    if let Some(subs) = subs_of(spec.name).filter(|_| args.len() > 1) {
        let sub = super::find_sub(subs, spec.name, args)?;
        if !fits_arity(sub.arity, args.len()) {
            return Err(errors::wrong_arity(&format!("{}|{}", spec.name, sub.name)));
        }
    }
    if is_lasting(spec.name, args) && !session.transaction.watched().is_empty() {
        return Err(Reply::error("ERR Command not allowed inside a transaction that watches keys"));
    }
    let watched = session.transaction.watched().any().map(|key| map.shard_of(&key));
    let shards = spec.keys.places(args.len()).map(|place| map.shard_of(args.word(place)));
    for shard in shards {
        if !session.transaction.is_at(watched.unwrap_or(shard)) || !session.transaction.is_at(shard) {
            return Err(errors::cross_slot());
        }
    }
    session.transaction.push(index, args).map_err(|full| {
        Reply::error_from(match full {
            Full::Commands => format!("ERR too many commands in a transaction: the limit is {MAX_QUEUED_COMMANDS}"),
            Full::Bytes => format!("ERR transaction is too large: the limit is {MAX_QUEUED_BYTES} bytes"),
        })
    })
}

/// Whether a command changes how the connection is answered: it could not be taken back when a watched key has changed.
fn is_lasting(name: &str, args: &Args) -> bool {
    match name {
        "hello" | "readonly" | "readwrite" => true,
        "client" => args.is(1, "reply") && (args.is(2, "off") || args.is(2, "skip")),
        _ => false,
    }
}

/// One queued command on its way through `EXEC`.
enum Part {
    Ready(Reply),
    One(fn(Outcome) -> Reply),
    /// Waits for so many outcomes.
    Many(usize, Finish),
}

pub(super) fn exec(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let ended = ctx.session.transaction.end();
    note_queued(ctx.session);
    let (queue, watches) = ended.ok_or_else(|| Reply::error("ERR EXEC without MULTI"))?;
    let Queue { commands: queued, is_broken, .. } = queue;
    if is_broken {
        return Err(Reply::error("EXECABORT Transaction discarded because of previous errors."));
    }
    // What changes the connection is done while planning: a transaction that doesn't happen gives its labels back,
    // before the commands behind it are planned.
    ctx.session.waits = !watches.is_empty();
    let limit = ctx.server().config.max_reply_bytes;
    let client = Arc::clone(&ctx.session.client);
    let labels = client.labels.lock().clone();
    let (mut requests, mut queued_parts) = (Vec::new(), Vec::new());
    for (index, args) in queued {
        let step = plan_here(&all()[index], ctx.session, ctx.map, &args);
        queued_parts.push(part(step, &mut requests));
    }
    // What WAITs for its turn (WATCH, SCAN) is never among them.
    let shards = requests.iter().map(|request| request.shard);
    let mut shards = shards.chain(watches.iter().map(|(key, _)| ctx.map.shard_of(key)));
    let Some(shard) = shards.next() else { return Ok(Step::Done(answer(queued_parts, Vec::new()))) };
    if shards.any(|other| other != shard) {
        return Err(Reply::error_from(format!("EXECABORT {}", errors::CROSS_SLOT)));
    }
    let commands = requests.into_iter().map(|request| match request.op {
        Op::Read(query) => Command::Read(query),
        Op::Write(command) => command,
    });
    let guarded = Command::Guarded { watches, commands: commands.collect() };
    let finish = move |results: Vec<Result<Outcome, Error>>| {
        Step::Done(match results.into_iter().next() {
            Some(Ok(Outcome::Many(outcomes))) => match answer(queued_parts, outcomes) {
                reply if reply.wire_bytes() > limit => errors::applied_and_too_large(reply.wire_bytes(), limit),
                reply => reply,
            },
            Some(Ok(Outcome::NotMet { .. })) => {
                *client.labels.lock() = labels;
                Reply::NullArray
            }
            Some(Ok(Outcome::Refused(refusal))) => errors::of_refusal(refusal),
            Some(Ok(_)) | None => errors::unexpected_outcome(),
            Some(Err(error)) => errors::of_error(&error),
        })
    };
    Ok(Step::Many(vec![write(shard, guarded)], Box::new(finish)))
}

fn write(shard: ShardId, command: Command) -> Request {
    Request { shard, op: Op::Write(command) }
}

fn part(mut step: Step, requests: &mut Vec<Request>) -> Part {
    loop {
        step = match step {
            Step::Done(reply) => return Part::Ready(reply),
            Step::One(request, reply) => {
                requests.push(request);
                return Part::One(reply);
            }
            Step::Many(asked, finish) if asked.is_empty() => finish(Vec::new()),
            Step::Many(asked, finish) => {
                let count = asked.len();
                requests.extend(asked);
                return Part::Many(count, finish);
            }
        };
    }
}

/// Hands the outcomes to the commands that wait for them, in order.
fn answer(queued: Vec<Part>, outcomes: Vec<Outcome>) -> Reply {
    let mut outcomes = outcomes.into_iter();
    let replies = queued.into_iter().map(|part| match part {
        Part::Ready(reply) => reply,
        Part::One(reply) => outcomes.next().map_or_else(errors::unexpected_outcome, reply),
        Part::Many(count, finish) => match finish(outcomes.by_ref().take(count).map(Ok).collect()) {
            Step::Done(reply) => reply,
            Step::One(..) | Step::Many(..) => errors::unexpected_outcome(),
        },
    });
    Reply::Array(replies.collect())
}

/// For `CLIENT LIST`.
fn note_queued(session: &Session) {
    let queued = session.transaction.queued().and_then(|queued| i64::try_from(queued).ok());
    session.client.queued.store(queued.unwrap_or(-1), Ordering::Relaxed);
}
