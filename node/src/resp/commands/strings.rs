//! Whole values: `GET SET MGET MSET GETDEL GETEX GETSET SETNX SETEX PSETEX`.

use super::{
    Args, Command, Ctx, Key, Op, Outcome, Planned, Query, Reply, Request, Step, all_read, all_written, errors,
    expiry, other, parts, value,
};
use crate::machine::command::{Condition, ExpireCondition, Expiry, Found, Put};

pub(super) fn get(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    ctx.read(&key.clone(), Query::Get { key }, value)
}

pub(super) fn set(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    let SetOptions { condition, return_old, expiry } = set_options(ctx, args)?;
    let put = Put { key: key.clone(), value: args.bytes(2), expiry, condition, return_old };
    ctx.write(&key, Command::Put(put), if return_old { old_value } else { ok_or_null })
}

pub(super) fn setnx(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let (key, value) = (args.key(1)?, args.bytes(2));
    let put =
        Put { key: key.clone(), value, expiry: Expiry::Default, condition: Condition::IfAbsent, return_old: false };
    ctx.write(&key, Command::Put(put), |outcome| match outcome {
        Outcome::Stored { .. } => Reply::flag(true),
        Outcome::NotMet { .. } => Reply::flag(false),
        outcome => other(outcome),
    })
}

pub(super) fn setex(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    set_with_ttl(ctx, args, expiry::Unit::Seconds)
}

pub(super) fn psetex(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    set_with_ttl(ctx, args, expiry::Unit::Milliseconds)
}

pub(super) fn getset(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let (key, value) = (args.key(1)?, args.bytes(2));
    let put =
        Put { key: key.clone(), value, expiry: Expiry::Default, condition: Condition::Always, return_old: true };
    ctx.write(&key, Command::Put(put), old_value)
}

pub(super) fn getdel(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    ctx.write(&key.clone(), Command::Take { key }, value)
}

pub(super) fn getex(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    let expiry = match args.len() {
        2 => return ctx.read(&key.clone(), Query::Get { key }, value),
        3 if args.is(2, "persist") => Expiry::Never,
        4 => {
            let deadline = expiry::Deadline::option(args, 2).ok_or_else(errors::syntax)?;
            deadline.positive(ctx.name, args, 3)?
        }
        _ => return Err(errors::syntax()),
    };
    let condition = ExpireCondition::Always;
    ctx.write(&key.clone(), Command::Expire { key, expiry, condition, return_value: true }, value)
}

pub(super) fn mget(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let keys = Ctx::keys_from(args, 1)?;
    let groups = ctx.by_shard(&keys);
    let get = |place: &usize| Query::Get { key: keys[*place].clone() };
    let requests = groups.iter().map(|(shard, places)| {
        let query = match places.as_slice() {
            [place] => get(place),
            places => Query::Multi(places.iter().map(get).collect()),
        };
        Request { shard: *shard, op: Op::Read(query) }
    });
    let requests = requests.collect();
    let count = keys.len();
    let finish = move |results| {
        let outcomes = match all_read(results) {
            Ok(outcomes) => outcomes,
            Err(reply) => return Step::Done(reply),
        };
        let mut values = vec![Reply::Null; count];
        for ((_, places), outcome) in groups.into_iter().zip(outcomes) {
            for (place, part) in places.into_iter().zip(parts(outcome)) {
                values[place] = value(part);
            }
        }
        Step::Done(Reply::Array(values))
    };
    Ok(Step::Many(requests, Box::new(finish)))
}

pub(super) fn mset(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if args.len().is_multiple_of(2) {
        return Err(errors::wrong_arity(ctx.name));
    }
    let keys: Vec<Key> = (1..args.len()).step_by(2).map(|index| args.key(index)).collect::<Result<_, _>>()?;
    let requests = ctx.write_keys(&keys, |place| {
        Command::Put(Put {
            key: keys[place].clone(),
            value: args.bytes(place * 2 + 2),
            expiry: Expiry::Default,
            condition: Condition::Always,
            return_old: false,
        })
    });
    let finish = |results| {
        Step::Done(match all_written(results) {
            Ok(outcomes) => first_refusal(outcomes).unwrap_or(Reply::OK),
            Err(reply) => reply,
        })
    };
    Ok(Step::Many(requests, Box::new(finish)))
}

fn set_with_ttl(ctx: &mut Ctx<'_>, args: &Args, unit: expiry::Unit) -> Planned {
    let key = args.key(1)?;
    let expiry = expiry::Deadline { unit, base: expiry::Base::Now }.positive(ctx.name, args, 2)?;
    let put = Put { key: key.clone(), value: args.bytes(3), expiry, condition: Condition::Always, return_old: false };
    ctx.write(&key, Command::Put(put), ok_or_null)
}

struct SetOptions {
    condition: Condition,
    return_old: bool,
    expiry: Expiry,
}

/// The words behind `SET key value`. As in Redis, a number is only looked at when all words make sense.
fn set_options(ctx: &Ctx<'_>, args: &Args) -> Result<SetOptions, Reply> {
    let mut options = SetOptions { condition: Condition::Always, return_old: false, expiry: Expiry::Default };
    let mut deadline = None;
    let mut index = 3;
    while index < args.len() {
        let plain = deadline.is_none() && options.expiry == Expiry::Default;
        if args.is(index, "nx") && options.condition != Condition::IfPresent {
            options.condition = Condition::IfAbsent;
        } else if args.is(index, "xx") && options.condition != Condition::IfAbsent {
            options.condition = Condition::IfPresent;
        } else if args.is(index, "get") {
            options.return_old = true;
        } else if args.is(index, "keepttl") && deadline.is_none() {
            options.expiry = Expiry::Keep;
        } else if let Some(found) = expiry::Deadline::option(args, index)
            && plain
            && index + 1 < args.len()
        {
            index += 1;
            deadline = Some((found, index));
        } else {
            return Err(errors::syntax());
        }
        index += 1;
    }
    if let Some((deadline, index)) = deadline {
        options.expiry = deadline.positive(ctx.name, args, index)?;
    }
    Ok(options)
}

fn ok_or_null(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Stored { .. } => Reply::OK,
        Outcome::NotMet { .. } => Reply::Null,
        outcome => other(outcome),
    }
}

fn old_value(outcome: Outcome) -> Reply {
    let reply = |old: Option<Found>| Reply::optional(old.map(|found| found.value));
    match outcome {
        Outcome::Stored { version: _, old } | Outcome::NotMet { current: _, old } => reply(old),
        outcome => other(outcome),
    }
}

/// The error of the first part that the machine refused.
fn first_refusal(outcomes: Vec<Outcome>) -> Option<Reply> {
    outcomes.into_iter().flat_map(parts).find_map(|part| match part {
        Outcome::Refused(refusal) => Some(errors::of_refusal(refusal)),
        _ => None,
    })
}
