//! What clients ask: a mix of every command over few keys, so that they meet.
//!
//! Values are unique, so that a read names the write that it saw. Each shard has text keys, number keys and one pair
//! of twins that only atomic batches write. Pure: from dice and what was seen to the next operations.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    machine::command::{Command, Condition, ExpireCondition, Expiry, Found, Op, Outcome, Put, Query},
    testing::plan::Load,
    types::{Draw, GroupId, Key, ShardId, Timestamp, Value, Version},
};

/// Increments set the bits below this, puts those above.
const NUMBER_BITS: u64 = 50;

/// Operations of one call, which go to one shard.
#[derive(Debug)]
pub struct Ask {
    /// The shard.
    pub shard: ShardId,
    /// In their order.
    pub ops: Vec<Op>,
}

impl Ask {
    /// Its group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId::of_shard(self.shard)
    }
}

/// Draws the clients' operations.
#[derive(Debug)]
pub struct Workload {
    load: Load,
    shards: u32,
    values: u64,
    /// The last value that any client saw of a key: what compare-and-set expects.
    seen: BTreeMap<Key, (Value, Version)>,
}

impl Workload {
    /// A workload over this many shards.
    #[must_use]
    pub fn new(load: Load, shards: u32) -> Self {
        Self { load, shards, values: 0, seen: BTreeMap::new() }
    }

    /// All keys, with their shards.
    #[must_use]
    pub fn keys(&self) -> Vec<(ShardId, Key)> {
        let mut keys = Vec::new();
        for shard in 0..self.shards {
            keys.extend((0..self.load.text_keys).map(|i| (shard, text_key(shard, i))));
            keys.extend([(shard, number_key(shard)), (shard, twin_key(shard, 'a')), (shard, twin_key(shard, 'b'))]);
        }
        keys
    }

    /// The next call. `wall_ms` is what the client believes the time to be.
    pub fn next(&mut self, draw: &mut Draw, wall_ms: u64) -> Ask {
        // The first shard gets most of the load.
        let shard = (draw.below(u64::from(self.shards)) * draw.below(2)) as u32;
        let count = if draw.below(3) == 0 { 1 + draw.below(5) } else { 1 };
        let ops = (0..count).map(|_| self.op(draw, shard, wall_ms)).collect();
        Ask { shard, ops }
    }

    /// Learns from an answer.
    pub fn learn(&mut self, op: &Op, outcome: &Outcome) {
        let (Op::Read(Query::Get { key }), Outcome::Value(Some(found))) = (op, outcome) else { return };
        let Found { value, meta } = found;
        self.seen.insert(key.clone(), (value.clone(), meta.version));
    }

    fn op(&mut self, draw: &mut Draw, shard: ShardId, wall_ms: u64) -> Op {
        let text = text_key(shard, draw.below(self.load.text_keys).min(draw.below(self.load.text_keys)));
        let is_read = draw.below(100) < self.load.reads;
        match (draw.below(10), is_read) {
            (0, true) => Op::Read(get_both(shard)),
            (0, false) if draw.below(3) == 0 => Op::Write(self.put_hidden(shard)),
            (0, false) => Op::Write(self.put_both(draw, shard)),
            (1 | 2, true) => Op::Read(Query::Get { key: number_key(shard) }),
            (1 | 2, false) => Op::Write(self.number_command(draw, number_key(shard))),
            (_, true) => Op::Read(query(draw, text)),
            (_, false) => Op::Write(self.text_command(draw, text, wall_ms)),
        }
    }

    fn text_command(&mut self, draw: &mut Draw, key: Key, wall_ms: u64) -> Command {
        match draw.below(20) {
            0..=8 => self.put(draw, key, wall_ms),
            9 | 10 => Command::Delete { condition: self.condition(draw, &key), key },
            11 => Command::Take { key },
            12 | 13 if self.load.ttl => Command::Expire {
                key,
                expiry: expiry(draw, wall_ms),
                condition: expire_condition(draw),
                return_value: draw.below(3) == 0,
            },
            12 => Command::Touch { key },
            13..=15 => Command::Append { key, suffix: self.value() },
            16 => Command::SetRange { key, offset: draw.below(6), patch: self.value() },
            17 if self.load.flush => Command::Flush,
            17 => Command::Read(Query::Get { key }),
            _ => {
                let (append, put) = (self.value(), self.put(draw, key.clone(), wall_ms));
                Command::Batch(vec![
                    put,
                    Command::Append { key: key.clone(), suffix: append },
                    Command::Read(Query::Get { key }),
                ])
            }
        }
    }

    fn number_command(&mut self, draw: &mut Draw, key: Key) -> Command {
        if draw.below(8) > 0 {
            self.values += 1;
            // A bit of its own in the sum, so that a sum says which increments are in it.
            return Command::Increment { key, delta: 1 << (self.values % NUMBER_BITS) };
        }
        self.values += 1;
        let value = Bytes::from(((self.values % 4_096) << NUMBER_BITS).to_string());
        Command::Put(Put { key, value, expiry: Expiry::Never, condition: Condition::Always, return_old: false })
    }

    fn put(&mut self, draw: &mut Draw, key: Key, wall_ms: u64) -> Command {
        let condition = self.condition(draw, &key);
        let expiry = if self.load.ttl && draw.below(2) == 0 { expiry(draw, wall_ms) } else { Expiry::Default };
        Command::Put(Put { key, value: self.value(), expiry, condition, return_old: draw.below(4) == 0 })
    }

    fn put_both(&mut self, draw: &mut Draw, shard: ShardId) -> Command {
        let value = self.value();
        let expiry = if self.load.ttl && draw.below(3) == 0 { Expiry::AfterMs(1_000) } else { Expiry::Never };
        let put = |half| {
            let (key, value) = (twin_key(shard, half), value.clone());
            Command::Put(Put { key, value, expiry, condition: Condition::Always, return_old: false })
        };
        Command::Batch(vec![put('a'), put('b')])
    }

    fn put_hidden(&mut self, shard: ShardId) -> Command {
        let (key, value) = (hidden_key(shard), self.value());
        let (expiry, condition) = (Expiry::Never, Condition::Always);
        Command::Put(Put { key, value, expiry, condition, return_old: false })
    }

    fn condition(&self, draw: &mut Draw, key: &Key) -> Condition {
        let seen = self.seen.get(key);
        match (draw.below(12), seen) {
            (0, _) => Condition::IfAbsent,
            (1, _) => Condition::IfPresent,
            (2, Some((value, _))) => Condition::IfValue(value.clone()),
            (3, Some((_, version))) => Condition::IfVersion(*version),
            (_, _) => Condition::Always,
        }
    }

    fn value(&mut self) -> Value {
        self.values += 1;
        Bytes::from(format!("v{}.", self.values))
    }
}

fn text_key(shard: ShardId, i: u64) -> Key {
    Bytes::from(format!("text-{shard}-{i}"))
}

fn number_key(shard: ShardId) -> Key {
    Bytes::from(format!("number-{shard}"))
}

fn twin_key(shard: ShardId, half: char) -> Key {
    Bytes::from(format!("twin-{shard}-{half}"))
}

/// A key that clients only overwrite: the place to damage a replica where no read can see it.
#[must_use]
pub fn hidden_key(shard: ShardId) -> Key {
    Bytes::from(format!("hidden-{shard}"))
}

/// A read of both twins of a shard at one position.
#[must_use]
pub fn get_both(shard: ShardId) -> Query {
    Query::Multi(vec![Query::Get { key: twin_key(shard, 'a') }, Query::Get { key: twin_key(shard, 'b') }])
}

fn query(draw: &mut Draw, key: Key) -> Query {
    match draw.below(12) {
        0 => Query::Exists { key },
        1 => Query::Strlen { key },
        2 => Query::Meta { key },
        3 => Query::GetRange { key, start: draw.below(9) as i64 - 4, end: draw.below(9) as i64 - 4 },
        _ => Query::Get { key },
    }
}

fn expiry(draw: &mut Draw, wall_ms: u64) -> Expiry {
    match draw.below(6) {
        0 => Expiry::Never,
        1 => Expiry::At(Timestamp(wall_ms + draw.below(2_000) - 300)),
        2..=4 => Expiry::AfterMs(20 + draw.below(600)),
        _ => Expiry::AfterMs(draw.below(4_000)),
    }
}

fn expire_condition(draw: &mut Draw) -> ExpireCondition {
    match draw.below(8) {
        0 => ExpireCondition::IfNone,
        1 => ExpireCondition::IfSome,
        2 => ExpireCondition::IfLater,
        3 => ExpireCondition::IfEarlier,
        _ => ExpireCondition::Always,
    }
}
