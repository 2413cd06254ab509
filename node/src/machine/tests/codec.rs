//! The codec: round trips, golden bytes, sizes, and what it refuses.

use bytes::Bytes;
use crema_api::v1::log as pb;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::arbitrary;
use crate::{
    machine::{
        LogRecord, Settings,
        codec::*,
        command::{Command, Condition, Expiry, Op, Put, Query, Refusal},
        store::{Capacity, EvictionPolicy},
    },
    types::{Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Timestamp, Version},
};

proptest! {
    #[test]
    fn records_come_back(record in arbitrary::record()) {
        let bytes = Bytes::from(encode_record(&record));
        prop_assert_eq!(peek_stamp(&bytes), Some(record.stamp));
        prop_assert_eq!(decode_record(&bytes), Ok(record));
    }

    #[test]
    fn operations_come_back(command in arbitrary::command(), query in arbitrary::query()) {
        for op in [Op::Write(command), Op::Read(query)] {
            prop_assert_eq!(decode_op(&encode_op(&op)), Ok(op));
        }
    }

    #[test]
    fn outcomes_come_back(outcome in arbitrary::outcome()) {
        prop_assert_eq!(decode_outcome(&encode_outcome(&outcome)), Ok(outcome));
    }

    #[test]
    fn a_command_takes_no_more_than_its_size(command in arbitrary::command()) {
        let size = command_size(&command);
        let one = LogRecord { commands: vec![command], ..Default::default() };
        prop_assert!(encode_record(&one).len() <= size + encode_record(&LogRecord::default()).len());
    }

    #[test]
    fn nothing_makes_a_decoder_panic(bytes in vec(any::<u8>(), 0..200), body in vec(any::<u8>(), 0..100)) {
        let bytes = Bytes::from(bytes);
        let _ = (decode_record(&bytes), decode_op(&bytes), decode_outcome(&bytes), peek_stamp(&bytes));
        let mut record = vec![FEATURE_LEVEL, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend(body);
        let _ = decode_record(&Bytes::from(record));
    }

    #[test]
    fn nor_do_damaged_records(record in arbitrary::record(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = encode_record(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = decode_record(&Bytes::from(bytes));
    }
}

/// A changed byte here is a changed format: it needs a new feature level.
#[test]
fn the_bytes_are_pinned() {
    let record = LogRecord {
        stamp: Timestamp(0x0102),
        commands: vec![
            Command::Put(Put {
                key: "k".into(),
                value: "v".into(),
                expiry: Expiry::AfterMs(5),
                condition: Condition::IfAbsent,
                return_old: true,
            }),
            Command::Flush,
        ],
        evictions: vec![("e".into(), Version(3))],
        settings: Some(Settings {
            capacity: Capacity { max_entries: 1, max_bytes: 2 },
            policy: EvictionPolicy::Lru,
            default_ttl_ms: Some(0),
        }),
    };
    let bytes: String = encode_record(&record).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        bytes,
        "0102010000000000000a120a100a016b1201761a02100522020a0028010a02520012050a016510031a080801100218012000"
    );
}

#[test]
fn what_this_build_does_not_know_is_an_error() {
    let mut newer = encode_record(&LogRecord::default());
    newer[0] = FEATURE_LEVEL + 1;
    let newer = decode_record(&Bytes::from(newer)).map_err(|error| error.to_string());
    assert_eq!(newer, Err("feature level 2 is not among those this build reads (1 to 1)".to_owned()));
    assert_eq!(decode_record(&Bytes::new()), Err(DecodeError::Truncated { what: "a log record" }));

    // A field 15 that a later release might add to Record, then a command of a kind that is not known.
    for body in [&[0x78, 1][..], &[0x0a, 2, 0x78, 1], &[0x0a, 0]] {
        let mut bytes = vec![FEATURE_LEVEL, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(body);
        assert!(matches!(decode_record(&bytes.into()), Err(DecodeError::Unknown { .. })), "{body:?}");
    }
    let expire = pb::Expire { condition: 6, expiry: None, ..Default::default() };
    let command = pb::Command { command: Some(pb::command::Command::Expire(expire)) };
    let op = pb::Op { op: Some(pb::op::Op::Write(command)) };
    let unknown = DecodeError::Unknown { what: "a condition on a deadline" };
    assert_eq!(decode_op(&op.encode_to_vec().into()), Err(unknown));
    let refused = pb::Outcome { outcome: Some(pb::outcome::Outcome::Refused(8)) };
    let unknown = DecodeError::Unknown { what: "a refusal" };
    assert_eq!(decode_outcome(&refused.encode_to_vec().into()), Err(unknown));
}

fn write(key: usize, value: usize) -> Op {
    Op::Write(Command::Append { key: vec![b'k'; key].into(), suffix: vec![b'v'; value].into() })
}

#[test]
fn operations_are_checked_before_they_are_proposed() {
    assert_eq!(check_op(&write(1, 0)), Ok(()));
    assert_eq!(check_op(&write(MAX_KEY_BYTES, MAX_VALUE_BYTES)), Ok(()));
    assert_eq!(check_op(&write(0, 0)), Err(Refusal::Invalid));
    assert_eq!(check_op(&write(MAX_KEY_BYTES + 1, 0)), Err(Refusal::TooLong));
    assert_eq!(check_op(&write(1, MAX_VALUE_BYTES + 1)), Err(Refusal::TooLong));

    let part = || Command::Append { key: "k".into(), suffix: vec![0; MAX_VALUE_BYTES].into() };
    assert_eq!(check_op(&Op::Write(Command::Batch(vec![part()]))), Ok(()));
    assert_eq!(check_op(&Op::Write(Command::Batch(vec![part(), part()]))), Err(Refusal::TooLong));
    let nested = Command::Batch(vec![Command::Batch(vec![])]);
    assert_eq!(check_op(&Op::Write(nested)), Err(Refusal::Invalid));
    let nested = Query::Multi(vec![Query::Multi(vec![])]);
    assert_eq!(check_op(&Op::Read(nested.clone())), Err(Refusal::Invalid));
    assert_eq!(check_op(&Op::Write(Command::Read(nested))), Err(Refusal::Invalid));
    assert_eq!(check_op(&Op::Read(Query::Get { key: Key::new() })), Err(Refusal::Invalid));
}
