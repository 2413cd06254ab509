//! The service `crema.v1.Admin`, and the token that opens it.

use crema_api::v1::{self, admin_server::Admin};
use tonic::{Request, Response, Status, service::Interceptor};

use super::failure::{self, invalid, unauthenticated};
use crate::{
    error::Error,
    multiraft::introspect::{FollowerStatus, Introspect, NodeStatus, PeerStatus, ShardStatus},
    types::{NodeId, ShardId},
};

/// The secret that all nodes and administrators of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(String);

impl ClusterToken {
    /// A token; `None` when the text is empty, which opens nothing.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Option<Self> {
        Some(token.into()).filter(|token| !token.is_empty()).map(Self)
    }

    /// Compares without telling by its time how much of a guess is right.
    fn is(&self, guess: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let differing = token.iter().zip(guess).fold(0, |bits, (a, b)| bits | (a ^ b));
        token.len() == guess.len() && differing == 0
    }
}

impl std::fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterToken(..)")
    }
}

/// Lets through what carries the token; without one configured, nothing.
#[derive(Clone, Debug)]
pub(super) struct Gate(pub(super) Option<ClusterToken>);

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(token) = &self.0 else {
            return Err(unauthenticated("Admin is closed: this node was started without a cluster token"));
        };
        let header = request.metadata().get("authorization").map(|value| value.as_bytes());
        match header.map(|value| value.strip_prefix(b"Bearer ")) {
            None => Err(unauthenticated("Admin needs the metadata `authorization: Bearer <cluster token>`")),
            Some(Some(guess)) if token.is(guess) => Ok(request),
            Some(_) => Err(unauthenticated("the cluster token is wrong")),
        }
    }
}

/// The service over one node.
#[derive(Clone, Debug)]
pub(super) struct AdminService<I>(pub(super) I);

impl<I: Introspect> AdminService<I> {
    async fn transfer(&self, shard: ShardId, to: NodeId) -> Result<(), Error> {
        let total = self.0.status().shards.total;
        if shard >= total {
            return Err(invalid("shard", format!("it is {shard}; there are {total}")));
        }
        if to == NodeId(0) {
            return Err(invalid("to_node", "it is not set"));
        }
        self.0.transfer_leader(shard, to).await
    }
}

#[tonic::async_trait]
impl<I: Introspect> Admin for AdminService<I> {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(status_response(self.0.status())))
    }

    async fn shards(&self, request: Request<v1::ShardsRequest>) -> Result<Response<v1::ShardsResponse>, Status> {
        let wanted = request.into_inner().shards;
        let chosen = self.0.shards().into_iter().filter(|s| wanted.is_empty() || wanted.contains(&s.shard));
        Ok(Response::new(v1::ShardsResponse { shards: chosen.map(shard_report).collect() }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let v1::TransferLeaderRequest { shard, to_node } = request.into_inner();
        let moved = self.transfer(shard, NodeId(to_node)).await;
        moved.map_err(|e| failure::to_status(e.into(), Some(shard), &self.0))?;
        let leader = self.0.leader(shard).map_or(0, |leader| leader.0);
        Ok(Response::new(v1::TransferLeaderResponse { leader }))
    }
}

fn status_response(status: NodeStatus) -> v1::StatusResponse {
    let NodeStatus {
        node,
        address,
        incarnation,
        cluster_uid,
        version,
        feature_level,
        state,
        reason,
        peers,
        shards,
        uptime_ms,
    } = status;
    let peer = |p: PeerStatus| v1::PeerReport { node: p.node, address: p.address, connected: p.connected };
    v1::StatusResponse {
        node,
        address,
        incarnation,
        cluster_uid: cluster_uid.unwrap_or_default(),
        version,
        feature_level,
        state: state.name().into(),
        reason,
        peers: peers.into_iter().map(peer).collect(),
        shards: Some(v1::ShardTotals {
            total: shards.total,
            local: shards.local,
            led: shards.led,
            leaderless: shards.leaderless,
        }),
        uptime_ms,
    }
}

fn shard_report(status: ShardStatus) -> v1::ShardReport {
    let ShardStatus {
        shard,
        leader,
        term,
        commit,
        applied,
        last,
        voters,
        learners,
        replica,
        role,
        asleep,
        entries,
        bytes,
        state_hash,
        followers,
    } = status;
    let follower =
        |f: FollowerStatus| v1::FollowerReport { node: f.node, match_index: f.matched, lag_entries: f.lag_entries };
    v1::ShardReport {
        shard,
        leader: leader.unwrap_or_default(),
        term,
        commit_index: commit,
        applied_index: applied,
        last_index: last,
        voters,
        learners,
        replica,
        role: role.name().into(),
        asleep,
        entries,
        bytes,
        state_hash,
        followers: followers.into_iter().map(follower).collect(),
    }
}
