//! Rules that scripts can't show: bounds, gaps, copies, recent hashes, the planted clock.

use bytes::Bytes;

use crate::{
    machine::{
        LogRecord, MAX_EXPIRED_PER_ENTRY, Machine,
        codec::{decode_record, encode_record},
        command::{Command, Condition, Expiry, Put, Query},
        model::ModelStore,
        store::EntryStore,
    },
    types::{LogIndex, Timestamp},
};

fn put(key: String, expiry: Expiry) -> Command {
    Command::Put(Put {
        key: key.into(),
        value: "value".into(),
        expiry,
        condition: Condition::Always,
        return_old: false,
    })
}

fn record(stamp: u64, commands: Vec<Command>) -> LogRecord {
    LogRecord { stamp: Timestamp(stamp), commands, ..Default::default() }
}

fn new() -> Machine<ModelStore> {
    Machine::new(ModelStore::new())
}

#[test]
fn many_expired_keys_go_over_several_entries() {
    let mut machine = new();
    let keys = 2 * MAX_EXPIRED_PER_ENTRY + 1;
    let commands = (0..keys).map(|n| put(format!("k{n}"), Expiry::AfterMs(1 + n as u64))).collect();
    machine.apply(LogIndex(1), record(0, commands));
    machine.apply(LogIndex(2), record(1_000_000, vec![]));
    assert_eq!(machine.len(), keys - MAX_EXPIRED_PER_ENTRY);
    // The soonest deadlines went first, and what is left is invisible all the same.
    assert_eq!(machine.next_deadline(), Some(Timestamp(MAX_EXPIRED_PER_ENTRY as u64 + 1)));
    let size = machine.read(&Query::Size, Timestamp(0));
    assert_eq!(size, Ok(crate::machine::command::Outcome::Count(0)));
    machine.apply_empty(LogIndex(3));
    assert_eq!(machine.len(), keys - MAX_EXPIRED_PER_ENTRY, "an entry of Raft's own removes nothing");
    machine.apply(LogIndex(4), record(0, vec![]));
    machine.apply(LogIndex(5), record(0, vec![]));
    assert_eq!((machine.len(), machine.weight_bytes(), machine.state_hash()), (0, 0, 0));
}

#[test]
#[should_panic(expected = "a gap in the log: applied 1")]
fn a_gap_in_the_log_stops_the_machine() {
    let mut machine = new();
    machine.apply(LogIndex(1), LogRecord::default());
    machine.apply(LogIndex(3), LogRecord::default());
}

#[test]
#[should_panic(expected = "a gap in the log: applied 1")]
fn a_doubled_entry_stops_the_machine() {
    let mut machine = new();
    machine.apply_empty(LogIndex(1));
    machine.apply_empty(LogIndex(1));
}

/// A stored slice of a 12 MiB entry would keep all of it in memory.
#[test]
fn what_is_stored_does_not_pin_the_log_buffer() {
    let commands = vec![
        put("k".into(), Expiry::Never),
        Command::Append { key: "k".into(), suffix: "!".into() },
        Command::Append { key: "new".into(), suffix: "x".into() },
        Command::SetRange { key: "range".into(), offset: 0, patch: "x".into() },
        Command::Increment { key: "n".into(), delta: 1 },
        Command::IncrementFloat { key: "f".into(), delta: "1.5".into() },
        put("d".into(), Expiry::AfterMs(9)),
    ];
    let buffer = Bytes::from(encode_record(&record(1, commands)));
    let within = |bytes: &Bytes| buffer.as_ptr_range().contains(&bytes.as_ptr());
    let decoded = decode_record(&buffer).expect("a record");
    assert!(matches!(&decoded.commands[0], Command::Put(put) if within(&put.value)), "decoding copies nothing");

    let mut machine = new();
    machine.apply(LogIndex(1), decoded);
    assert_eq!(machine.len(), 6);
    for entry in machine.store().iter() {
        assert!(!within(&entry.key_bytes()) && !within(&entry.value_bytes()), "{entry:?}");
    }
    assert!(buffer.is_unique(), "no index holds a slice either");
}

#[test]
fn hashes_of_recent_multiples_are_kept() {
    let mut machine = new();
    machine.set_hash_interval(2);
    let mut hashes = Vec::new();
    for index in 1..=6 {
        machine.apply(LogIndex(index), record(0, vec![put(format!("k{index}"), Expiry::Never)]));
        hashes.push(machine.state_hash());
    }
    machine.apply_empty(LogIndex(7));
    machine.apply_empty(LogIndex(8));
    assert_eq!(machine.hash_at(LogIndex(4)), Some(hashes[3]));
    assert_eq!(machine.hash_at(LogIndex(5)), None);
    let recent: Vec<_> = machine.recent_hashes().collect();
    let want = [(2, 1), (4, 3), (6, 5), (8, 5)].map(|(index, at)| (LogIndex(index), hashes[at]));
    assert_eq!(recent, want);
}

#[test]
fn reads_teach_the_tier_only_when_told() {
    let mut machine = new();
    let commands = (0..65).map(|n| put(format!("k{n}"), Expiry::Never)).collect();
    machine.apply(LogIndex(1), record(0, commands));
    assert_eq!(machine.store().tier_get(b"k0"), None);
    let query = Query::Multi(vec![Query::Get { key: "k0".into() }, Query::Exists { key: "k1".into() }]);
    machine.read(&query, Timestamp(0)).expect("no deadlines here");
    assert_eq!(machine.store().tier_get(b"k0"), None);
    machine.note_access(&query);
    assert_eq!(machine.store().tier_get(b"k0"), machine.store().get(b"k0"));
    assert_eq!(machine.store().tier_get(b"k1"), None, "EXISTS is no access");
}

/// What a scan or a draw comes to once the first keys are gone may have passed its deadline too.
#[test]
fn one_stamp_decides_a_read() {
    let queries = [Query::Scan { cursor: 0, count: 1 }, Query::RandomKey { seed: 1 }, Query::Size];
    for query in queries {
        let mut machine = new();
        let commands = (0..5).map(|n| put(format!("k{n}"), Expiry::AfterMs(10 + n))).collect();
        machine.apply(LogIndex(1), record(0, commands));
        let needs = machine.read(&query, Timestamp(13)).expect_err("four have passed");
        assert_eq!(needs.at, Timestamp(13), "{query:?}");
        machine.apply(LogIndex(2), record(needs.at.0, vec![]));
        assert!(machine.read(&query, Timestamp(13)).is_ok(), "{query:?}");
    }
}

#[cfg(feature = "planted-faults")]
#[test]
fn by_local_clocks_replicas_differ() {
    use crate::faults::{Fault, Faults};

    let replica = |clock: u64| {
        let mut machine = new();
        machine.set_faults(Faults::none().with(Fault::ExpiryByLocalClock));
        machine.set_local_clock(Timestamp(clock));
        machine.apply(LogIndex(1), record(100, vec![put("k".into(), Expiry::At(Timestamp(150)))]));
        machine.state_hash()
    };
    assert_ne!(replica(100), replica(200));
}
