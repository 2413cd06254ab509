//! The connection itself: `PING ECHO HELLO AUTH SELECT QUIT RESET READONLY READWRITE`.
//!
//! There are no users yet: the user `default` has no password, as in a fresh Redis.

use bytes::Bytes;

use super::{
    super::{number::parse_i64, reply::Proto, session::Reads},
    Args, Ctx, Planned, Reply, Step, errors,
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
    if ctx.whereabouts().is_some() && args.integer(1)? != 0 {
        return Err(Reply::error("ERR SELECT is not allowed in cluster mode"));
    }
    args.database(1)?;
    Ok(Step::Done(Reply::OK))
}

pub(super) fn quit(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.closing = true;
    Ok(Step::Done(Reply::OK))
}

pub(super) fn reset(ctx: &mut Ctx<'_>, _: &Args) -> Planned {
    ctx.session.reset();
    ctx.session.client.queued.store(-1, std::sync::atomic::Ordering::Relaxed);
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

/// A word that is shown in `CLIENT LIST`: no byte of it may look like the end of a field. It is copied, since it
/// stays as long as the connection.
pub(super) fn label(args: &Args, index: usize, what: &str) -> Result<Bytes, Reply> {
    let word = args.word(index);
    if word.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(Bytes::copy_from_slice(word));
    }
    Err(Reply::error_from(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
}

fn check_user(user: &[u8]) -> Result<(), Reply> {
    if user == b"default" { Ok(()) } else { Err(Reply::error(WRONG_PASSWORD)) }
}
