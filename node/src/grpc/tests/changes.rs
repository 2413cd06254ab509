//! Every verb of Admin that changes the cluster, with what it commits and what it refuses.

use crema_api::v1::{self, Effect, ErrorKind, admin_client::AdminClient};
use tonic::{Request, Status, transport::Channel};

use super::{
    Door,
    admin::{admin, with_token},
    detail, open_on,
};
use crate::{
    cluster::{
        command::{Incoming, MetaCommand, Refused},
        map::{MemberState, Phase, Reason, SharedSettings},
    },
    door_fixture::{FakeNode, govern::map},
    machine::store::{Capacity, EvictionPolicy},
    multiraft::govern::GovernError,
    types::{GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

mod resets;

/// A cluster of so many nodes with four shards in three replicas, and a door to its meta leader.
async fn cluster(nodes: u64) -> Door {
    let node = FakeNode::new(4);
    node.set_map(map(nodes, 4, 3));
    open_on(node, Some("t")).await
}

fn ask<T>(message: T) -> Request<T> {
    with_token("t", message)
}

/// A refusal because of what is there: nothing was committed.
fn declined<T: std::fmt::Debug>(door: &Door, result: Result<T, Status>, reason: &str) {
    let detail = detail(result);
    assert_eq!((detail.kind(), detail.reason.as_str()), (ErrorKind::Refused, reason));
    assert_eq!((detail.effect(), detail.retryable), (Effect::None, false));
    assert_eq!(door.node.take_committed(), [], "nothing may be committed");
}

/// A refusal because the request is wrong.
fn invalid<T: std::fmt::Debug>(door: &Door, result: Result<T, Status>, field: &str, reason: &str) {
    let detail = detail(result);
    assert_eq!((detail.kind(), detail.field.as_str(), detail.reason.as_str()), (ErrorKind::Invalid, field, reason));
    assert_eq!(door.node.take_committed(), [], "nothing may be committed");
}

fn state(node: u64, state: MemberState) -> MetaCommand {
    MetaCommand::SetState { node: NodeId(node), incarnation: Incarnation(u128::from(node)), state }
}

fn drain(nodes: &[u64]) -> v1::DrainRequest {
    v1::DrainRequest { nodes: nodes.to_vec(), ..v1::DrainRequest::default() }
}

#[tokio::test]
async fn a_drain_is_looked_at_then_begun_then_taken_back() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    let dry = v1::DrainRequest { dry_run: true, ..drain(&[4]) };
    let forecast = client.drain(ask(dry)).await.unwrap().into_inner();
    // Shards 1, 2 and 3 have a replica on node 4, and so has the meta group.
    assert_eq!((forecast.replicas, forecast.moves.len(), forecast.map_version), (4, 3, 1));
    assert!(forecast.moves.iter().all(|moved| moved.from_node == 4 && moved.to_node != 4), "{forecast:?}");
    assert_eq!(door.node.take_committed(), []);

    let begun = client.drain(ask(drain(&[4, 4]))).await.unwrap().into_inner();
    assert_eq!((begun.replicas, begun.map_version), (4, 2));
    assert_eq!(door.node.take_committed(), [state(4, MemberState::Draining)]);
    let back = client.undrain(ask(v1::UndrainRequest { node: 4, expected_version: 2 })).await.unwrap().into_inner();
    assert_eq!(back.map_version, 3);
    assert_eq!(door.node.take_committed(), [state(4, MemberState::Up)]);
    // Once more is no failure, and no change.
    let again = client.undrain(ask(v1::UndrainRequest { node: 4, expected_version: 0 })).await.unwrap().into_inner();
    assert_eq!((again.map_version, door.node.take_committed()), (3, vec![]));
    door.node.edit_map(|map| map.members.get_mut(&NodeId(4)).unwrap().state = MemberState::Joining);
    client.undrain(ask(v1::UndrainRequest { node: 4, expected_version: 0 })).await.unwrap();
    assert_eq!(door.node.take_committed(), [state(4, MemberState::Up)], "a node that waits is let in");
}

#[tokio::test]
async fn impossible_drains_are_refused() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    invalid(
        &door,
        client.drain(ask(drain(&[]))).await,
        "nodes",
        "it is empty; name the nodes that are to be drained",
    );
    let unknown = client.drain(ask(drain(&[9]))).await;
    invalid(&door, unknown, "nodes", "there is no node 9; the members are 1, 2, 3, 4");
    let too_many = client.drain(ask(drain(&[3, 4]))).await;
    declined(&door, too_many, "nodes 3, 4 can't be drained: 2 nodes would be left for replication factor 3");
    let stale = v1::DrainRequest { expected_version: 7, ..drain(&[4]) };
    declined(&door, client.drain(ask(stale)).await, "the map has version 1, not 7; look at it again");
    for (state, reason) in [
        (MemberState::Joining, "node 4 is joining; it can be drained once it is up"),
        (MemberState::Down, "node 4 is down; its replicas are replaced without a drain"),
        (MemberState::Removed, "node 4 was removed"),
    ] {
        door.node.edit_map(|map| map.members.get_mut(&NodeId(4)).unwrap().state = state);
        declined(&door, client.drain(ask(drain(&[4]))).await, reason);
    }
}

#[tokio::test]
async fn a_node_leaves_when_it_holds_nothing() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    let remove = || ask(v1::RemoveRequest { node: 4, expected_version: 0 });
    declined(&door, client.remove(remove()).await, "node 4 is up; drain it before it is removed");
    door.node.edit_map(|map| map.members.get_mut(&NodeId(4)).unwrap().state = MemberState::Draining);
    let reason = "node 4 still has 4 replicas (meta group, shard 1, shard 2, shard 3); they are being moved, wait \
                  until it has none";
    declined(&door, client.remove(remove()).await, reason);
    door.node.edit_map(|map| map.groups.values_mut().for_each(|set| set.replicas.retain(|at| at.node != NodeId(4))));
    client.remove(remove()).await.unwrap();
    assert_eq!(door.node.take_committed(), [state(4, MemberState::Removed)]);
    client.remove(remove()).await.unwrap();
    assert_eq!(door.node.take_committed(), [], "it has left already");
    let back = client.undrain(ask(v1::UndrainRequest { node: 4, expected_version: 0 })).await;
    declined(&door, back, "node 4 is removed; only a node that is draining or joining can be undrained");
}

fn moved(shard: u32, from_node: u64, to_node: u64) -> Request<v1::MoveShardRequest> {
    ask(v1::MoveShardRequest { shard, from_node, to_node, expected_version: 0 })
}

#[tokio::test]
async fn a_shard_is_moved_and_the_move_cancelled() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    // Shard 0 is on nodes 1, 2 and 3.
    for (request, field, reason) in [
        (moved(4, 1, 4), "shard", "it is 4; there are 0 to 3"),
        (moved(0, 9, 4), "from_node", "there is no node 9; the members are 1, 2, 3, 4"),
        (moved(0, 1, 0), "to_node", "there is no node 0; the members are 1, 2, 3, 4"),
        (moved(0, 4, 1), "from_node", "node 4 has no voter of shard 0; its voters are on 1, 2, 3"),
        (moved(0, 1, 2), "to_node", "node 2 has a voter of shard 0 already"),
    ] {
        invalid(&door, client.move_shard(request).await, field, reason);
    }
    let outgoing = door.node.clone();
    let outgoing = crate::multiraft::govern::Govern::map(&outgoing).unwrap().groups[&GroupId(1)].replicas[0].replica;
    let begun = client.move_shard(moved(0, 1, 4)).await.unwrap().into_inner();
    assert_eq!((begun.migration, begun.map_version), (1, 2));
    let command = MetaCommand::StartMigration {
        group: GroupId(1),
        incoming: Incoming::New(NodeId(4)),
        outgoing: Some(outgoing),
        learner: false,
        reason: Reason::Asked,
    };
    assert_eq!(door.node.take_committed(), [command]);
    let busy = client.move_shard(moved(0, 2, 4)).await;
    invalid(&door, busy, "to_node", "node 4 has a learner of shard 0 already");

    let cancel = |migration| ask(v1::CancelMigrationRequest { migration, expected_version: 0 });
    declined(&door, client.cancel_migration(cancel(5)).await, "there is no migration 5 under way");
    client.cancel_migration(cancel(1)).await.unwrap();
    assert_eq!(door.node.take_committed(), [MetaCommand::CancelMigration(MigrationId(1))]);
    door.node.edit_map(|map| map.migrations.get_mut(&MigrationId(1)).unwrap().phase = Phase::LeaveJoint);
    let late = "migration 1 is in its phase leave-joint; it can be cancelled until joint-swap is over";
    declined(&door, client.cancel_migration(cancel(1)).await, late);
}

#[tokio::test]
async fn replicas_go_to_nodes_that_are_up_and_one_migration_at_a_time() {
    let door = cluster(5).await;
    let mut client = admin(&door);
    door.node.edit_map(|map| map.members.get_mut(&NodeId(4)).unwrap().state = MemberState::Draining);
    let reason = "node 4 is draining; replicas are moved to nodes that are up";
    declined(&door, client.move_shard(moved(0, 1, 4)).await, reason);
    client.move_shard(moved(0, 1, 5)).await.unwrap();
    door.node.take_committed();
    door.node.edit_map(|map| map.members.get_mut(&NodeId(4)).unwrap().state = MemberState::Up);
    let reason = "shard 0 has migration 1 already, in its phase add-learner";
    declined(&door, client.move_shard(moved(0, 2, 4)).await, reason);
}

#[tokio::test]
async fn a_leadership_is_preferred_and_waited_for() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    let transfer = |shard, to_node| ask(v1::TransferLeaderRequest { shard, to_node });
    invalid(&door, client.transfer_leader(transfer(9, 2)).await, "shard", "it is 9; there are 0 to 3");
    invalid(&door, client.transfer_leader(transfer(0, 0)).await, "to_node", "it is not set");
    let reason = "node 4 has no voter of shard 0; its voters are on 1, 2, 3";
    invalid(&door, client.transfer_leader(transfer(0, 4)).await, "to_node", reason);

    let waiting = tokio::spawn({
        let mut client = client.clone();
        let request = transfer(0, 2);
        async move { client.transfer_leader(request).await }
    });
    let replica = loop {
        if let [MetaCommand::Prefer { group: GroupId(1), replica }] = door.node.take_committed()[..] {
            break replica;
        }
        tokio::task::yield_now().await;
    };
    let at = crate::multiraft::govern::Govern::map(&door.node).unwrap().groups[&GroupId(1)].replicas[0];
    assert_eq!((at.replica, at.node), (replica, NodeId(2)), "it is where leadership should be");
    door.node.set_leader(0, NodeId(2));
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().leader, 2);
}

async fn settings(client: &mut AdminClient<Channel>) -> v1::SettingsResponse {
    client.settings(ask(v1::SettingsRequest {})).await.unwrap().into_inner()
}

#[tokio::test]
async fn settings_change_one_by_one() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    let update = v1::UpdateSettingsRequest {
        max_entries_per_shard: Some(10),
        default_ttl_ms: Some(500),
        eviction: Some("lru".into()),
        migration_bytes_per_s: Some(0),
        repair_after_ms: Some(0),
        replication_factor: Some(2),
        ..v1::UpdateSettingsRequest::default()
    };
    let answer = client.update_settings(ask(update)).await.unwrap().into_inner();
    assert_eq!((answer.map_version, answer.replication_factor), (3, 2));
    let wanted = SharedSettings {
        capacity: Capacity { max_entries: 10, ..Capacity::default() },
        eviction: EvictionPolicy::Lru,
        default_ttl_ms: Some(500),
        migration_bytes_per_s: None,
        repair_after_ms: None,
        ..SharedSettings::default()
    };
    let committed = [MetaCommand::SetSettings(wanted), MetaCommand::SetReplicationFactor(2)];
    assert_eq!(door.node.take_committed(), committed);
    assert_eq!(settings(&mut client).await, answer);

    let refused = [
        (v1::UpdateSettingsRequest::default(), "settings", "none is set; set those that are to change"),
        (
            v1::UpdateSettingsRequest { migration_concurrency: Some(0), ..Default::default() },
            "migration_concurrency",
            "0; it must be at least 1 (PauseMigrations stops them)",
        ),
        (
            v1::UpdateSettingsRequest { eviction: Some("fifo".into()), ..Default::default() },
            "eviction",
            "\"fifo\"; there are tiny-lfu and lru",
        ),
        (
            v1::UpdateSettingsRequest { replication_factor: Some(5), ..Default::default() },
            "replication_factor",
            "5; with 4 nodes that may hold replicas it must be 1 to 4",
        ),
    ];
    for (update, field, reason) in refused {
        invalid(&door, client.update_settings(ask(update)).await, field, reason);
    }
}

#[tokio::test]
async fn migrations_pause_although_others_change_the_map() {
    let door = cluster(3).await;
    let mut client = admin(&door);
    door.node.fail_next_change(Refused::Version { expected: 1, actual: 2 }.into());
    client.pause_migrations(ask(v1::PauseMigrationsRequest {})).await.unwrap();
    assert!(settings(&mut client).await.settings.unwrap().migrations_paused);
    // Once more changes nothing.
    client.pause_migrations(ask(v1::PauseMigrationsRequest {})).await.unwrap();
    client.resume_migrations(ask(v1::ResumeMigrationsRequest {})).await.unwrap();
    assert!(!settings(&mut client).await.settings.unwrap().migrations_paused);
    assert_eq!(door.node.take_committed().len(), 2);
}

#[tokio::test]
async fn what_the_meta_group_says_reaches_the_caller() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    for (error, kind, effect, retryable) in [
        (GovernError::NotLeader(None), ErrorKind::Unavailable, Effect::None, true),
        (GovernError::Unavailable("no quorum".into()), ErrorKind::Unavailable, Effect::None, true),
        (GovernError::Unknown("it stopped".into()), ErrorKind::OutcomeUnknown, Effect::Unknown, false),
        (Refused::Reason("no".into()).into(), ErrorKind::Refused, Effect::None, false),
    ] {
        door.node.fail_next_change(error);
        let detail = detail(client.drain(ask(drain(&[4]))).await);
        assert_eq!((detail.kind(), detail.effect(), detail.retryable), (kind, effect, retryable), "{detail:?}");
    }
}

#[tokio::test]
async fn a_plan_is_shown_or_begun() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    door.node.edit_map(|map| map.members.get_mut(&NodeId(4)).unwrap().state = MemberState::Draining);
    let rebalance = |dry_run| ask(v1::RebalanceRequest { dry_run, expected_version: 0 });
    let shown = client.rebalance(rebalance(true)).await.unwrap().into_inner();
    assert!(shown.actions.iter().any(|action| action.kind == "start" && action.from_node == 4), "{shown:?}");
    assert_eq!((door.node.take_committed().len(), shown.map_version), (0, 2));
    let begun = client.rebalance(rebalance(false)).await.unwrap().into_inner();
    assert_eq!((&begun.actions, door.node.take_committed().len()), (&shown.actions, shown.actions.len()));
    assert_eq!(begun.map_version, 2 + shown.actions.len() as u64);
}

#[tokio::test]
async fn a_life_is_declared_dead_once() {
    let door = cluster(4).await;
    let mut client = admin(&door);
    let life = |life: u64| Incarnation(u128::from(life)).to_string();
    let down =
        |incarnation: String, expected_version| ask(v1::MarkDownRequest { node: 4, incarnation, expected_version });
    let wrong = client.mark_down(down("4".into(), 0)).await;
    invalid(&door, wrong, "incarnation", "\"4\"; it has 32 hex digits");
    let other = client.mark_down(down(life(5), 0)).await;
    let reason = format!("node 4 is in its life {} by now, not in {}", life(4), life(5));
    declined(&door, other, &reason);
    let late = detail(client.mark_down(down(life(4), 9)).await);
    assert_eq!(late.kind(), ErrorKind::Refused);
    let marked = client.mark_down(down(life(4), 1)).await.unwrap().into_inner();
    assert_eq!((door.node.take_committed(), marked.map_version), (vec![state(4, MemberState::Down)], 2));
    let again = client.mark_down(down(life(4), 0)).await.unwrap().into_inner();
    assert_eq!((door.node.take_committed().len(), again.map_version), (0, 2));
}

#[tokio::test]
async fn a_cluster_gets_the_identity_that_its_caller_chose() {
    let door = open_on(FakeNode::new(4), Some("t")).await;
    let mut client = admin(&door);
    let init = |cluster_uid: &str, incarnation: &str| {
        let node = v1::NodeAt { node: 2, address: "b:1".into(), incarnation: incarnation.into() };
        ask(v1::InitRequest { nodes: vec![node], timeout_ms: 1_000, cluster_uid: cluster_uid.into() })
    };
    let (uid, other) = ("000000000000000000000000000000aa", "000000000000000000000000000000bb");
    let zero = "0".repeat(32);
    let reason = format!("\"{zero}\"; it has 32 hex digits, not all 0");
    invalid(&door, client.init(init(&zero, "")).await, "cluster_uid", &reason);
    let reason = "node 2 has the incarnation \"x\", not 32 hex digits";
    invalid(&door, client.init(init(uid, "x")).await, "nodes", reason);
    for _ in 0..2 {
        assert_eq!(client.init(init(uid, "")).await.unwrap().into_inner().cluster_uid, uid);
    }
    declined(&door, client.init(init(other, "")).await, &format!("this node belongs to cluster {uid}"));
}

#[tokio::test]
async fn a_cluster_is_formed_once() {
    let door = open_on(FakeNode::new(4), Some("t")).await;
    let mut client = admin(&door);
    let init = |nodes: &[(u64, &str)]| {
        let at = |(node, address): &(u64, &str)| v1::NodeAt {
            node: *node,
            address: (*address).into(),
            ..Default::default()
        };
        ask(v1::InitRequest { nodes: nodes.iter().map(at).collect(), timeout_ms: 1_000, ..Default::default() })
    };
    let bare = detail(client.drain(ask(drain(&[1]))).await);
    assert_eq!((bare.kind(), bare.reason.as_str()), (ErrorKind::Unavailable, "this node belongs to no cluster yet"));
    for (nodes, reason) in [
        (&[(0, "a:1")][..], "it lists node 0; a member has a number from 1 on"),
        (&[(2, "a:1"), (2, "b:1")], "it lists node 2 twice"),
        (&[(2, "a")], "node 2 has the address \"a\", not host:port"),
        (&[(2, ":1")], "node 2 has the address \":1\", not host:port"),
        (&[(2, "a:0")], "node 2 has the address \"a:0\", not host:port"),
    ] {
        invalid(&door, client.init(init(nodes)).await, "nodes", reason);
    }
    let formed = client.init(init(&[(2, "127.0.0.1:7002")])).await.unwrap().into_inner();
    assert_eq!((formed.nodes, formed.map_version), (vec![1, 2], 1));
    client.init(init(&[(2, "127.0.0.1:7002")])).await.unwrap();
    let other = client.init(init(&[(3, "127.0.0.1:7003")])).await;
    declined(&door, other, "this node belongs to cluster 0000000000000000000000000000000c");
    let replica = ReplicaId(1);
    let map = client.map(ask(v1::MapRequest {})).await.unwrap().into_inner().map.unwrap();
    assert_eq!(map.groups[0].replicas[0].replica, replica.0);
}
