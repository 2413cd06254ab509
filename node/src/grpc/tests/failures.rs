//! What wrong requests and failing nodes are told, and that the node lives on.

use crema_api::v1::{
    self, BatchOp, BatchRequest, Effect, ErrorKind, NodeAddress, RefusalReason, batch_op::Op, increment_request::By,
    time_to_live::Ttl, write_condition::Condition,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::{Door, detail, get, open, put};
use crate::{
    error::Error,
    types::{LogIndex, NodeId},
};

fn ttl(ttl: Ttl) -> Option<v1::TimeToLive> {
    Some(v1::TimeToLive { ttl: Some(ttl) })
}

fn on(condition: Condition) -> Option<v1::WriteCondition> {
    Some(v1::WriteCondition { condition: Some(condition) })
}

/// The request must be refused for this field with this reason, before anything reached the node.
fn refused<T: std::fmt::Debug>(door: &Door, result: Result<T, tonic::Status>, field: &str, reason: &str) {
    let code = result.as_ref().err().map(tonic::Status::code);
    let detail = detail(result);
    assert_eq!((code, detail.kind()), (Some(Code::InvalidArgument), ErrorKind::Invalid));
    assert_eq!((detail.field.as_str(), detail.reason.as_str()), (field, reason));
    assert_eq!((detail.effect(), detail.retryable), (Effect::None, false));
    assert_eq!(door.node.take_log(), [], "nothing may be applied");
}

#[tokio::test]
async fn wrong_keys_and_values_are_named_with_their_limits() {
    let door = open(None).await;
    let mut cache = door.cache();
    refused(&door, cache.get(get("")).await, "key", "it is empty; a key has 1 to 65536 bytes");
    let long = "k".repeat(65_537);
    refused(&door, cache.get(get(&long)).await, "key", "it has 65537 bytes; the limit is 65536");
    let large = v1::PutRequest { value: vec![0; (8 << 20) + 1].into(), ..put("k", "") };
    refused(&door, cache.put(large).await, "value", "it has 8388609 bytes; the limit is 8388608");
    cache.put(v1::PutRequest { value: vec![0; 8 << 20].into(), ..put("k", "") }).await.unwrap();
    cache.put(put(&"k".repeat(65_536), "")).await.unwrap();
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let door = open(None).await;
    let mut cache = door.cache();
    let level = v1::GetRequest { read_level: 7, ..get("k") };
    refused(&door, cache.get(level).await, "read_level", "7 is not a read level (1 linearizable, 2 local)");
    let zero = v1::PutRequest { ttl: ttl(Ttl::AfterMs(0)), ..put("k", "v") };
    refused(&door, cache.put(zero).await, "ttl", "after_ms is 0; it must be at least 1");
    let version = v1::PutRequest { condition: on(Condition::Version(0)), ..put("k", "v") };
    refused(&door, cache.put(version).await, "condition", "version 0 is no version; ask for absent instead");
    let cas = v1::CompareAndSetRequest { key: "k".into(), ..v1::CompareAndSetRequest::default() };
    let reason = "it is not set; a put without a condition is Put";
    refused(&door, cache.compare_and_set(cas).await, "expected", reason);
    let nothing = v1::IncrementRequest { key: "k".into(), by: None };
    refused(&door, cache.increment(nothing).await, "by", "it is not set; give an integer or a decimal");
    let keep = v1::ExpireRequest { key: "k".into(), ttl: ttl(Ttl::Keep(true)), condition: 0 };
    let reason = "keep changes nothing here; give after_ms, at_unix_ms or never";
    refused(&door, cache.expire(keep).await, "ttl", reason);
    let cursor = v1::ScanRequest { cursor: "abc".into(), ..v1::ScanRequest::default() };
    refused(&door, cache.scan(cursor).await, "cursor", "it has 3 bytes; it is not one that Scan gave");
    let count = v1::ScanRequest { count: 10_001, ..v1::ScanRequest::default() };
    refused(&door, cache.scan(count).await, "count", "it is 10001; the limit is 10000");
}

#[tokio::test]
async fn wrong_batches_are_refused_as_a_whole() {
    let door = open(None).await;
    let mut cache = door.cache();
    let batch = |ops: Vec<Op>| BatchRequest { ops: ops.into_iter().map(|op| BatchOp { op: Some(op) }).collect() };
    refused(&door, cache.batch(batch(vec![])).await, "ops", "there are none");
    // Slot 12182 and slot 5061 of 16384, so shards 2 and 1 of four.
    let apart = batch(vec![Op::Put(put("foo", "v")), Op::Put(put("bar", "v"))]);
    let reason = "the key of op 1 is of shard 1, that of op 0 of shard 2; a batch has one shard";
    refused(&door, cache.batch(apart).await, "ops", reason);
    let wrong = batch(vec![Op::Get(get("foo")), Op::Get(get(""))]);
    refused(&door, cache.batch(wrong).await, "ops", "op 1: key: it is empty; a key has 1 to 65536 bytes");
    let many = batch(vec![Op::Get(get("k")); 10_001]);
    refused(&door, cache.batch(many).await, "ops", "there are 10001; the limit is 10000");
    let unset = BatchRequest { ops: vec![BatchOp { op: None }] };
    refused(&door, cache.batch(unset).await, "ops", "op 0: op: it is not set");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_reason() {
    let door = open(None).await;
    door.cache().put(put("k", "text")).await.unwrap();
    let add = v1::IncrementRequest { key: "k".into(), by: Some(By::Integer(1)) };
    let result = door.cache().increment(add).await;
    assert_eq!(result.as_ref().err().map(tonic::Status::code), Some(Code::FailedPrecondition));
    let detail = detail(result);
    assert_eq!((detail.kind(), detail.refusal()), (ErrorKind::Refused, RefusalReason::NotAnInteger));
    assert_eq!(detail.effect(), Effect::None);
}

#[tokio::test]
async fn every_error_has_its_code_its_detail_and_says_what_it_did() {
    let door = open(None).await;
    let expected = [
        (Error::NotLeader { shard: 3, hint: Some(NodeId(2)) }, Code::Unavailable, ErrorKind::NotLeader, true),
        (Error::Moved { slot: 9, shard: 3 }, Code::Aborted, ErrorKind::Moved, true),
        (Error::Unavailable { reason: "no quorum".into() }, Code::Unavailable, ErrorKind::Unavailable, true),
        (
            Error::OutcomeUnknown { reason: "deadline".into(), index: Some(LogIndex(8)) },
            Code::Unknown,
            ErrorKind::OutcomeUnknown,
            false,
        ),
        (Error::Busy { what: "mailbox" }, Code::ResourceExhausted, ErrorKind::Busy, true),
        (Error::Invalid { field: "f", reason: "r".into() }, Code::InvalidArgument, ErrorKind::Invalid, false),
        (Error::ShuttingDown, Code::Unavailable, ErrorKind::ShuttingDown, true),
        (Error::Fatal("disk".into()), Code::Internal, ErrorKind::Internal, false),
    ];
    for (error, code, kind, retryable) in expected {
        let may_be_applied = matches!(error, Error::OutcomeUnknown { .. } | Error::Fatal(_));
        let effect = if may_be_applied { Effect::Unknown } else { Effect::None };
        door.node.fail_next(error.clone());
        let result = door.cache().put(put("foo", "v")).await;
        assert_eq!(result.as_ref().err().map(tonic::Status::code), Some(code), "{error:?}");
        let detail = detail(result);
        assert_eq!((detail.kind(), detail.retryable, detail.effect()), (kind, retryable, effect), "{error:?}");
        assert!(detail.shard.is_some() && !detail.reason.is_empty(), "{error:?}");
        if kind == ErrorKind::NotLeader {
            assert_eq!(detail.leader, Some(NodeAddress { node: 2, address: "127.0.0.1:7002".into() }));
        }
        assert_eq!(detail.log_index, (kind == ErrorKind::OutcomeUnknown).then_some(8));
    }
}

/// A request with a number where the key should be.
#[derive(Clone, PartialEq, prost::Message)]
struct WrongRequest {
    #[prost(uint64, tag = "1")]
    key: u64,
}

#[tokio::test]
async fn malformed_protobuf_is_an_error_and_the_node_lives() {
    let door = open(None).await;
    let mut grpc = tonic::client::Grpc::new(door.channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<WrongRequest, v1::PutResponse>::default();
    let path = "/crema.v1.Cache/Put".parse().unwrap();
    let result = grpc.unary(tonic::Request::new(WrongRequest { key: 1 }), path, codec).await;
    assert_eq!(result.unwrap_err().code(), Code::Internal);
    assert_eq!(door.node.take_log(), []);
    door.cache().get(get("k")).await.unwrap();
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_and_the_node_lives() {
    let door = open(None).await;
    let huge = v1::PutRequest { value: vec![0; 17 << 20].into(), ..put("k", "") };
    assert_eq!(door.cache().put(huge).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(door.node.take_log(), []);
    door.cache().get(get("k")).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_speaks_something_else_is_closed() {
    let door = open(None).await;
    let mut stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
    stream.write_all(b"*1\r\n$4\r\nPING\r\n this is not HTTP/2 at all \r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed with or without a reset.
    stream.read_to_end(&mut answer).await.ok();
    door.cache().get(get("k")).await.unwrap();
}
