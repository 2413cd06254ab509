//! Shards that are given up, and those that must not be.

use super::*;
use crate::cluster::command::ShardReset;

fn life(node: u64) -> v1::NodeLife {
    v1::NodeLife { node, incarnation: Incarnation(u128::from(node)).to_string() }
}

fn reset(shards: &[u32], dead: &[u64]) -> v1::ResetShardsRequest {
    v1::ResetShardsRequest {
        shards: shards.to_vec(),
        dead: dead.iter().copied().map(life).collect(),
        ..v1::ResetShardsRequest::default()
    }
}

/// Five nodes, two of which nobody hears of any more. Shard 0 is on nodes 1 to 3, each other one a node further on.
async fn two_lost() -> Door {
    let door = cluster(5).await;
    door.node.edit_health(|governing| {
        for node in [2, 3] {
            governing.health.nodes.get_mut(&NodeId(node)).expect("a node").silent_ms = 60_000;
        }
    });
    door
}

#[tokio::test]
async fn lost_shards_begin_anew_once() {
    let door = two_lost().await;
    let mut client = admin(&door);
    let dry = v1::ResetShardsRequest { dry_run: true, ..reset(&[1, 0, 1], &[2, 3]) };
    let forecast = client.reset_shards(ask(dry)).await.unwrap().into_inner();
    let shard = |shard| v1::ShardReset { shard, generation: 2, nodes: vec![1, 4, 5] };
    assert_eq!((forecast.map_version, &forecast.shards), (1, &vec![shard(0), shard(1)]));
    assert_eq!(door.node.take_committed(), [], "it was only looked at");

    let exact = v1::ResetShardsRequest { expected_version: 1, ..reset(&[0, 1], &[2, 3]) };
    let done = client.reset_shards(ask(exact.clone())).await.unwrap().into_inner();
    assert_eq!((done.map_version, &done.shards), (2, &forecast.shards));
    let nodes = || [1, 4, 5].map(NodeId).to_vec();
    let anew = |group| ShardReset { group: GroupId(group), generation: 1, nodes: nodes() };
    let dead = [2, 3].map(|node| (NodeId(node), Incarnation(u128::from(node)))).to_vec();
    let command = MetaCommand::ResetShards { shards: vec![anew(1), anew(2)], dead };
    assert_eq!(door.node.take_committed(), [command]);

    let again = client.reset_shards(ask(reset(&[0, 1], &[2, 3]))).await.unwrap().into_inner();
    assert_eq!((again.map_version, again.shards.len(), door.node.take_committed().len()), (2, 0, 0));
    let stale = client.reset_shards(ask(exact)).await;
    declined(&door, stale, "the map has version 2, not 1; look at it again");
}

#[tokio::test]
async fn what_may_live_is_not_given_up() {
    let door = two_lost().await;
    let mut client = admin(&door);
    let lives = format!("node 4 is connected in its life {}: it is not dead", life(4).incarnation);
    for (shards, dead, reason) in [
        (&[1][..], &[3, 4][..], lives.as_str()),
        (&[0], &[2], "shard 0 is not lost: 2 of its 3 voters may live, on node 1, 3"),
        (&[0], &[], "shard 0 is not lost: 3 of its 3 voters may live, on node 1, 2, 3"),
        (&[0, 2], &[2, 3], "shard 2 is not lost: 2 of its 3 voters may live, on node 4, 5"),
        (&[3], &[2, 3], "shard 3 is not lost: node 4 leads it"),
    ] {
        declined(&door, client.reset_shards(ask(reset(shards, dead))).await, reason);
    }
    for (request, field, reason) in [
        (reset(&[], &[2]), "shards", "it is empty; name the shards that are lost"),
        (reset(&[9], &[2]), "shard", "it is 9; there are 0 to 3"),
        (reset(&[0], &[9]), "dead", "there is no node 9; the members are 1, 2, 3, 4, 5"),
    ] {
        invalid(&door, client.reset_shards(ask(request)).await, field, reason);
    }
    let nobody = v1::NodeLife { node: 2, incarnation: "x".into() };
    let request = v1::ResetShardsRequest { dead: vec![nobody], ..reset(&[0], &[]) };
    let reason = "node 2 has the incarnation \"x\", not 32 hex digits";
    invalid(&door, client.reset_shards(ask(request)).await, "dead", reason);
}

#[tokio::test]
async fn a_shard_needs_nodes_to_begin_on() {
    let door = two_lost().await;
    let mut client = admin(&door);
    let silence = |node: u64| {
        door.node.edit_health(move |governing| {
            governing.health.nodes.get_mut(&NodeId(node)).expect("a node").silent_ms = 60_000;
        });
    };
    silence(5);
    let dry = || ask(v1::ResetShardsRequest { dry_run: true, ..reset(&[0], &[2, 3]) });
    let forecast = client.reset_shards(dry()).await.unwrap().into_inner();
    assert_eq!(forecast.shards[0].nodes, [1, 4], "a majority of what it should have is enough to begin");
    silence(4);
    let reason = "shard 0 has nowhere to begin anew: node 4 is not connected, node 5 is not connected";
    declined(&door, client.reset_shards(dry()).await, reason);
}
