//! Numbers: `INCR DECR INCRBY DECRBY INCRBYFLOAT`.

use super::{Args, Command, Ctx, Outcome, Planned, Reply, other};

pub(super) fn incr(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    add(ctx, args, 1)
}

pub(super) fn decr(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    add(ctx, args, -1)
}

pub(super) fn incrby(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    add(ctx, args, args.integer(2)?)
}

pub(super) fn decrby(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let delta = args.integer(2)?.checked_neg().ok_or_else(|| Reply::error("ERR decrement would overflow"))?;
    add(ctx, args, delta)
}

pub(super) fn incrbyfloat(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    let command = Command::IncrementFloat { key: key.clone(), delta: args.bytes(2) };
    ctx.write(&key, command, |outcome| match outcome {
        Outcome::Decimal { value, version: _ } => Reply::Bulk(value),
        outcome => other(outcome),
    })
}

fn add(ctx: &Ctx<'_>, args: &Args, delta: i64) -> Planned {
    let key = args.key(1)?;
    ctx.write(&key.clone(), Command::Increment { key, delta }, |outcome| match outcome {
        Outcome::Integer { value, version: _ } => Reply::Integer(value),
        outcome => other(outcome),
    })
}
