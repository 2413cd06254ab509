//! What Admin waits for on the meta leader: a healthy cluster, and a leader where it was asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crema_api::v1;
use tokio::time::Instant;

use super::{
    AdminService, Administer,
    change::{shard_set, voter_on},
};
use crate::{
    cluster::command::MetaCommand,
    error::Error,
    grpc::failure::{Failure, invalid},
    multiraft::introspect,
    types::{GroupId, NodeId, ReplicaId, ShardId},
};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A caller that wants to wait for longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a leadership may take to move.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

impl<N: Administer> AdminService<N> {
    pub(super) async fn until_healthy(
        &self,
        ask: v1::WaitHealthyRequest,
    ) -> Result<v1::WaitHealthyResponse, Failure> {
        let deadline = Instant::now() + Duration::from_millis(ask.timeout_ms).min(LONGEST_WAIT);
        loop {
            let map = self.map()?;
            let Some(governing) = self.node.governing() else {
                let reason = "the leader of the meta group has changed; ask again".to_owned();
                return Err(Error::Unavailable { reason }.into());
            };
            let ailments = introspect::ailments(&map, &governing);
            let healthy = ailments.is_empty();
            if healthy || Instant::now() >= deadline {
                return Ok(v1::WaitHealthyResponse { healthy, ailments, map_version: map.version });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Leadership should be on this node from now on: committed, and then seen.
    pub(super) async fn prefer(&self, ask: v1::TransferLeaderRequest) -> Result<v1::TransferLeaderResponse, Failure> {
        let v1::TransferLeaderRequest { shard, to_node } = ask;
        let (to, map) = (NodeId(to_node), self.map()?);
        let (group, set) = shard_set(&map, shard)?;
        if to == NodeId(0) {
            return Err(invalid("to_node", "it is not set").into());
        }
        let replica = voter_on(set, shard, "to_node", to)?.replica;
        self.commit(MetaCommand::Prefer { group, replica }, None).await?;
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        while !self.leads(shard, group, to, replica) {
            if Instant::now() >= deadline {
                let reason = format!(
                    "it is committed that node {to} should lead shard {shard}, but it does not yet; its leader hands \
                     over as soon as node {to} is connected and level"
                );
                return Err(Error::Unavailable { reason }.into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(v1::TransferLeaderResponse { leader: to.0 })
    }

    /// By this node's own replica, or by what the shard's leader reported.
    fn leads(&self, shard: ShardId, group: GroupId, node: NodeId, replica: ReplicaId) -> bool {
        let reported = || {
            let governing = self.node.governing()?;
            Some(governing.health.groups.get(&group)?.leader)
        };
        self.node.leader(shard).map_or_else(|| reported() == Some(replica), |leader| leader == node)
    }
}

/// The wall clock, in ms since the Unix epoch.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
