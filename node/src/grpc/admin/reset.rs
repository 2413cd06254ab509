//! `ResetShards`: shards that lost their majority for good return empty.
//!
//! Runs on the leader of the meta group, which alone knows who is heard of. What it decides holds for the very map that it
//! looked at; the core looks again at who lives when it proposes the change, and `apply` at what the map says.

use crema_api::v1;

use super::{AdminService, Administer, change::shard_set, check_version, declined, drain::member, expected};
use crate::{
    cluster::{
        ClusterMap,
        command::{Life, MetaCommand, ShardReset},
    },
    grpc::failure::{Failure, invalid},
    placement::{self, Health},
    types::{GroupId, Incarnation, NodeId},
};

impl<N: Administer> AdminService<N> {
    pub(super) async fn reset_lost(
        &self,
        health: &Health,
        ask: v1::ResetShardsRequest,
    ) -> Result<v1::ResetShardsResponse, Failure> {
        let v1::ResetShardsRequest { shards, dead, expected_version, dry_run } = ask;
        let map = self.map()?;
        check_version(&map, expected(expected_version))?;
        let dead = dead.iter().map(|life| named_life(&map, life)).collect::<Result<Vec<Life>, Failure>>()?;
        let mut groups = named_groups(&map, shards)?;
        groups.retain(|group| !is_reset(&map, *group, &dead));
        if groups.is_empty() {
            return Ok(answer(map.version, &[]));
        }
        let shards = placement::preflight_reset(&map, health, &groups, &dead);
        let shards = shards.or_else(|refusal| declined(refusal.to_string()))?;
        if dry_run {
            return Ok(answer(map.version, &shards));
        }
        let command = MetaCommand::ResetShards { shards: shards.clone(), dead: dead.clone() };
        let newer = self.commit(command, Some(map.version)).await?;
        tracing::error!(?shards, ?dead, "shards were reset at somebody's demand: THEIR ENTRIES ARE LOST");
        Ok(answer(newer.version, &shards))
    }
}

fn answer(map_version: u64, shards: &[ShardReset]) -> v1::ResetShardsResponse {
    let reset = |ShardReset { group, generation, nodes }: &ShardReset| v1::ShardReset {
        shard: group.shard().unwrap_or_default(),
        generation: generation + 1,
        nodes: nodes.iter().map(|node| node.0).collect(),
    };
    v1::ResetShardsResponse { map_version, shards: shards.iter().map(reset).collect() }
}

fn named_life(map: &ClusterMap, life: &v1::NodeLife) -> Result<Life, Failure> {
    let v1::NodeLife { node, incarnation } = life;
    let node = NodeId(*node);
    member(map, "dead", node)?;
    let not_hex = || invalid("dead", format!("node {node} has the incarnation {incarnation:?}, not 32 hex digits"));
    Ok((node, Incarnation::from_hex(incarnation).ok_or_else(not_hex)?))
}

/// The shards' groups, each once.
fn named_groups(map: &ClusterMap, mut shards: Vec<u32>) -> Result<Vec<GroupId>, Failure> {
    if shards.is_empty() {
        return Err(invalid("shards", "it is empty; name the shards that are lost").into());
    }
    shards.sort_unstable();
    shards.dedup();
    shards.into_iter().map(|shard| shard_set(map, shard).map(|(group, _)| group)).collect()
}

/// Whether all that is asked for a shard is so: it has begun anew, and none of these lives has a part in it or elsewhere.
fn is_reset(map: &ClusterMap, group: GroupId, dead: &[Life]) -> bool {
    let is_over = |(node, life): &Life| map.incarnation_of(*node) != Some(*life);
    map.groups.get(&group).is_some_and(|set| set.generation > 1 && set.voters().all(|at| map.is_alive(at)))
        && dead.iter().all(is_over)
}
