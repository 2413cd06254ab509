//! `SCAN` over all shards, with one cursor that stays good whatever happens in between.
//!
//! A shard's own cursor is a position in the order of a fixed 64-bit hash. The client's cursor holds the shard in
//! its low 14 bits (there are at most 16,384 shards) and the upper 50 bits of that position above them. Cutting off
//! the position's low bits moves it back, never forward: a key may come twice, as `SCAN` allows, and none is missed.
//! Only when a step ends within the same upper 50 bits as it began would the scan stand still; such a step is
//! repeated with twice the count, which ends since a hash is never split between two steps.

use bytes::Bytes;

use super::{
    super::{glob, number::parse_u64},
    Args, Ctx, Error, Key, Op, Outcome, Planned, Query, Reply, Request, Step, all_read, errors, other, text,
};
use crate::types::ShardId;

const SHARD_BITS: u32 = 14;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;
/// `COUNT` is a hint; more than this would only make one reply long.
const MAX_COUNT: u32 = 100_000;
/// Shards with too few keys are passed in one call, but not more than this, so that a call stays short.
const SHARDS_PER_CALL: u32 = 32;
/// `COUNT` without the option.
const DEFAULT_COUNT: u32 = 10;

pub(super) fn scan(ctx: &mut Ctx<'_>, args: &Args) -> Planned {
    let cursor = parse_u64(args.word(1)).ok_or_else(|| Reply::error("ERR invalid cursor"))?;
    let options = options(args)?;
    let shards = ctx.map.num_shards();
    let position = Position::from_cursor(cursor);
    if position.shard >= shards {
        return Err(reply(0, Vec::new()));
    }
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
            options.count = u32::try_from(count).unwrap_or(MAX_COUNT).min(MAX_COUNT);
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

/// Where a scan stands: a shard, and the upper bits of the position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    shard: ShardId,
    hash: u64,
}

impl Position {
    fn from_cursor(cursor: u64) -> Self {
        Self { shard: (cursor & SHARD_MASK) as ShardId, hash: cursor & !SHARD_MASK }
    }

    fn cursor(self) -> u64 {
        self.hash | u64::from(self.shard)
    }
}

/// A scan under way in one call.
struct Scan {
    options: Options,
    shards: u32,
    position: Position,
    found: Vec<Key>,
    /// How many more steps this call may take.
    budget: u32,
}

impl Scan {
    fn step(self) -> Step {
        let Position { shard, hash } = self.position;
        let query = Query::Scan { cursor: hash, count: self.options.count };
        let request = Request { shard, op: Op::Read(query) };
        Step::Many(vec![request], Box::new(|results| self.take(results).unwrap_or_else(Step::Done)))
    }

    fn take(mut self, results: Vec<Result<Outcome, Error>>) -> Planned {
        let (cursor, keys) = match all_read(results)?.pop() {
            Some(Outcome::Keys { cursor, keys }) => (cursor, keys),
            Some(outcome) => return Err(other(outcome)),
            None => return Err(errors::unexpected_outcome()),
        };
        let next = Position { shard: self.position.shard, hash: cursor & !SHARD_MASK };
        if cursor != 0 && next == self.position {
            self.options.count = self.options.count.saturating_mul(2);
            return Ok(self.step());
        }
        self.found.extend(keys);
        self.position = if cursor == 0 { Position { shard: next.shard + 1, hash: 0 } } else { next };
        self.budget -= 1;
        if self.position.shard == self.shards {
            return Ok(Step::Done(reply(0, self.shown())));
        }
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
    fn a_cursor_never_points_behind_the_position_that_it_stands_for() {
        for (shard, hash) in [(0, u64::MAX), (16_383, 1 << 14), (7, (5 << 14) + 3)] {
            let position = Position { shard, hash: hash & !SHARD_MASK };
            assert_eq!(Position::from_cursor(position.cursor()), position);
            assert!(position.hash <= hash);
        }
    }

    #[test]
    fn a_step_that_stands_still_is_repeated_with_a_larger_count() {
        let options = Options { pattern: None, count: 1, no_type: false };
        let scan = Scan {
            options,
            shards: 1,
            position: Position { shard: 0, hash: 1 << 14 },
            found: Vec::new(),
            budget: 5,
        };
        let keys = vec![Bytes::from_static(b"a")];
        match scan.take(vec![Ok(Outcome::Keys { cursor: (1 << 14) + 9, keys })]) {
            Ok(Step::Many(requests, _)) => {
                assert_eq!(requests[0].op, Op::Read(Query::Scan { cursor: 1 << 14, count: 2 }));
            }
            _ => panic!("another step is due"),
        }
    }
}
