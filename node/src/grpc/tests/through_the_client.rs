//! The Rust client against the door.

use crema_api::{
    client::{ClientError, CremaClient},
    v1::{self, BatchOp, RefusalReason, batch_op::Op, batch_result::Result as R},
};

use super::{get, open, put};
use crate::error::Error;

#[tokio::test]
async fn every_call_goes_through() {
    let door = open(None).await;
    let client = CremaClient::connect([door.address.to_string()]).await.unwrap();
    let version = client.put("k", "v").await.unwrap();
    let entry = client.get("k").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.meta.unwrap().version), (&b"v"[..], version));
    assert_eq!(client.get_local("k").await.unwrap().unwrap().value, "v");
    assert_eq!(client.increment("n", 2).await.unwrap(), 2);
    assert_eq!(client.exists("absent").await.unwrap(), None);
    let ops = [Op::Put(put("{t}a", "1")), Op::Get(get("{t}a"))].map(|op| BatchOp { op: Some(op) });
    let results = client.batch(ops.into()).await.unwrap();
    assert!(matches!(&results[1].result, Some(R::Get(g)) if g.entry.as_ref().unwrap().value == "1"));
    assert!(client.delete("k").await.unwrap());
    let page = client.scan(v1::ScanRequest::default()).await.unwrap();
    assert!(page.keys.len() <= 2);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let door = open(None).await;
    let client = CremaClient::connect([door.address.to_string()]).await.unwrap();
    client.put("k", "text").await.unwrap();
    let refused = client.increment("k", 1).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { reason: RefusalReason::NotAnInteger, .. }), "{refused:?}");
    let invalid = client.get("").await.unwrap_err();
    assert!(matches!(&invalid, ClientError::Invalid { field, .. } if field == "key"), "{invalid:?}");
}

#[tokio::test]
async fn what_was_not_applied_is_sent_again_and_what_may_be_is_not() {
    let door = open(None).await;
    let client = CremaClient::connect([door.address.to_string()]).await.unwrap();
    door.node.take_log();
    door.node.fail_next(Error::Busy { what: "mailbox" });
    client.put("k", "a").await.unwrap();
    assert_eq!(door.node.take_log().len(), 2);
    door.node.fail_next(Error::OutcomeUnknown { reason: "leader lost".into(), index: None });
    let unknown = client.put("k", "b").await.unwrap_err();
    assert!(matches!(unknown, ClientError::OutcomeUnknown { .. }), "{unknown:?}");
    assert_eq!(door.node.take_log().len(), 1);
}
