//! `KEYS`: every key that matches a pattern, by rounds of scans.

use bytes::Bytes;

use super::{
    super::glob, Args, Ctx, Error, Key, Op, Outcome, Planned, Query, Reply, Request, Step, all_read, errors, other,
};
use crate::types::ShardId;

/// Keys that a shard looks at in one round: its thread does nothing else meanwhile.
const KEYS_PER_ROUND: u32 = 1_000;

pub(super) fn keys(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let limit = ctx.server().config.max_reply_bytes;
    let open = ctx.own_shards().into_iter().map(|shard| (shard, 0)).collect();
    // Behind it are writes, perhaps, which its later rounds must not see.
    ctx.session.waits = true;
    Ok(Search { pattern: args.bytes(1), open, found: Vec::new(), bytes: 0, limit }.round())
}

struct Search {
    pattern: Bytes,
    /// Shards that have more, and where to go on.
    open: Vec<(ShardId, u64)>,
    found: Vec<Key>,
    /// Of what was found, on the wire.
    bytes: usize,
    limit: usize,
}

impl Search {
    fn round(self) -> Step {
        if self.open.is_empty() {
            return Step::Done(Reply::Array(self.found.into_iter().map(Reply::Bulk).collect()));
        }
        let scan = |(shard, cursor): &(ShardId, u64)| {
            let query = Query::Scan { cursor: *cursor, count: KEYS_PER_ROUND };
            Request { shard: *shard, op: Op::Read(query) }
        };
        let requests = self.open.iter().map(scan).collect();
        Step::Many(requests, Box::new(|results| self.take(results).unwrap_or_else(Step::Done)))
    }

    fn take(mut self, results: Vec<Result<Outcome, Error>>) -> Planned {
        const HEADER_BYTES: usize = 16;
        let mut open = Vec::new();
        for ((shard, _), outcome) in self.open.iter().zip(all_read(results)?) {
            let Outcome::Keys { cursor, keys } = outcome else { return Err(other(outcome)) };
            if cursor != 0 {
                open.push((*shard, cursor));
            }
            let matching = keys.into_iter().filter(|key| glob::matches(&self.pattern, key, false));
            // A key may share its memory with its value, which must not live as long as the search.
            for key in matching.map(|key| Key::copy_from_slice(&key)) {
                self.bytes += key.len() + HEADER_BYTES;
                self.found.push(key);
            }
            if self.bytes > self.limit {
                return Err(errors::reply_too_large(self.bytes, self.limit));
            }
        }
        self.open = open;
        Ok(self.round())
    }
}
