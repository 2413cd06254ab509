//! `MoveShard` and `CancelMigration`: single migrations by hand.

use crema_api::v1;

use super::{AdminService, Administer, changed, check_version, declined, drain::member, expected};
use crate::{
    cluster::{
        ClusterMap,
        command::{Incoming, MetaCommand},
        map::{MemberState, Phase, Reason, ReplicaAt, ReplicaSet},
    },
    grpc::failure::{Failure, invalid},
    types::{GroupId, MigrationId, NodeId, ReplicaId, ShardId},
};

impl<N: Administer> AdminService<N> {
    pub(super) async fn move_replica(&self, ask: v1::MoveShardRequest) -> Result<v1::MoveShardResponse, Failure> {
        let v1::MoveShardRequest { shard, from_node, to_node, expected_version } = ask;
        let map = self.map()?;
        let version = expected(expected_version);
        check_version(&map, version)?;
        let (group, set) = shard_set(&map, shard)?;
        let outgoing = movable(&map, set, shard, NodeId(from_node), NodeId(to_node))?;
        if let Some(busy) = map.migration_of(group) {
            let (id, phase) = (busy.id, busy.phase.name());
            return declined(format!("shard {shard} has migration {id} already, in its phase {phase}"));
        }
        if map.settings.migrations_paused {
            return declined("migrations are paused; resume them first");
        }
        let (under_way, bound) = (map.migrations.len(), map.settings.migration_concurrency);
        if under_way >= bound as usize {
            return declined(format!(
                "{under_way} migrations are under way, and {bound} may be; wait for one to end"
            ));
        }
        let command = MetaCommand::StartMigration {
            group,
            incoming: Incoming::New(NodeId(to_node)),
            outgoing: Some(outgoing),
            learner: false,
            reason: Reason::Asked,
        };
        let map = self.commit(command, version).await?;
        // It may be over already, or overtaken by another: the caller then looks at the map.
        let migration = map.migration_of(group).map_or(0, |migration| migration.id.0);
        Ok(v1::MoveShardResponse { map_version: map.version, migration })
    }

    pub(super) async fn cancel(&self, ask: v1::CancelMigrationRequest) -> Result<v1::ChangeResponse, Failure> {
        let v1::CancelMigrationRequest { migration, expected_version } = ask;
        let (id, map) = (MigrationId(migration), self.map()?);
        let version = expected(expected_version);
        check_version(&map, version)?;
        match map.migrations.get(&id) {
            None => declined(format!("there is no migration {id} under way")),
            Some(found) if found.phase > Phase::JointSwap => declined(format!(
                "migration {id} is in its phase {}; it can be cancelled until {} is over",
                found.phase.name(),
                Phase::JointSwap.name()
            )),
            Some(_) => Ok(changed(&*self.commit(MetaCommand::CancelMigration(id), version).await?)),
        }
    }
}

/// A shard's group and replica set.
pub(super) fn shard_set(map: &ClusterMap, shard: ShardId) -> Result<(GroupId, &ReplicaSet), Failure> {
    let none = || invalid("shard", format!("it is {shard}; there are 0 to {}", map.num_shards.saturating_sub(1)));
    if shard >= map.num_shards {
        return Err(none().into());
    }
    let group = GroupId::of_shard(shard);
    Ok((group, map.groups.get(&group).ok_or_else(none)?))
}

/// A shard's voter on a node, or where its voters are.
pub(super) fn voter_on<'a>(
    set: &'a ReplicaSet,
    shard: ShardId,
    field: &'static str,
    node: NodeId,
) -> Result<&'a ReplicaAt, Failure> {
    set.voters().find(|at| at.node == node).ok_or_else(|| {
        let voters: Vec<String> = set.voters().map(|at| at.node.to_string()).collect();
        let reason = format!("node {node} has no voter of shard {shard}; its voters are on {}", voters.join(", "));
        invalid(field, reason).into()
    })
}

/// The replica that would go, when the move makes sense.
fn movable(
    map: &ClusterMap,
    set: &ReplicaSet,
    shard: ShardId,
    from: NodeId,
    to: NodeId,
) -> Result<ReplicaId, Failure> {
    member(map, "from_node", from)?;
    let target = member(map, "to_node", to)?;
    let outgoing = voter_on(set, shard, "from_node", from)?;
    if let Some(there) = set.on(to) {
        let what = if there.learner { "learner" } else { "voter" };
        return Err(invalid("to_node", format!("node {to} has a {what} of shard {shard} already")).into());
    }
    match target.state {
        MemberState::Up => Ok(outgoing.replica),
        state => declined(format!("node {to} is {}; replicas are moved to nodes that are up", state.name())),
    }
}
