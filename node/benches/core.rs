//! What every write goes through on each replica, without disk and network: `cargo bench -p crema --bench core`.
//!
//! Prints ns per command, for log entries of 1 and of 64 commands with values of 256 bytes: the machine's apply over the
//! production store, the codecs of log entries and of what nodes forward to each other, and those of checkpoints.

mod common;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use common::best;
use crema::{
    cache::store::{StoreConfig, entry_store},
    checkpoint::{Encoder, Head, decode_all},
    machine::{
        LogRecord, Machine,
        capture::CaptureStep,
        codec::{FEATURE_LEVEL, decode_op, decode_outcome, decode_record, encode_op, encode_outcome, encode_record},
        command::{Command, Condition, Expiry, Op, Outcome, Put},
        store::{Capacity, Entry, EvictionPolicy},
    },
    types::{Draw, LogIndex, Timestamp, Version},
};

const KEYS: u64 = 100_000;
const COMMANDS: usize = 200_000;
const VALUE: &[u8] = &[7; 256];
/// Entries of a checkpoint's block.
const BLOCK: usize = 256;

fn main() {
    for batch in [1, 64] {
        let records = records(batch);
        apply(batch, &records, Expiry::Default, 0);
        apply(batch, &records_with(batch, Expiry::AfterMs(60_000)), Expiry::AfterMs(60_000), 0);
        apply(batch, &records, Expiry::Default, 2 * KEYS);
        let bytes: Vec<Bytes> = records.iter().map(|record| encode_record(record).into()).collect();
        let ns = best(COMMANDS, || records.iter().for_each(|record| drop(black_box(encode_record(record)))));
        println!("log entry of {batch}, encode: {ns:.0} ns per command");
        let ns = best(COMMANDS, || {
            bytes.iter().for_each(|bytes| drop(black_box(decode_record(bytes).expect("a record"))))
        });
        println!("log entry of {batch}, decode: {ns:.0} ns per command");
    }
    forwards();
    checkpoints();
}

fn put(key: u64, expiry: Expiry) -> Command {
    let (key, value) = (format!("user:{key:08}").into(), Bytes::from_static(VALUE));
    Command::Put(Put { key, value, expiry, condition: Condition::Always, return_old: false })
}

fn records(batch: usize) -> Vec<LogRecord> {
    records_with(batch, Expiry::Default)
}

fn records_with(batch: usize, expiry: Expiry) -> Vec<LogRecord> {
    let mut draw = Draw::new(1);
    let record = |stamp| LogRecord {
        stamp: Timestamp(stamp as u64),
        commands: (0..batch).map(|_| put(draw.below(KEYS), expiry)).collect(),
        ..LogRecord::default()
    };
    (1..=COMMANDS / batch).map(record).collect()
}

/// Applies all records, again and again, to one machine: most commands overwrite.
fn apply(batch: usize, records: &[LogRecord], expiry: Expiry, max_entries: u64) {
    let (store, _reader) = entry_store(StoreConfig {
        capacity: Capacity { max_entries, max_bytes: 0 },
        policy: EvictionPolicy::TinyLfu,
    });
    let mut machine = Machine::new(store);
    let mut index = 0;
    let ns = best(COMMANDS, || {
        for record in records {
            index += 1;
            black_box(machine.apply(LogIndex(index), record.clone()));
        }
    });
    let tier = if max_entries > 0 { ", with a tier" } else { "" };
    let deadlines = if expiry == Expiry::Default { "" } else { ", with deadlines" };
    println!("apply entries of {batch}{tier}{deadlines}: {ns:.0} ns per command");
}

/// A write that came to another node than the leader, there and back.
fn forwards() {
    let op = Op::Write(put(7, Expiry::Default));
    let outcome = Outcome::Stored { version: Version(7), old: None };
    let (op_bytes, outcome_bytes) = (encode_op(&op), encode_outcome(&outcome));
    let each = |what: &str, run: &mut dyn FnMut()| {
        let ns = best(COMMANDS, || (0..COMMANDS).for_each(|_| run()));
        println!("{what}: {ns:.0} ns");
    };
    each("forwarded write, encode", &mut || drop(black_box(encode_op(black_box(&op)))));
    each("forwarded write, decode", &mut || drop(black_box(decode_op(black_box(&op_bytes)).expect("an operation"))));
    each("its outcome, encode", &mut || drop(black_box(encode_outcome(black_box(&outcome)))));
    each("its outcome, decode", &mut || {
        drop(black_box(decode_outcome(black_box(&outcome_bytes)).expect("an outcome")))
    });
}

/// A whole shard to bytes and back, in memory.
fn checkpoints() {
    let (store, _reader) =
        entry_store(StoreConfig { capacity: Capacity::default(), policy: EvictionPolicy::TinyLfu });
    let mut machine = Machine::new(store);
    for (index, record) in records(64).into_iter().enumerate() {
        machine.apply(LogIndex(index as u64 + 1), record);
    }
    let head = Head { feature_level: FEATURE_LEVEL, machine: machine.begin_capture(), ..Head::default() };
    let entries = captured(&mut machine);
    let encode = || {
        let (mut encoder, header) = Encoder::new(&head);
        let mut bytes = header.to_vec();
        entries.chunks(BLOCK).for_each(|block| bytes.extend_from_slice(&encoder.block(block)));
        bytes.extend_from_slice(&encoder.finish().expect("what was captured is what the head says"));
        bytes
    };
    let ns = best(entries.len(), || drop(black_box(encode())));
    println!("checkpoint, encode: {ns:.0} ns per entry");
    let bytes = encode();
    let ns = best(entries.len(), || drop(black_box(decode_all(black_box(&bytes)).expect("what was just written"))));
    println!("checkpoint, decode: {ns:.0} ns per entry, of {} entries in {} bytes", entries.len(), bytes.len());
}

fn captured(machine: &mut Machine<crema::cache::store::Store>) -> Vec<Arc<Entry>> {
    let mut entries = Vec::new();
    loop {
        match machine.capture_step(1_000) {
            CaptureStep::Entries(some) => entries.extend(some),
            CaptureStep::Last(some) => entries.extend(some),
            CaptureStep::Done => return entries,
        }
    }
}
