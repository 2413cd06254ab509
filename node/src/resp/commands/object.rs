//! What a value is made of: `OBJECT` and `MEMORY`.
//!
//! There is one encoding here; what Redis would choose for the value is what is told. Neither the idle time nor the
//! number of accesses of a key is known: each node's tier keeps its own sketch of them.

use super::{
    super::number::parse_i64, Args, Ctx, Op, Outcome, Planned, Query, Reply, Request, Step, Sub, all_read, errors,
    help, other, parts,
};
use crate::machine::store::{ENTRY_OVERHEAD_BYTES, EvictionPolicy};

pub(super) const OBJECT: &[Sub] = &[
    Sub { name: "encoding", arity: 3, plan: encoding },
    Sub { name: "freq", arity: 3, plan: freq },
    Sub { name: "idletime", arity: 3, plan: idletime },
    Sub { name: "refcount", arity: 3, plan: refcount },
    Sub { name: "help", arity: 2, plan: object_help },
];

pub(super) const MEMORY: &[Sub] =
    &[Sub { name: "usage", arity: -3, plan: usage }, Sub { name: "help", arity: 2, plan: memory_help }];

/// Redis keeps shorter strings beside their header.
const MAX_EMBEDDED_BYTES: usize = 44;
const NO_LFU: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                      when switching between policies at runtime LRU and LFU data will take some time to adjust.";

pub(super) fn object(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    super::plan_sub(OBJECT, ctx, args)
}

pub(super) fn memory(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    super::plan_sub(MEMORY, ctx, args)
}

fn encoding(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(2)?;
    ctx.read(&key.clone(), Query::Get { key }, |outcome| match outcome {
        Outcome::Value(None) => Reply::Null,
        Outcome::Value(Some(found)) if parse_i64(&found.value).is_some() => Reply::bulk("int"),
        Outcome::Value(Some(found)) if found.value.len() <= MAX_EMBEDDED_BYTES => Reply::bulk("embstr"),
        Outcome::Value(Some(_)) => Reply::bulk("raw"),
        outcome => other(outcome),
    })
}

fn refcount(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if_present(ctx, args, |present| if present { Reply::Integer(1) } else { Reply::Null })
}

fn freq(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let facts = (ctx.server().config.facts)();
    match (facts.max_memory_bytes, facts.eviction_policy) {
        (1.., EvictionPolicy::TinyLfu) => if_present(ctx, args, |present| match present {
            true => Reply::error("ERR access frequency is not told: each node has its own estimate"),
            false => Reply::Null,
        }),
        (0, _) | (_, EvictionPolicy::Lru) => {
            if_present(ctx, args, |present| if present { Reply::error(NO_LFU) } else { Reply::Null })
        }
    }
}

fn idletime(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if_present(ctx, args, |present| if present { Reply::error("ERR idle time is not tracked") } else { Reply::Null })
}

fn if_present(ctx: &Ctx<'_>, args: &Args, reply: fn(bool) -> Reply) -> Planned {
    let key = args.key(2)?;
    let request = Request { shard: ctx.map.shard_of(&key), op: Op::Read(Query::Exists { key }) };
    let finish = move |results| {
        Step::Done(match all_read(results).map(|mut outcomes| outcomes.pop()) {
            Ok(Some(Outcome::Present(present))) => reply(present),
            Ok(_) => errors::unexpected_outcome(),
            Err(reply) => reply,
        })
    };
    Ok(Step::Many(vec![request], Box::new(finish)))
}

/// What the entry counts against the capacity of its shard.
fn usage(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(2)?;
    match args.len() {
        3 => {}
        5 if args.is(3, "samples") => {
            if args.integer(4)? < 0 {
                return Err(errors::syntax());
            }
        }
        _ => return Err(errors::syntax()),
    }
    let overhead = key.len() as u64 + ENTRY_OVERHEAD_BYTES;
    let shard = ctx.map.shard_of(&key);
    let query = Query::Multi(vec![Query::Exists { key: key.clone() }, Query::Strlen { key }]);
    let finish = move |results| {
        let outcomes: Result<Vec<Outcome>, Reply> =
            all_read(results).map(|outcomes| outcomes.into_iter().flat_map(parts).collect());
        Step::Done(match outcomes.as_deref() {
            Ok([Outcome::Present(true), Outcome::Length(bytes)]) => Reply::count(bytes + overhead),
            Ok([Outcome::Present(false), _]) => Reply::Null,
            Ok(_) => errors::unexpected_outcome(),
            Err(reply) => reply.clone(),
        })
    };
    Ok(Step::Many(vec![Request { shard, op: Op::Read(query) }], Box::new(finish)))
}

fn object_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the encoding that Redis would choose for the value at <key>.",
        "FREQ <key>",
        "    Always refused: each node has its own estimate.",
        "IDLETIME <key>",
        "    Always refused: it is not tracked.",
        "REFCOUNT <key>",
        "    Return 1 for a key that is there.",
        "HELP",
        "    Print this help.",
    ])
}

fn memory_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "USAGE <key> [SAMPLES <count>]",
        "    Return the bytes that <key> counts against the capacity of its shard.",
        "HELP",
        "    Print this help.",
    ])
}
