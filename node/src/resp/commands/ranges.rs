//! Parts of values: `APPEND STRLEN GETRANGE SUBSTR SETRANGE`.

use super::{Args, Command, Ctx, Outcome, Planned, Query, Reply, errors, length, other};
use crate::types::MAX_VALUE_BYTES;

pub(super) fn append(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    ctx.write(&key.clone(), Command::Append { key, suffix: args.bytes(2) }, length)
}

pub(super) fn strlen(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    ctx.read(&key.clone(), Query::Strlen { key }, length)
}

pub(super) fn getrange(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    let (start, end) = (args.integer(2)?, args.integer(3)?);
    ctx.read(&key.clone(), Query::GetRange { key, start, end }, |outcome| match outcome {
        // An absent key is an empty value here.
        Outcome::Value(found) => Reply::Bulk(found.map(|found| found.value).unwrap_or_default()),
        outcome => other(outcome),
    })
}

pub(super) fn setrange(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let key = args.key(1)?;
    let offset = u64::try_from(args.integer(2)?).map_err(|_| Reply::error("ERR offset is out of range"))?;
    let patch = args.bytes(3);
    let end = offset.saturating_add(patch.len() as u64);
    if !patch.is_empty() && end > MAX_VALUE_BYTES as u64 {
        return Err(Reply::error(errors::TOO_LONG));
    }
    ctx.write(&key.clone(), Command::SetRange { key, offset, patch }, length)
}
