//! `COMMAND`: the table of commands, told to clients.

use super::{
    super::glob, Args, Ctx, Keys, Planned, Reply, Spec, Step, Sub, all, errors, find, fits_arity, help, plan_sub,
};

pub(super) const SUBS: &[Sub] = &[
    Sub { name: "count", arity: 2, plan: command_count },
    Sub { name: "info", arity: -2, plan: command_info },
    Sub { name: "docs", arity: -2, plan: command_docs },
    Sub { name: "list", arity: -2, plan: command_list },
    Sub { name: "getkeys", arity: -4, plan: command_getkeys },
    Sub { name: "help", arity: 2, plan: command_help },
];

pub(super) fn command(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    match args.len() {
        1 => Ok(Step::Done(Reply::Array(all().iter().map(entry).collect()))),
        _ => plan_sub(SUBS, ctx, args),
    }
}

fn command_count(_: &mut Ctx<'_>, _: &Args) -> Planned {
    Ok(Step::Done(Reply::count(all().len() as u64)))
}

fn command_info(_: &mut Ctx<'_>, args: &Args) -> Planned {
    let entries = match args.len() {
        2 => all().iter().map(entry).collect(),
        _ => named(args).map(|spec| spec.map_or(Reply::Null, entry)).collect(),
    };
    Ok(Step::Done(Reply::Array(entries)))
}

fn command_docs(_: &mut Ctx<'_>, args: &Args) -> Planned {
    let docs = match args.len() {
        2 => all().iter().map(docs).collect(),
        _ => named(args).flatten().map(docs).collect(),
    };
    Ok(Step::Done(Reply::Map(docs)))
}

fn command_list(_: &mut Ctx<'_>, args: &Args) -> Planned {
    let pattern = match args.len() {
        2 => b"*",
        5 if args.is(2, "filterby") && args.is(3, "pattern") => args.word(4),
        _ => return Err(errors::syntax()),
    };
    let chosen = all().iter().filter(|spec| glob::matches(pattern, spec.name.as_bytes(), true));
    Ok(Step::Done(Reply::Array(chosen.map(|spec| Reply::bulk(spec.name)).collect())))
}

fn command_getkeys(_: &mut Ctx<'_>, args: &Args) -> Planned {
    let spec = find(args.word(2)).map(|index| &all()[index]);
    let spec = spec.ok_or_else(|| Reply::error("ERR Invalid command specified"))?;
    if spec.keys.positions().0 == 0 {
        return Err(Reply::error("ERR The command has no key arguments"));
    }
    let fits = fits_arity(spec.arity, args.len() - 2);
    if !fits || spec.keys.places(args.len() - 2).next().is_none() {
        return Err(Reply::error("ERR Invalid number of arguments specified for command"));
    }
    let keys = spec.keys.places(args.len() - 2).map(|place| Reply::Bulk(args.bytes(place + 2)));
    Ok(Step::Done(Reply::Array(keys.collect())))
}

fn command_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "COUNT",
        "INFO [<command-name> ...]",
        "DOCS [<command-name> ...]",
        "LIST [FILTERBY PATTERN <pattern>]",
        "GETKEYS <full-command>",
        "HELP",
    ])
}

/// The commands that are named from the third word on.
fn named(args: &Args) -> impl Iterator<Item = Option<&'static Spec>> {
    (2..args.len()).map(|index| find(args.word(index)).map(|index| &all()[index]))
}

/// Ten fields, as in Redis 7; tips, key specifications and subcommands are left empty.
fn entry(spec: &Spec) -> Reply {
    let (first, last, step) = spec.keys.positions();
    let flags = spec.flags.iter().map(|flag| Reply::Simple(flag)).collect();
    Reply::Array(vec![
        Reply::bulk(spec.name),
        Reply::Integer(spec.arity.into()),
        Reply::Set(flags),
        Reply::Integer(first.into()),
        Reply::Integer(last.into()),
        Reply::Integer(step.into()),
        Reply::Set(vec![Reply::Simple(category(spec.group))]),
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
    ])
}

fn docs(spec: &Spec) -> (Reply, Reply) {
    let fields = [("summary", spec.summary), ("since", spec.since), ("group", spec.group)];
    let fields = fields.into_iter().map(|(name, value)| (Reply::bulk(name), Reply::bulk(value)));
    (Reply::bulk(spec.name), Reply::Map(fields.collect()))
}

/// The access category of a group, as Redis names it.
fn category(group: &str) -> &'static str {
    match group {
        "string" => "@string",
        "generic" => "@keyspace",
        "connection" => "@connection",
        "transactions" => "@transaction",
        "cluster" => "@connection",
        _ => "@admin",
    }
}

impl Keys {
    /// First key, last key (negative counts from the end) and step; zeros without keys.
    pub(super) fn positions(self) -> (i32, i32, i32) {
        match self {
            Self::None => (0, 0, 0),
            Self::First => (1, 1, 1),
            Self::All => (1, -1, 1),
            Self::Pairs => (1, -1, 2),
            Self::FirstTwo => (1, 2, 1),
            Self::Second => (2, 2, 1),
        }
    }

    /// Which words of so many are keys, as far as they are there.
    pub(super) fn places(self, words: usize) -> impl Iterator<Item = usize> {
        let (first, last, step) = self.positions();
        let end = match (first, last) {
            (0, _) => 0,
            (_, ..0) => words,
            (_, last) => words.min(last as usize + 1),
        };
        (first as usize..end).step_by(step.max(1) as usize)
    }
}
