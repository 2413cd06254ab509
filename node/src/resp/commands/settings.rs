//! `CONFIG`: the settings under the names that Redis clients ask for, with their true values.
//!
//! Shared settings change by the Admin interface, the others at start: `CONFIG SET` refuses, as Redis does for a
//! setting that can't change.

use super::{
    super::{config::NodeFacts, glob, slowlog},
    Args, Ctx, Planned, Reply, Step, Sub, errors, help, plan_sub, text,
};
use crate::{
    machine::store::EvictionPolicy,
    types::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

pub(super) const SUBS: &[Sub] = &[
    Sub { name: "get", arity: -3, plan: config_get },
    Sub { name: "set", arity: -4, plan: config_set },
    Sub { name: "help", arity: 2, plan: config_help },
];

pub(super) fn config(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    plan_sub(SUBS, ctx, args)
}

/// The eviction policy by Redis's name for what comes nearest.
pub(super) fn policy_name(facts: &NodeFacts) -> &'static str {
    match (facts.max_memory_bytes, facts.eviction_policy) {
        (0, _) => "noeviction",
        (_, EvictionPolicy::TinyLfu) => "allkeys-lfu",
        (_, EvictionPolicy::Lru) => "allkeys-lru",
    }
}

fn settings(ctx: &Ctx<'_>) -> Vec<(&'static str, String)> {
    let server = ctx.server();
    let facts = (server.config.facts)();
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    vec![
        ("appendfsync", if facts.durable { "always" } else { "no" }.to_owned()),
        ("appendonly", yes_no(facts.durable)),
        ("bind", server.address.ip().to_string()),
        ("client-query-buffer-limit", server.config.max_request_bytes.to_string()),
        ("cluster-enabled", yes_no(ctx.whereabouts().is_some())),
        ("crema-max-key-bytes", MAX_KEY_BYTES.to_string()),
        ("databases", "1".to_owned()),
        ("maxclients", server.config.max_clients.to_string()),
        ("maxmemory", facts.max_memory_bytes.to_string()),
        ("maxmemory-policy", policy_name(&facts).to_owned()),
        ("port", server.address.port().to_string()),
        ("proto-max-bulk-len", MAX_VALUE_BYTES.to_string()),
        ("requirepass", String::new()),
        ("save", String::new()),
        ("slowlog-log-slower-than", slowlog::SLOWER_THAN.as_micros().to_string()),
        ("slowlog-max-len", slowlog::LENGTH.to_string()),
        ("timeout", "0".to_owned()),
    ]
}

fn config_get(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let asked = |name: &str| (2..args.len()).any(|index| glob::matches(args.word(index), name.as_bytes(), true));
    let chosen = settings(ctx).into_iter().filter(|(name, _)| asked(name));
    Ok(Step::Done(Reply::Map(chosen.map(|(name, value)| (Reply::bulk(name), text(value))).collect())))
}

fn config_set(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if !args.len().is_multiple_of(2) {
        return Err(errors::wrong_arity("config|set"));
    }
    let known = settings(ctx);
    for index in (2..args.len()).step_by(2) {
        let word = String::from_utf8_lossy(args.word(index));
        if !known.iter().any(|(name, _)| args.is(index, name)) {
            let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{word}'");
            return Err(Reply::error_from(text));
        }
    }
    let first = String::from_utf8_lossy(args.word(2));
    Err(Reply::error_from(format!(
        "ERR CONFIG SET failed (possibly related to argument '{first}') - can't set immutable config"
    )))
}

fn config_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "SET <directive> <value>: always refused; shared settings change by the Admin interface",
        "HELP",
    ])
}
