//! What needs the cluster's health is answered by the meta leader, whichever node is asked.

use crema_api::v1::{self, Effect, ErrorKind};
use tonic::Request;

use super::{
    Door,
    admin::{admin, with_token},
    detail, open_on,
};
use crate::{
    cluster::map::MemberState,
    door_fixture::{FakeNode, govern::map},
    types::NodeId,
};

fn ask<T>(message: T) -> Request<T> {
    with_token("t", message)
}

/// The meta leader, which is node 1 of three, and a follower that knows where it is.
async fn leader_and_follower() -> (Door, Door) {
    let leader = FakeNode::new(4);
    leader.set_map(map(3, 4, 2));
    let leader = open_on(leader, Some("t")).await;
    let mut known = map(3, 4, 2);
    known.members.get_mut(&NodeId(2)).unwrap().address = leader.address.to_string();
    let follower = FakeNode::new(4);
    follower.set_map(known);
    // Node 1 in its own eyes: what matters is that it is not the one that leads.
    follower.follow(Some(NodeId(2)));
    (leader, open_on(follower, Some("t")).await)
}

#[tokio::test]
async fn a_call_is_passed_on_with_its_token() {
    let (leader, follower) = leader_and_follower().await;
    let mut client = admin(&follower);
    let nodes = client.nodes(ask(v1::NodesRequest {})).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.iter().map(|node| node.silent_ms).collect::<Vec<_>>(), [Some(0); 3], "the leader's knowledge");
    let ask_drain = || ask(v1::DrainRequest { nodes: vec![3], ..v1::DrainRequest::default() });
    assert_eq!(client.drain(ask_drain()).await.unwrap().into_inner().map_version, 2);
    assert_eq!((leader.node.take_committed().len(), follower.node.take_committed().len()), (1, 0));
    // A refusal comes back word for word.
    let stale = v1::DrainRequest { nodes: vec![3], expected_version: 9, ..v1::DrainRequest::default() };
    let refused = detail(client.drain(ask(stale)).await);
    assert_eq!(
        (refused.kind(), refused.reason.as_str()),
        (ErrorKind::Refused, "the map has version 2, not 9; look at it again")
    );
    // A stranger is not passed on.
    let stranger = client.drain(v1::DrainRequest { nodes: vec![3], ..v1::DrainRequest::default() }).await;
    assert_eq!(detail(stranger).kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_call_makes_one_hop() {
    let (leader, follower) = leader_and_follower().await;
    // Both point at each other.
    leader.node.edit_map(|map| map.members.get_mut(&NodeId(3)).unwrap().address = follower.address.to_string());
    leader.node.follow(Some(NodeId(3)));
    let mut client = admin(&follower);
    let lost = detail(client.wait_healthy(ask(v1::WaitHealthyRequest { timeout_ms: 0 })).await);
    let reason = "node 1 was asked as the leader of the meta group, which it is not now";
    assert_eq!((lost.kind(), lost.reason.as_str(), lost.retryable), (ErrorKind::Unavailable, reason, true));
    // Members are listed all the same, without what only the leader knows.
    let nodes = client.nodes(ask(v1::NodesRequest {})).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.iter().map(|node| node.silent_ms).collect::<Vec<_>>(), [None; 3]);
    let moves = client.migrations(ask(v1::MigrationsRequest {})).await.unwrap().into_inner();
    assert_eq!((moves.migrations.len(), moves.paused), (0, false));
}

#[tokio::test]
async fn without_a_leader_it_is_said_what_is_missing() {
    let (_, follower) = leader_and_follower().await;
    let mut client = admin(&follower);
    let drain = || ask(v1::DrainRequest { nodes: vec![3], ..v1::DrainRequest::default() });
    for (leader, reason) in [
        (None, "no leader of the meta group is known"),
        (Some(NodeId(1)), "this node leads the meta group only since now"),
        (Some(NodeId(7)), "node 7, the meta leader, has no address"),
    ] {
        follower.node.follow(leader);
        let detail = detail(client.drain(drain()).await);
        assert_eq!((detail.kind(), detail.reason.as_str()), (ErrorKind::Unavailable, reason));
    }
    // Nobody is at that address: nothing that would say whether it was done.
    follower.node.edit_map(|map| map.members.get_mut(&NodeId(3)).unwrap().address = "127.0.0.1:1".into());
    follower.node.follow(Some(NodeId(3)));
    let lost = detail(client.drain(drain()).await);
    assert_eq!((lost.kind(), lost.effect()), (ErrorKind::OutcomeUnknown, Effect::Unknown));
    let lost = detail(client.wait_healthy(ask(v1::WaitHealthyRequest::default())).await);
    assert_eq!((lost.kind(), lost.retryable), (ErrorKind::Unavailable, true));
}

#[tokio::test]
async fn health_names_each_ailment_until_there_is_none() {
    let node = FakeNode::new(4);
    node.set_map(map(3, 4, 3));
    let door = open_on(node, Some("t")).await;
    let mut client = admin(&door);
    let look = || ask(v1::WaitHealthyRequest { timeout_ms: 0 });
    let well = client.wait_healthy(look()).await.unwrap().into_inner();
    assert_eq!((well.healthy, well.ailments), (true, vec![]));

    door.node.edit_map(|map| map.members.get_mut(&NodeId(3)).unwrap().state = MemberState::Joining);
    door.node.edit_health(|governing| governing.health.nodes.get_mut(&NodeId(2)).unwrap().silent_ms = 5_000);
    let ill = client.wait_healthy(look()).await.unwrap().into_inner();
    assert!(!ill.healthy);
    for ailment in ["node 3 is joining", "node 2 is not connected, and was last heard of 5000 ms ago"] {
        assert!(ill.ailments.iter().any(|found| found == ailment), "{ailment}: {:?}", ill.ailments);
    }

    let waiting = tokio::spawn({
        let mut client = client.clone();
        async move { client.wait_healthy(ask(v1::WaitHealthyRequest { timeout_ms: 30_000 })).await }
    });
    door.node.edit_health(|governing| governing.health.nodes.get_mut(&NodeId(2)).unwrap().silent_ms = 0);
    door.node.edit_map(|map| map.members.get_mut(&NodeId(3)).unwrap().state = MemberState::Up);
    assert!(waiting.await.unwrap().unwrap().into_inner().healthy);
}
