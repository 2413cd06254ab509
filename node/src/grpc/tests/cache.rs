//! What each call answers.

use std::time::Duration;

use crema_api::v1::{
    self, BatchOp, BatchRequest, ReadLevel, RefusalReason, WriteCondition, batch_op::Op, batch_result::Result as R,
    increment_request::By, increment_response::Sum, time_to_live::Ttl, write_condition::Condition,
};
use tonic::Request;

use super::{Door, get, open, open_on, put};
use crate::{
    door_fixture::{Asked, FakeNode},
    machine::command,
    types::NodeId,
};

fn on(condition: Condition) -> Option<WriteCondition> {
    Some(WriteCondition { condition: Some(condition) })
}

fn ttl(ttl: Ttl) -> Option<v1::TimeToLive> {
    Some(v1::TimeToLive { ttl: Some(ttl) })
}

fn batch(ops: impl IntoIterator<Item = Op>) -> BatchRequest {
    BatchRequest { ops: ops.into_iter().map(|op| BatchOp { op: Some(op) }).collect() }
}

async fn value(door: &Door, key: &str) -> Option<String> {
    let entry = door.cache().get(get(key)).await.unwrap().into_inner().entry?;
    Some(String::from_utf8(entry.value.into()).unwrap())
}

#[tokio::test]
async fn values_come_back_with_version_and_deadline() {
    let door = open(None).await;
    assert_eq!(value(&door, "k").await, None);
    let first = door.cache().put(put("k", "a")).await.unwrap().into_inner();
    let request = v1::PutRequest { ttl: ttl(Ttl::AfterMs(500)), return_old: true, ..put("k", "b") };
    let second = door.cache().put(request).await.unwrap().into_inner();
    assert!(second.stored && second.version > first.version);
    assert_eq!(second.old.unwrap().value, "a");
    let entry = door.cache().get(get("k")).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(entry.value, "b");
    let meta = entry.meta.unwrap();
    assert_eq!((meta.version, meta.expires_at_unix_ms, meta.ttl_ms), (second.version, Some(1_000_500), Some(500)));
    let there = door.cache().exists(v1::ExistsRequest { key: "k".into(), read_level: 0 }).await.unwrap();
    assert_eq!(there.into_inner().meta, Some(meta));
}

#[tokio::test]
async fn conditions_decide() {
    let door = open(None).await;
    let absent = |v| v1::PutRequest { condition: on(Condition::Absent(true)), ..put("k", v) };
    let first = door.cache().put(absent("a")).await.unwrap().into_inner();
    let second = door.cache().put(absent("b")).await.unwrap().into_inner();
    assert!(first.stored && !second.stored);
    assert_eq!(second.version, first.version, "the one that is there");
    let swap = |expected, value: &'static str| v1::CompareAndSetRequest {
        key: "k".into(),
        expected: on(expected),
        value: value.into(),
        ttl: None,
    };
    let won = door.cache().compare_and_set(swap(Condition::Version(first.version), "c")).await.unwrap().into_inner();
    let lost = door.cache().compare_and_set(swap(Condition::Value("a".into()), "d")).await.unwrap().into_inner();
    assert!(won.swapped && !lost.swapped);
    assert_eq!(lost.current.unwrap().value, "c");
    let delete = |condition| v1::DeleteRequest { key: "k".into(), condition };
    let kept = door.cache().delete(delete(on(Condition::Version(first.version)))).await.unwrap().into_inner();
    assert!(!kept.deleted && kept.version == won.version);
    assert!(door.cache().delete(delete(None)).await.unwrap().into_inner().deleted);
    assert!(!door.cache().delete(delete(None)).await.unwrap().into_inner().deleted);
}

#[tokio::test]
async fn numbers_and_deadlines_change_in_place() {
    let door = open(None).await;
    let add = |by| v1::IncrementRequest { key: "n".into(), by: Some(by) };
    let sum = door.cache().increment(add(By::Integer(-5))).await.unwrap().into_inner().sum;
    assert_eq!(sum, Some(Sum::Integer(-5)));
    let sum = door.cache().increment(add(By::Decimal("0.25".into()))).await.unwrap().into_inner().sum;
    assert_eq!(sum, Some(Sum::Decimal("-4.75".into())));
    let expire = |ttl, condition: v1::DeadlineCondition| v1::ExpireRequest {
        key: "n".into(),
        ttl,
        condition: condition.into(),
    };
    let only_later = expire(ttl(Ttl::AfterMs(9)), v1::DeadlineCondition::IfLater);
    assert!(!door.cache().expire(only_later).await.unwrap().into_inner().changed, "no deadline is the latest");
    let past = expire(ttl(Ttl::AtUnixMs(1)), v1::DeadlineCondition::Unspecified);
    assert!(door.cache().expire(past).await.unwrap().into_inner().changed);
    assert_eq!(value(&door, "n").await, None);
}

#[tokio::test]
async fn a_local_read_stays_on_the_node_and_a_linearizable_one_does_not() {
    let door = open(None).await;
    door.cache().put(put("k", "a")).await.unwrap();
    door.node.take_log();
    let local = v1::GetRequest { read_level: ReadLevel::Local.into(), ..get("k") };
    assert_eq!(door.cache().get(local).await.unwrap().into_inner().entry.unwrap().value, "a");
    assert!(matches!(door.node.take_log()[..], [Asked::Local(_)]));
    for level in [ReadLevel::Unspecified, ReadLevel::Linearizable] {
        door.cache().get(v1::GetRequest { read_level: level.into(), ..get("k") }).await.unwrap();
        assert!(matches!(door.node.take_log()[..], [Asked::Execute(..)]), "{level:?}");
    }
}

#[tokio::test]
async fn the_clients_deadline_bounds_the_wait_below() {
    let door = open(None).await;
    let mut request = Request::new(get("k"));
    request.set_timeout(Duration::from_secs(2));
    door.cache().get(request).await.unwrap();
    door.cache().get(get("k")).await.unwrap();
    let waits: Vec<Duration> = door.node.take_log().iter().map(wait).collect();
    assert_eq!(waits, [Duration::from_millis(1_800), Duration::from_secs(5)]);
}

fn wait(asked: &Asked) -> Duration {
    match asked {
        Asked::Execute(_, timeout) => *timeout,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_is_one_command_and_its_parts_are_judged_alone() {
    let door = open(None).await;
    let request = batch([
        Op::Put(put("{t}a", "text")),
        Op::Increment(v1::IncrementRequest { key: "{t}a".into(), by: Some(By::Integer(1)) }),
        Op::Get(get("{t}a")),
        Op::Delete(v1::DeleteRequest { key: "{t}b".into(), condition: None }),
    ]);
    let results: Vec<R> = results(&door, request).await;
    let asked = door.node.take_log();
    assert!(matches!(&asked[..], [Asked::Execute(r, _)] if matches!(r.op, command::Op::Write(_))), "{asked:?}");
    assert!(matches!(&results[0], R::Put(p) if p.stored));
    assert_eq!(results[1], R::Refused(RefusalReason::NotAnInteger.into()));
    assert!(matches!(&results[2], R::Get(g) if g.entry.as_ref().unwrap().value == "text"));
    assert!(matches!(&results[3], R::Delete(d) if !d.deleted));
}

#[tokio::test]
async fn a_batch_of_reads_needs_no_log_entry() {
    let door = open(None).await;
    let results = results(&door, batch([Op::Get(get("{t}a")), Op::Get(get("{t}b"))])).await;
    assert_eq!(results.len(), 2);
    let asked = door.node.take_log();
    assert!(matches!(&asked[..], [Asked::Execute(r, _)] if matches!(r.op, command::Op::Read(_))), "{asked:?}");
}

#[tokio::test]
async fn a_batch_answer_that_is_too_large_says_which_parts_it_leaves_out() {
    let door = open(None).await;
    let large = v1::PutRequest { value: vec![b'x'; 8 << 20].into(), ..put("{t}a", "") };
    door.cache().put(large).await.unwrap();
    let results = results(&door, batch([Op::Get(get("{t}a")), Op::Get(get("{t}a")), Op::Get(get("{t}b"))])).await;
    assert!(matches!(&results[0], R::Get(g) if g.entry.as_ref().unwrap().value.len() == 8 << 20));
    assert_eq!(results[1], R::Refused(RefusalReason::AnswerTooLarge.into()));
    assert!(matches!(&results[2], R::Get(g) if g.entry.is_none()));
}

async fn results(door: &Door, request: BatchRequest) -> Vec<R> {
    let answer = door.cache().batch(request).await.unwrap().into_inner();
    answer.results.into_iter().map(|r| r.result.unwrap()).collect()
}

#[tokio::test]
async fn a_scan_meets_every_key_once() {
    let door = open(None).await;
    for i in 0..100 {
        door.cache().put(put(&format!("a{i}"), "v")).await.unwrap();
        door.cache().put(put(&format!("b{i}"), "v")).await.unwrap();
    }
    let (mut keys, mut cursor) = (Vec::new(), bytes::Bytes::new());
    loop {
        let ask = v1::ScanRequest { cursor, count: 7, prefix: "a".into(), read_level: 0 };
        let page = door.cache().scan(ask).await.unwrap().into_inner();
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_empty() {
            break;
        }
    }
    let mut expected: Vec<bytes::Bytes> = (0..100).map(|i| format!("a{i}").into()).collect();
    expected.sort();
    keys.sort();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn pages_of_long_keys_stay_below_the_message_limit() {
    let door = open_on(FakeNode::new(1), None).await;
    for i in 0..300 {
        door.cache().put(put(&format!("{i:0>60000}"), "")).await.unwrap();
    }
    let (mut seen, mut cursor) = (0, bytes::Bytes::new());
    loop {
        let ask = v1::ScanRequest { cursor, count: 10_000, ..v1::ScanRequest::default() };
        let page = door.cache().scan(ask).await.unwrap().into_inner();
        seen += page.keys.len();
        cursor = page.cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 300);
}

#[tokio::test]
async fn the_topology_routes_every_slot_and_the_answers_name_other_leaders() {
    let door = open(None).await;
    let ask = |known_version| v1::TopologyRequest { known_version };
    let topology = door.cache().topology(ask(0)).await.unwrap().into_inner();
    assert_eq!((topology.num_shards, topology.slot_shards.len()), (4, 16_384));
    assert_eq!(topology.nodes[0].address, door.address.to_string());
    assert_eq!(topology.leaders.len(), 4);
    let again = door.cache().topology(ask(topology.version)).await.unwrap().into_inner();
    assert!(again.slot_shards.is_empty());

    let hint = |r: &tonic::Response<v1::GetResponse>| r.metadata().get("crema-leader").cloned();
    assert_eq!(hint(&door.cache().get(get("foo")).await.unwrap()), None);
    let shard = topology.slot_shards[12_182];
    door.node.set_leader(shard, NodeId(2));
    let expected = format!("{shard} 2 127.0.0.1:7002");
    assert_eq!(hint(&door.cache().get(get("foo")).await.unwrap()).unwrap(), expected.as_str());
}

#[tokio::test]
async fn calls_are_counted_by_command() {
    let door = open(None).await;
    door.cache().get(get("k")).await.unwrap();
    door.cache().get(get("")).await.unwrap_err();
    let text = door.metrics.registry.encode();
    for line in [
        "crema_command_calls_total{command=\"get\",door=\"grpc\"} 2",
        "crema_command_errors_total{command=\"get\",door=\"grpc\"} 1",
        "crema_command_latency_seconds_count{command=\"get\",door=\"grpc\"} 2",
        "crema_connections{door=\"grpc\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
}
