//! `SCAN` over all shards, with one cursor that stays good whatever happens in between.
//!
//! A shard's own cursor is a place in the order of a fixed hash of the key, with [`SCAN_CURSOR_BITS`] bits. The client's
//! cursor has the shard in its low 14 bits (there are at most 16,384 shards) and the shard's cursor above them. The
//! shards are gone through in their order; 0 is the begin of the first and the end of the last. A key that is there
//! throughout is returned at least once: none of it depends on what this node remembers. In cluster mode a node scans what
//! it leads; of a shard whose leader changes between the scans of two nodes, a client may see nothing, or all twice.

use bytes::Bytes;

use super::{
    super::{glob, number::parse_u64},
    Args, Ctx, Error, Key, Op, Outcome, Planned, Query, Reply, Request, Step, all_read, errors, other, text,
};
use crate::{machine::read::SCAN_CURSOR_BITS, partitioning::SLOTS, types::ShardId};

const SHARD_BITS: u32 = 14;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;
const _: () = assert!(SHARD_BITS + SCAN_CURSOR_BITS <= u64::BITS && 1 << SHARD_BITS >= SLOTS as u32);
/// Shards with too few keys are passed in one call, but not more than this, so that a call stays short.
const SHARDS_PER_CALL: u32 = 32;
/// `COUNT` without the option.
const DEFAULT_COUNT: u32 = 10;

pub(super) fn scan(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let cursor = parse_u64(args.word(1)).ok_or_else(|| Reply::error("ERR invalid cursor"))?;
    let options = options(args)?;
    let shards = ctx.own_shards();
    let Some(position) = Position::from_cursor(cursor).within(&shards) else {
        return Err(reply(0, Vec::new()));
    };
    // Behind it are writes, perhaps, which its later rounds must not see.
    ctx.session.waits = true;
    let budget = SHARDS_PER_CALL;
    Ok(Scan { options, shards, position, found: Vec::new(), budget }.step())
}

struct Options {
    pattern: Option<Bytes>,
    count: u32,
    /// A type that no key here has was asked for.
    no_type: bool,
}

fn options(args: &Args) -> Result<Options, Reply> {
    let mut options = Options { pattern: None, count: DEFAULT_COUNT, no_type: false };
    let mut index = 2;
    while index < args.len() {
        if index + 1 == args.len() {
            return Err(errors::syntax());
        }
        if args.is(index, "count") {
            let count = args.integer(index + 1)?;
            if count < 1 {
                return Err(errors::syntax());
            }
            options.count = u32::try_from(count).unwrap_or(u32::MAX);
        } else if args.is(index, "match") {
            options.pattern = Some(args.bytes(index + 1)).filter(|pattern| pattern.as_ref() != b"*");
        } else if args.is(index, "type") {
            options.no_type = !args.is(index + 1, "string");
        } else {
            return Err(errors::syntax());
        }
        index += 2;
    }
    Ok(options)
}

/// Where a scan stands: a shard, and the cursor in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    shard: ShardId,
    within: u64,
}

impl Position {
    fn from_cursor(cursor: u64) -> Self {
        Self { shard: (cursor & SHARD_MASK) as ShardId, within: cursor >> SHARD_BITS }
    }

    /// Here, or at the begin of the next of these shards; `None` behind the last.
    fn within(self, shards: &[ShardId]) -> Option<Self> {
        let next = shards[shards.partition_point(|shard| *shard < self.shard)..].first()?;
        Some(if *next == self.shard { self } else { Self { shard: *next, within: 0 } })
    }

    fn cursor(self) -> u64 {
        self.within << SHARD_BITS | u64::from(self.shard)
    }
}

/// A scan under way in one call.
struct Scan {
    options: Options,
    /// Those that are gone through, ascending.
    shards: Vec<ShardId>,
    position: Position,
    found: Vec<Key>,
    /// How many more steps this call may take.
    budget: u32,
}

impl Scan {
    /// Asks the shard where the scan stands.
    fn step(self) -> Step {
        let Position { shard, within } = self.position;
        let query = Query::Scan { cursor: within, count: self.options.count };
        let request = Request { shard, op: Op::Read(query) };
        Step::Many(vec![request], Box::new(|results| self.take(results).unwrap_or_else(Step::Done)))
    }

    fn take(mut self, results: Vec<Result<Outcome, Error>>) -> Planned {
        let (cursor, keys) = match all_read(results)?.pop() {
            Some(Outcome::Keys { cursor, keys }) => (cursor, keys),
            Some(outcome) => return Err(other(outcome)),
            None => return Err(errors::unexpected_outcome()),
        };
        self.found.extend(keys);
        let shard = self.position.shard;
        self.budget -= 1;
        let next = match cursor {
            0 => Position { shard: shard + 1, within: 0 }.within(&self.shards),
            within => Some(Position { shard, within }),
        };
        let Some(next) = next else { return Ok(Step::Done(reply(0, self.shown()))) };
        self.position = next;
        if self.found.len() < self.options.count as usize && self.budget > 0 {
            return Ok(self.step());
        }
        Ok(Step::Done(reply(self.position.cursor(), self.shown())))
    }

    /// `COUNT` is about the keys looked at, so the filters come last.
    fn shown(&mut self) -> Vec<Key> {
        let mut keys = std::mem::take(&mut self.found);
        let pattern = self.options.pattern.as_deref();
        keys.retain(|key| pattern.is_none_or(|pattern| glob::matches(pattern, key, false)));
        if self.options.no_type { Vec::new() } else { keys }
    }
}

fn reply(cursor: u64, keys: Vec<Key>) -> Reply {
    Reply::Array(vec![text(cursor.to_string()), Reply::Array(keys.into_iter().map(Reply::Bulk).collect())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_keep_their_position() {
        let last = (1 << SCAN_CURSOR_BITS) - 1;
        for (shard, within) in [(0, 0), (0, last), (16_383, 1), (16_383, last), (7, 0)] {
            let position = Position { shard, within };
            assert_eq!(Position::from_cursor(position.cursor()), position);
        }
        assert_eq!(Position { shard: 0, within: 0 }.cursor(), 0);
    }
}
