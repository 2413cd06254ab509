//! Deadlines: `EXPIRE PEXPIRE EXPIREAT PEXPIREAT TTL PTTL EXPIRETIME PEXPIRETIME PERSIST`, and the options with
//! which `SET` and `GETEX` state one.

use super::{Args, Command, Ctx, Outcome, Planned, Query, Reply, errors, other, wall_clock_ms};
use crate::{
    machine::command::{ExpireCondition, Expiry, Meta},
    types::Timestamp,
};

/// What a client counts a time in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// What a client counts a time from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Now,
    Epoch,
}

/// How a client states a deadline.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub(super) unit: Unit,
    pub(super) base: Base,
}

impl Deadline {
    /// The option of `SET` and `GETEX` at a word.
    pub(super) fn option(args: &Args, index: usize) -> Option<Self> {
        let (unit, base) = if args.is(index, "ex") {
            (Unit::Seconds, Base::Now)
        } else if args.is(index, "px") {
            (Unit::Milliseconds, Base::Now)
        } else if args.is(index, "exat") {
            (Unit::Seconds, Base::Epoch)
        } else if args.is(index, "pxat") {
            (Unit::Milliseconds, Base::Epoch)
        } else {
            return None;
        };
        Some(Self { unit, base })
    }

    /// The time at a word, of a command that refuses one below 1.
    pub(super) fn positive(self, name: &str, args: &Args, index: usize) -> Result<Expiry, Reply> {
        match args.integer(index)? {
            ..=0 => Err(errors::invalid_expire(name)),
            number => self.expiry(number).ok_or_else(|| errors::invalid_expire(name)),
        }
    }

    /// A time that has passed is the earliest moment: the machine removes the key. `None` when the moment is
    /// beyond what Redis can hold.
    fn expiry(self, number: i64) -> Option<Expiry> {
        let ms = match self.unit {
            Unit::Seconds => number.checked_mul(1000)?,
            Unit::Milliseconds => number,
        };
        match self.base {
            Base::Epoch => Some(Expiry::At(Timestamp(ms.max(0).cast_unsigned()))),
            Base::Now => {
                wall_clock_ms().checked_add(ms)?;
                Some(Expiry::AfterMs(ms.max(0).cast_unsigned()))
            }
        }
    }
}

pub(super) fn expire(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    change(ctx, args, Deadline { unit: Unit::Seconds, base: Base::Now })
}

pub(super) fn pexpire(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    change(ctx, args, Deadline { unit: Unit::Milliseconds, base: Base::Now })
}

pub(super) fn expireat(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    change(ctx, args, Deadline { unit: Unit::Seconds, base: Base::Epoch })
}

pub(super) fn pexpireat(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    change(ctx, args, Deadline { unit: Unit::Milliseconds, base: Base::Epoch })
}

pub(super) fn persist(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    let (expiry, condition) = (Expiry::Never, ExpireCondition::IfSome);
    ctx.write(&key.clone(), Command::Expire { key, expiry, condition, return_value: false }, changed)
}

pub(super) fn ttl(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    meta(ctx, args, |outcome| time_left(outcome, rounded_seconds))
}

pub(super) fn pttl(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    meta(ctx, args, |outcome| time_left(outcome, |ms| ms))
}

pub(super) fn expiretime(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    meta(ctx, args, |outcome| moment(outcome, rounded_seconds))
}

pub(super) fn pexpiretime(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    meta(ctx, args, |outcome| moment(outcome, |ms| ms))
}

fn change(ctx: &Ctx<'_>, args: &Args, deadline: Deadline) -> Planned {
    let key = args.key(1)?;
    let condition = condition(args)?;
    let expiry = deadline.expiry(args.integer(2)?).ok_or_else(|| errors::invalid_expire(ctx.name))?;
    ctx.write(&key.clone(), Command::Expire { key, expiry, condition, return_value: false }, changed)
}

/// The words behind `EXPIRE key time`, with Redis's rules for what fits together. `XX GT` is `GT`, since a key
/// without a deadline counts as infinitely late.
fn condition(args: &Args) -> Result<ExpireCondition, Reply> {
    const NAMES: [&str; 4] = ["nx", "xx", "gt", "lt"];
    let mut given = [false; NAMES.len()];
    for index in 3..args.len() {
        let Some(option) = NAMES.iter().position(|name| args.is(index, name)) else {
            return Err(Reply::error_from([b"ERR Unsupported option ", args.word(index)].concat()));
        };
        given[option] = true;
    }
    let [nx, xx, gt, lt] = given;
    match (nx, xx, gt, lt) {
        (true, true, _, _) | (true, _, true, _) | (true, _, _, true) => {
            Err(Reply::error("ERR NX and XX, GT or LT options at the same time are not compatible"))
        }
        (_, _, true, true) => Err(Reply::error("ERR GT and LT options at the same time are not compatible")),
        (false, true, false, true) => Ok(ExpireCondition::IfSomeEarlier),
        (true, false, false, false) => Ok(ExpireCondition::IfNone),
        (false, true, false, false) => Ok(ExpireCondition::IfSome),
        (false, _, true, false) => Ok(ExpireCondition::IfLater),
        (false, false, false, true) => Ok(ExpireCondition::IfEarlier),
        (false, false, false, false) => Ok(ExpireCondition::Always),
    }
}

fn meta(ctx: &Ctx<'_>, args: &Args, reply: fn(Outcome) -> Reply) -> Planned {
    let key = args.key(1)?;
    ctx.read(&key.clone(), Query::Meta { key }, reply)
}

fn changed(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Expiry(changed) => Reply::flag(changed),
        outcome => other(outcome),
    }
}

fn time_left(outcome: Outcome, convert: fn(u64) -> u64) -> Reply {
    of_deadline(outcome, |meta| meta.ttl_ms, convert)
}

fn moment(outcome: Outcome, convert: fn(u64) -> u64) -> Reply {
    of_deadline(outcome, |meta| meta.expires_at.map(|moment| moment.0), convert)
}

/// -2 without the key, -1 without a deadline.
fn of_deadline(outcome: Outcome, ms: fn(&Meta) -> Option<u64>, convert: fn(u64) -> u64) -> Reply {
    match outcome {
        Outcome::Meta(None) => Reply::Integer(-2),
        Outcome::Meta(Some(meta)) => ms(&meta).map_or(Reply::Integer(-1), |ms| Reply::count(convert(ms))),
        outcome => other(outcome),
    }
}

/// Redis rounds half up.
fn rounded_seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}
