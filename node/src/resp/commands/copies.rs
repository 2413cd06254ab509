//! A value from one key to another, and several keys if none of them is there: `COPY RENAME RENAMENX MSETNX`. All keys
//! must be of one shard.

use super::{Args, Command, Ctx, Key, Op, Outcome, Planned, Reply, Request, Step, errors, other};
use crate::machine::command::{Condition, Expiry, Put, Refusal};

pub(super) fn rename(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    relocate(ctx, args, true, true, |outcome| match outcome {
        Outcome::Stored { .. } => Reply::OK,
        outcome => other(outcome),
    })
}

pub(super) fn renamenx(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    relocate(ctx, args, false, true, is_stored)
}

pub(super) fn copy(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let mut replace = false;
    let mut index = 3;
    while index < args.len() {
        if args.is(index, "replace") {
            replace = true;
        } else if args.is(index, "db") && index + 1 < args.len() {
            index += 1;
            args.database(index)?;
        } else {
            return Err(errors::syntax());
        }
        index += 1;
    }
    if args.word(1) == args.word(2) {
        return Err(Reply::error("ERR source and destination objects are the same"));
    }
    relocate(ctx, args, replace, false, |outcome| match outcome {
        Outcome::Refused(Refusal::NoSuchKey) => Reply::flag(false),
        outcome => is_stored(outcome),
    })
}

fn relocate(ctx: &Ctx<'_>, args: &Args, replace: bool, remove_source: bool, reply: fn(Outcome) -> Reply) -> Planned {
    let (from, to) = (args.key(1)?, args.key(2)?);
    let shard = ctx.one_shard([&from, &to])?;
    let command = Command::Copy { from, to, replace, remove_source };
    Ok(Step::One(Request { shard, op: Op::Write(command) }, reply))
}

fn is_stored(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Stored { .. } => Reply::flag(true),
        Outcome::NotMet { .. } => Reply::flag(false),
        outcome => other(outcome),
    }
}

/// The keys are watched to be absent. As in Redis, of a key that is named twice the last value stays.
pub(super) fn msetnx(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if args.len().is_multiple_of(2) {
        return Err(errors::wrong_arity(ctx.name));
    }
    let keys: Vec<Key> = (1..args.len()).step_by(2).map(|index| args.key(index)).collect::<Result<_, _>>()?;
    let shard = ctx.one_shard(&keys)?;
    let put = |(place, key): (usize, &Key)| {
        let (expiry, condition) = (Expiry::Default, Condition::Always);
        let value = args.bytes(place * 2 + 2);
        Command::Put(Put { key: key.clone(), value, expiry, condition, return_old: false })
    };
    let commands = keys.iter().enumerate().map(put).collect();
    let watches = keys.iter().map(|key| (key.clone(), None)).collect();
    let request = Request { shard, op: Op::Write(Command::Guarded { watches, commands }) };
    Ok(Step::One(request, |outcome| match outcome {
        Outcome::Many(parts) => match parts.into_iter().find(|part| matches!(part, Outcome::Refused(_))) {
            Some(refused) => other(refused),
            None => Reply::flag(true),
        },
        Outcome::NotMet { .. } => Reply::flag(false),
        outcome => other(outcome),
    }))
}
