//! The server: `TIME`.

use super::{Args, Ctx, Planned, Reply, Step, text};

pub(super) fn time(_: &mut Ctx<'_>, _: &Args) -> Planned {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let words = [since_epoch.as_secs().to_string(), since_epoch.subsec_micros().to_string()];
    Ok(Step::Done(Reply::Array(words.map(text).into())))
}
