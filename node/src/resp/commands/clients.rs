//! Connections: `CLIENT` and its subcommands.

use super::{
    super::{
        number::parse_i64,
        session::{Client, Labels, Replies},
    },
    Args, Ctx, Planned, Reply, Step, Sub,
    connection::label,
    errors, help, plan_sub,
};

pub(super) const SUBS: &[Sub] = &[
    Sub { name: "id", arity: 2, plan: client_id },
    Sub { name: "getname", arity: 2, plan: client_getname },
    Sub { name: "setname", arity: 3, plan: client_setname },
    Sub { name: "setinfo", arity: 4, plan: client_setinfo },
    Sub { name: "info", arity: 2, plan: client_info },
    Sub { name: "list", arity: -2, plan: client_list },
    Sub { name: "kill", arity: -3, plan: client_kill },
    Sub { name: "reply", arity: 3, plan: client_reply },
    Sub { name: "no-evict", arity: 3, plan: client_no_evict },
    Sub { name: "no-touch", arity: 3, plan: client_no_touch },
    Sub { name: "help", arity: 2, plan: client_help },
];

pub(super) fn client(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    plan_sub(SUBS, ctx, args)
}

fn client_id(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    Ok(Step::Done(Reply::count(ctx.session.client.id)))
}

fn client_getname(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    let name = ctx.session.client.labels.lock().name.clone();
    Ok(Step::Done(if name.is_empty() { Reply::Null } else { Reply::Bulk(name) }))
}

fn client_setname(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let name = label(args, 2, "Client names")?;
    set_label(ctx, |labels| labels.name = name)
}

fn client_setinfo(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if args.is(2, "lib-name") {
        let library = label(args, 3, "lib-name")?;
        set_label(ctx, |labels| labels.library = library)
    } else if args.is(2, "lib-ver") {
        let version = label(args, 3, "lib-ver")?;
        set_label(ctx, |labels| labels.library_version = version)
    } else {
        Err(Reply::error_from([b"ERR Unrecognized option '", args.word(2), b"'"].concat()))
    }
}

fn client_info(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    Ok(list(&[&ctx.session.client]))
}

fn client_list(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let clients = ctx.server().clients();
    if args.len() == 2 {
        return Ok(list(&clients.iter().map(AsRef::as_ref).collect::<Vec<_>>()));
    }
    if args.is(2, "type") && args.len() == 4 {
        let normal = is_normal(args, 3)?;
        let chosen = clients.iter().filter(|_| normal).map(AsRef::as_ref);
        return Ok(list(&chosen.collect::<Vec<_>>()));
    }
    if args.is(2, "id") && args.len() > 3 {
        let invalid = || Reply::error("ERR Invalid client ID");
        let id = |index| parse_i64(args.word(index)).ok_or_else(invalid);
        let ids = (3..args.len()).map(id).collect::<Result<Vec<i64>, _>>()?;
        let chosen = clients.iter().filter(|client| ids.contains(&client.id.cast_signed())).map(AsRef::as_ref);
        return Ok(list(&chosen.collect::<Vec<_>>()));
    }
    Err(errors::syntax())
}

fn client_no_evict(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let on = on_or_off(args)?;
    set_label(ctx, |labels| labels.no_evict = on)
}

fn client_no_touch(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let on = on_or_off(args)?;
    set_label(ctx, |labels| labels.no_touch = on)
}

/// `CLIENT REPLY`: only `ON` is answered.
fn client_reply(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let replies = &mut ctx.session.replies;
    if args.is(2, "on") {
        *replies = Replies::On;
    } else if args.is(2, "off") {
        *replies = Replies::Off;
    } else if args.is(2, "skip") {
        if *replies != Replies::Off {
            *replies = Replies::SkipNext;
        }
    } else {
        return Err(errors::syntax());
    }
    Ok(Step::Done(Reply::OK))
}

/// Which connections `CLIENT KILL` ends: those that fit all that is given.
#[derive(Default)]
struct Victims {
    id: Option<u64>,
    address: Option<String>,
    local: Option<String>,
    /// A type or a user that no connection here has was asked for.
    nobody: bool,
    with_me: bool,
}

fn client_kill(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    if args.len() == 3 {
        let address = String::from_utf8_lossy(args.word(2)).into_owned();
        let victims = Victims { address: Some(address), with_me: true, ..Victims::default() };
        return match kill(ctx, &victims) {
            0 => Err(Reply::error("ERR No such client")),
            _ => Ok(Step::Done(Reply::OK)),
        };
    }
    let victims = victims(args)?;
    Ok(Step::Done(Reply::count(kill(ctx, &victims))))
}

fn victims(args: &Args) -> Result<Victims, Reply> {
    let mut victims = Victims::default();
    if !args.len().is_multiple_of(2) {
        return Err(errors::syntax());
    }
    for index in (2..args.len()).step_by(2) {
        let word = || String::from_utf8_lossy(args.word(index + 1)).into_owned();
        if args.is(index, "id") {
            let id = parse_i64(args.word(index + 1)).filter(|id| *id > 0);
            let id = id.ok_or_else(|| Reply::error("ERR client-id should be greater than 0"))?;
            victims.id = Some(id.cast_unsigned());
        } else if args.is(index, "addr") {
            victims.address = Some(word());
        } else if args.is(index, "laddr") {
            victims.local = Some(word());
        } else if args.is(index, "type") {
            victims.nobody |= !is_normal(args, index + 1)?;
        } else if args.is(index, "user") {
            if args.word(index + 1) != b"default" {
                return Err(Reply::error_from([b"ERR No such user '", args.word(index + 1), b"'"].concat()));
            }
        } else if args.is(index, "skipme") && (args.is(index + 1, "yes") || args.is(index + 1, "no")) {
            victims.with_me = args.is(index + 1, "no");
        } else {
            return Err(errors::syntax());
        }
    }
    Ok(victims)
}

/// Ends connections; how many. One's own ends behind this reply.
fn kill(ctx: &mut Ctx<'_>, victims: &Victims) -> u64 {
    let own = ctx.session.client.id;
    let Victims { id, address, local, nobody, with_me } = victims;
    let fits = |client: &Client| {
        !nobody
            && (*with_me || client.id != own)
            && id.is_none_or(|id| id == client.id)
            && address.as_ref().is_none_or(|address| *address == client.peer.to_string())
            && local.as_ref().is_none_or(|local| *local == client.local.to_string())
    };
    let mut killed = 0;
    for client in ctx.server().clients().iter().filter(|client| fits(client)) {
        killed += 1;
        if client.id == own {
            ctx.session.closing = true;
        } else {
            client.killed.cancel();
        }
    }
    killed
}

/// Every connection here is a normal one: there are no replicas, masters or subscribers among them.
fn is_normal(args: &Args, index: usize) -> Result<bool, Reply> {
    let normal = args.is(index, "normal");
    if !normal && !["master", "replica", "slave", "pubsub"].iter().any(|kind| args.is(index, kind)) {
        return Err(Reply::error_from([b"ERR Unknown client type '", args.word(index), b"'"].concat()));
    }
    Ok(normal)
}

fn client_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ID",
        "GETNAME",
        "SETNAME <name>",
        "SETINFO <lib-name|lib-ver> <value>",
        "INFO",
        "LIST [TYPE <normal|master|replica|pubsub>] [ID <id> ...]",
        "KILL <ip:port> | <ID|ADDR|LADDR|TYPE|USER|SKIPME> <value> ...",
        "REPLY <ON|OFF|SKIP>",
        "NO-EVICT <on|off>",
        "NO-TOUCH <on|off>",
        "HELP",
    ])
}

fn set_label(ctx: &Ctx<'_>, set: impl FnOnce(&mut Labels)) -> Planned {
    set(&mut ctx.session.client.labels.lock());
    Ok(Step::Done(Reply::OK))
}

fn list(clients: &[&Client]) -> Step {
    let mut lines = Vec::new();
    for client in clients {
        client.describe(&mut lines);
    }
    Step::Done(Reply::Text(lines.into()))
}

fn on_or_off(args: &Args) -> Result<bool, Reply> {
    match (args.is(2, "on"), args.is(2, "off")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        (false, false) => Err(errors::syntax()),
    }
}
