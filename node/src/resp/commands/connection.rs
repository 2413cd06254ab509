//! The connection itself: `PING ECHO HELLO AUTH SELECT QUIT RESET READONLY READWRITE CLIENT`.
//!
//! There are no users yet: the user `default` has no password, as in a fresh Redis.

use bytes::Bytes;

use super::{
    super::{
        number::parse_i64,
        reply::Proto,
        session::{Client, Labels, Reads},
    },
    Args, Ctx, Planned, Reply, Step, Sub, errors, help, plan_sub,
};

/// The Redis version whose commands and texts this door follows; clients judge features by it.
pub(super) const REDIS_VERSION: &str = "7.0.15";

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
                           Are you sure your configuration is correct?";

pub(super) fn ping(_: &mut Ctx<'_>, args: &Args) -> Planned {
    match args.len() {
        1 => Ok(Step::Done(Reply::Simple("PONG"))),
        2 => Ok(Step::Done(Reply::Bulk(args.bytes(1)))),
        _ => Err(errors::wrong_arity("ping")),
    }
}

pub(super) fn echo(_: &mut Ctx<'_>, args: &Args) -> Planned {
    Ok(Step::Done(Reply::Bulk(args.bytes(1))))
}

pub(super) fn hello(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let proto = match args.len() {
        1 => ctx.session.proto,
        _ => match parse_i64(args.word(1)) {
            None => return Err(Reply::error("ERR Protocol version is not an integer or out of range")),
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err(Reply::error("NOPROTO unsupported protocol version")),
        },
    };
    let mut name = None;
    let mut index = 2;
    while index < args.len() {
        let words_behind = args.len() - index - 1;
        if args.is(index, "auth") && words_behind >= 2 {
            check_user(args.word(index + 1))?;
            index += 3;
        } else if args.is(index, "setname") && words_behind >= 1 {
            name = Some(label(args, index + 1, "Client names")?);
            index += 2;
        } else {
            let option = String::from_utf8_lossy(args.word(index)).into_owned();
            return Err(Reply::error_from(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    ctx.session.set_proto(proto);
    if let Some(name) = name {
        ctx.session.client.labels.lock().name = name;
    }
    Ok(Step::Done(Reply::Map(vec![
        (Reply::bulk("server"), Reply::bulk("redis")),
        (Reply::bulk("version"), Reply::bulk(REDIS_VERSION)),
        (Reply::bulk("proto"), Reply::Integer(proto.number())),
        (Reply::bulk("id"), Reply::count(ctx.session.client.id)),
        (Reply::bulk("mode"), Reply::bulk(ctx.mode())),
        (Reply::bulk("role"), Reply::bulk("master")),
        (Reply::bulk("modules"), Reply::Array(Vec::new())),
    ])))
}

pub(super) fn auth(_: &mut Ctx<'_>, args: &Args) -> Planned {
    match args.len() {
        2 => Err(Reply::error(NO_PASSWORD)),
        3 => check_user(args.word(1)).map(|()| Step::Done(Reply::OK)),
        _ => Err(errors::syntax()),
    }
}

pub(super) fn select(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    match args.integer(1)? {
        0 => Ok(Step::Done(Reply::OK)),
        _ if ctx.whereabouts().is_some() => Err(Reply::error("ERR SELECT is not allowed in cluster mode")),
        _ => Err(Reply::error("ERR DB index is out of range")),
    }
}

pub(super) fn quit(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.closing = true;
    Ok(Step::Done(Reply::OK))
}

pub(super) fn reset(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.reset();
    Ok(Step::Done(Reply::Simple("RESET")))
}

pub(super) fn readonly(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.reads = Reads::Local;
    Ok(Step::Done(Reply::OK))
}

pub(super) fn readwrite(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.reads = Reads::Linearizable;
    Ok(Step::Done(Reply::OK))
}

pub(super) fn client(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    const SUBS: &[Sub] = &[
        Sub { name: "id", arity: 2, plan: client_id },
        Sub { name: "getname", arity: 2, plan: client_getname },
        Sub { name: "setname", arity: 3, plan: client_setname },
        Sub { name: "setinfo", arity: 4, plan: client_setinfo },
        Sub { name: "info", arity: 2, plan: client_info },
        Sub { name: "list", arity: -2, plan: client_list },
        Sub { name: "no-evict", arity: 3, plan: client_no_evict },
        Sub { name: "no-touch", arity: 3, plan: client_no_touch },
        Sub { name: "help", arity: 2, plan: client_help },
    ];
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
        // Every connection here is a normal one: there are no replicas, masters or subscribers among them.
        let normal = args.is(3, "normal");
        if !normal && !["master", "replica", "slave", "pubsub"].iter().any(|kind| args.is(3, kind)) {
            return Err(Reply::error_from([b"ERR Unknown client type '", args.word(3), b"'"].concat()));
        }
        let chosen = clients.iter().filter(|_| normal).map(AsRef::as_ref);
        return Ok(list(&chosen.collect::<Vec<_>>()));
    }
    if args.is(2, "id") && args.len() > 3 {
        let invalid = || Reply::error("ERR Invalid client ID");
        let id = |index| parse_i64(args.word(index)).filter(|id| *id > 0).ok_or_else(invalid);
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

fn client_help(_: &mut Ctx<'_>, _: &Args) -> Planned {
    help(&[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ID",
        "GETNAME",
        "SETNAME <name>",
        "SETINFO <lib-name|lib-ver> <value>",
        "INFO",
        "LIST [TYPE <normal|master|replica|pubsub>] [ID <id> ...]",
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

/// A word that is shown in `CLIENT LIST`: no byte of it may look like the end of a field. It is copied, since it
/// stays as long as the connection.
fn label(args: &Args, index: usize, what: &str) -> Result<Bytes, Reply> {
    let word = args.word(index);
    if word.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(Bytes::copy_from_slice(word));
    }
    Err(Reply::error_from(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
}

fn check_user(user: &[u8]) -> Result<(), Reply> {
    if user == b"default" { Ok(()) } else { Err(Reply::error(WRONG_PASSWORD)) }
}
