//! The server: `TIME`, `WAIT`.

use super::{super::number::parse_i64, Args, Ctx, Planned, Reply, Step, text};

pub(super) fn time(_: &mut Ctx<'_>, _: &Args) -> Planned {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let words = [since_epoch.as_secs().to_string(), since_epoch.subsec_micros().to_string()];
    Ok(Step::Done(Reply::Array(words.map(text).into())))
}

/// Nothing is waited for: what was acknowledged has reached so many other replicas already, and no further one is
/// ever waited for.
pub(super) fn wait(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    args.integer(1)?;
    match parse_i64(args.word(2)) {
        None => Err(Reply::error("ERR timeout is not an integer or out of range")),
        Some(..0) => Err(Reply::error("ERR timeout is negative")),
        Some(_) => Ok(Step::Done(Reply::count((ctx.server().config.facts)().sure_copies))),
    }
}
