//! `SLOWLOG`: the last requests that took long.

use super::{Args, Ctx, Planned, Reply, Step, Sub, errors, help, plan_sub, text};

pub(super) const SUBS: &[Sub] = &[
    Sub { name: "get", arity: -2, plan: get },
    Sub { name: "len", arity: 2, plan: len },
    Sub { name: "reset", arity: 2, plan: reset },
    Sub { name: "help", arity: 2, plan: slowlog_help },
];

const DEFAULT_COUNT: usize = 10;

pub(super) fn slowlog(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    plan_sub(SUBS, ctx, args)
}

/// For each: its number, when, microseconds, its words, the client's address and name.
fn get(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let count = match args.len() {
        2 => DEFAULT_COUNT,
        3 => match args.integer(2)? {
            -1 => usize::MAX,
            count => {
                usize::try_from(count).map_err(|_| Reply::error("ERR count should be greater than or equal to -1"))?
            }
        },
        _ => return Err(errors::wrong_arity("slowlog|get")),
    };
    let entries = ctx.server().slow_log.newest(count).into_iter().map(|entry| {
        Reply::Array(vec![
            Reply::count(entry.id),
            Reply::count(entry.at_s),
            Reply::count(u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX)),
            Reply::Array(entry.words.into_iter().map(Reply::Bulk).collect()),
            text(entry.peer.to_string()),
            Reply::Bulk(entry.name),
        ])
    });
    Ok(Step::Done(Reply::Array(entries.collect())))
}

fn len(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    Ok(Step::Done(Reply::count(ctx.server().slow_log.len() as u64)))
}

fn reset(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.server().slow_log.clear();
    Ok(Step::Done(Reply::OK))
}

fn slowlog_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return the newest <count> entries (10; -1 for all) of pipelines that took long.",
        "LEN",
        "    Return the number of entries.",
        "RESET",
        "    Forget all entries.",
        "HELP",
        "    Print this help.",
    ])
}
