//! Whatever bytes arrive as a request, judging it does not panic, and what is let through is within the limits.

use crema_api::v1::{self, BatchOp, BatchRequest};
use proptest::prelude::*;
use prost::Message;

use crate::{
    grpc::{
        batch::Batch,
        operation::{Operation, check_key},
        scan::Page,
    },
    machine::command::{Command, Op},
    partitioning::{ShardMap, SlotHash},
    types::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

fn judge<O: Operation + Message + Default>(bytes: &[u8]) {
    let Ok(request) = O::decode(bytes) else { return };
    let (key, level) = (check_key(request.key()), request.level());
    let length = request.key().len();
    let op = request.into_op();
    if key.is_ok() && level.is_ok() {
        assert!((1..=MAX_KEY_BYTES).contains(&length));
    }
    if let Ok(Op::Write(Command::Put(put))) = op {
        assert!(put.value.len() <= MAX_VALUE_BYTES);
    }
}

fn judge_all(bytes: &[u8]) {
    judge::<v1::GetRequest>(bytes);
    judge::<v1::ExistsRequest>(bytes);
    judge::<v1::PutRequest>(bytes);
    judge::<v1::DeleteRequest>(bytes);
    judge::<v1::CompareAndSetRequest>(bytes);
    judge::<v1::IncrementRequest>(bytes);
    judge::<v1::ExpireRequest>(bytes);
    let map = ShardMap::new(SlotHash::Crc16, 4);
    if let Ok(request) = BatchRequest::decode(bytes)
        && let Ok(batch) = Batch::new(request, &map)
    {
        assert!(batch.shard < 4);
    }
    if let Ok(op) = BatchOp::decode(bytes) {
        let _ = Batch::new(BatchRequest { ops: vec![op] }, &map);
    }
    if let Ok(request) = v1::ScanRequest::decode(bytes)
        && let Ok(page) = Page::new(request, 4)
    {
        assert!(page.shard < 4);
    }
}

proptest! {
    #[test]
    fn random_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        judge_all(&bytes);
    }

    /// Bytes that are nearly a message reach further than random ones.
    #[test]
    fn damaged_requests_are_judged(
        key in proptest::collection::vec(any::<u8>(), 0..20),
        value in proptest::collection::vec(any::<u8>(), 0..20),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let put = v1::PutRequest { key: key.into(), value: value.into(), ..v1::PutRequest::default() };
        let mut bytes = put.encode_to_vec();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        judge_all(&bytes);
    }
}
