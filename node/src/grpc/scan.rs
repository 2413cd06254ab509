//! Scanning: one page of one shard at a time, the cursor saying which.
//!
//! Pure but for what it is given. A cursor is the shard's number and the machine's cursor, 12 bytes; clients
//! must not look inside.

use bytes::Bytes;
use crema_api::v1::{ScanRequest, ScanResponse};

use super::{
    failure::{Failure, invalid},
    operation::{Level, level},
};
use crate::{
    error::Error,
    machine::command::{Outcome, Query},
    types::ShardId,
};

const DEFAULT_COUNT: u32 = 100;
const MAX_COUNT: u32 = 10_000;

/// What the keys of a page may take; far below the message limit, since every key has its framing.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// A page that was asked for.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) shard: ShardId,
    pub(super) level: Level,
    cursor: u64,
    count: u32,
    prefix: Bytes,
    shards: u32,
}

/// What came of a page.
#[derive(Debug)]
pub(super) enum Turned {
    /// Here it is.
    Done(ScanResponse),
    /// It was too large: ask for the smaller one.
    Smaller(Page),
}

impl Page {
    /// Judges a request.
    pub(super) fn new(request: ScanRequest, shards: u32) -> Result<Self, Error> {
        let ScanRequest { cursor, count, prefix, read_level } = request;
        let (shard, cursor) = position(&cursor, shards)?;
        let count = match count {
            0 => DEFAULT_COUNT,
            1..=MAX_COUNT => count,
            _ => return Err(invalid("count", format!("it is {count}; the limit is {MAX_COUNT}"))),
        };
        Ok(Self { shard, level: level(read_level)?, cursor, count, prefix, shards })
    }

    /// The question to the shard.
    pub(super) fn query(&self) -> Query {
        Query::Scan { cursor: self.cursor, count: self.count }
    }

    /// The page from the shard's answer. Keys are filtered here, so a page may come out empty.
    pub(super) fn turn(self, outcome: Outcome) -> Result<Turned, Failure> {
        let Outcome::Keys { cursor, keys } = outcome else { return Err(Failure::Mismatch) };
        if self.count > 1 && keys.iter().map(Bytes::len).sum::<usize>() > MAX_PAGE_BYTES {
            return Ok(Turned::Smaller(Self { count: self.count / 2, ..self }));
        }
        let keys = keys.into_iter().filter(|key| key.starts_with(&self.prefix)).collect();
        let cursor = match (cursor, self.shard + 1) {
            (0, next) if next == self.shards => Bytes::new(),
            (0, next) => encode(next, 0),
            (more, _) => encode(self.shard, more),
        };
        Ok(Turned::Done(ScanResponse { keys, cursor }))
    }
}

fn position(cursor: &[u8], shards: u32) -> Result<(ShardId, u64), Error> {
    if cursor.is_empty() {
        return Ok((0, 0));
    }
    let parts = cursor.split_first_chunk().and_then(|(shard, rest)| Some((shard, <&[u8; 8]>::try_from(rest).ok()?)));
    let Some((shard, cursor)) = parts.map(|(s, c)| (u32::from_be_bytes(*s), u64::from_be_bytes(*c))) else {
        return Err(invalid("cursor", format!("it has {} bytes; it is not one that Scan gave", cursor.len())));
    };
    if shard >= shards {
        return Err(invalid("cursor", format!("it is of shard {shard}; there are {shards}")));
    }
    Ok((shard, cursor))
}

fn encode(shard: ShardId, cursor: u64) -> Bytes {
    [&shard.to_be_bytes()[..], &cursor.to_be_bytes()].concat().into()
}
