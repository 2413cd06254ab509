//! The service `crema.v1.Admin`: looks at the cluster, and changes it through the meta group.
//!
//! Sits on [`Introspect`], [`Govern`] and [`Initiate`] alone. Each verb checks what was asked against the map, so that
//! a refusal names the field, its value and what would be right; the meta group's `apply` has the last word. What
//! needs the health of the cluster runs on the meta leader; another node passes the call on (`leader`).

use std::{sync::Arc, time::Duration};

use crema_api::v1::{self, admin_server::Admin};
use tonic::{Request, Response, Status};

use super::failure::{self, Failure};
use crate::{
    cluster::{
        ClusterMap,
        command::{MetaCommand, Refused},
    },
    error::Error,
    multiraft::{
        govern::{Govern, GovernError, Initiate},
        introspect::{self, Introspect},
    },
};

mod change;
mod drain;
mod init;
mod leader;
mod rebalance;
mod report;
mod reset;
mod settings;
mod token;
mod wait;

pub use crate::network::ClusterToken;

use leader::{Leaders, Seat, pass_on};
pub(super) use token::Gate;

/// How long the meta group may take to commit one change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A change that builds on the map as it is is tried so often when others change the map meanwhile.
const ATTEMPTS: u32 = 20;
/// Until the next try: this node's copy of the map is to catch up.
const PAUSE: Duration = Duration::from_millis(50);

/// What Admin needs of a node.
pub trait Administer: Introspect + Govern + Initiate {}

impl<N: Introspect + Govern + Initiate> Administer for N {}

/// The service over one node.
#[derive(Clone, Debug)]
pub(super) struct AdminService<N> {
    node: N,
    leaders: Leaders,
}

type Answer<T> = Result<Response<T>, Status>;

impl<N: Administer> AdminService<N> {
    pub(super) fn new(node: N) -> Self {
        Self { node, leaders: Leaders::default() }
    }

    /// The map as this node has it.
    fn map(&self) -> Result<Arc<ClusterMap>, Failure> {
        let none = || Error::Unavailable { reason: "this node belongs to no cluster yet".to_owned() };
        self.node.map().ok_or_else(none).map_err(Failure::from)
    }

    /// Commits one change.
    async fn commit(&self, command: MetaCommand, expected: Option<u64>) -> Result<Arc<ClusterMap>, Failure> {
        Ok(self.node.govern(command, expected, CHANGE_TIMEOUT).await?)
    }

    fn answer<T>(&self, result: Result<T, Failure>) -> Answer<T> {
        result.map(Response::new).map_err(|failure| failure::to_status(failure, None, &self.node))
    }

    /// Who answers: this node as the meta leader, or whoever that is.
    fn seat<T>(&self, request: &Request<T>) -> Result<Seat, Status> {
        let seat = self.leaders.seat(&self.node, request.metadata());
        seat.map_err(|failure| failure::to_status(failure, None, &self.node))
    }
}

/// A version that the caller expects; 0 is any.
fn expected(version: u64) -> Option<u64> {
    (version != 0).then_some(version)
}

/// Refuses when the caller expects another version than the map's that a verb is about to judge by.
fn check_version(map: &ClusterMap, expected: Option<u64>) -> Result<(), Failure> {
    match expected {
        Some(expected) if expected != map.version => {
            Err(Failure::Declined(Refused::Version { expected, actual: map.version }.to_string()))
        }
        Some(_) | None => Ok(()),
    }
}

fn declined<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Declined(reason.into()))
}

fn changed(map: &ClusterMap) -> v1::ChangeResponse {
    v1::ChangeResponse { map_version: map.version }
}

impl From<GovernError> for Failure {
    fn from(error: GovernError) -> Self {
        match error {
            GovernError::NotLeader(_) => {
                let reason = "the leader of the meta group has just changed; nothing was changed".to_owned();
                Self::Error(Error::Unavailable { reason })
            }
            GovernError::Refused(refused) => Self::Declined(refused.to_string()),
            GovernError::Unknown(reason) => Self::Error(Error::OutcomeUnknown { reason, index: None }),
            GovernError::Unavailable(reason) => Self::Error(Error::Unavailable { reason }),
        }
    }
}

#[tonic::async_trait]
impl<N: Administer> Admin for AdminService<N> {
    async fn init(&self, request: Request<v1::InitRequest>) -> Answer<v1::InitResponse> {
        self.answer(self.form(request.into_inner()).await)
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let version = self.node.map().map_or(0, |map| map.version);
        let leader = self.node.meta_leader().map_or(0, |node| node.0);
        Ok(Response::new(report::status_response(self.node.status(), version, leader)))
    }

    async fn nodes(&self, request: Request<v1::NodesRequest>) -> Answer<v1::NodesResponse> {
        let health = match self.seat(&request) {
            Ok(Seat::Here(governing)) => Some(governing),
            Ok(Seat::There(mut leader)) => match leader.nodes(pass_on(request)).await {
                Ok(answer) => return Ok(answer),
                // The map alone still says who is a member: of use just when nobody leads.
                Err(_) => None,
            },
            Err(_) => None,
        };
        self.answer(self.map().map(|map| {
            v1::NodesResponse {
                map_version: map.version,
                nodes: introspect::members(&map, health.as_deref().map(|governing| &governing.health))
                    .into_iter()
                    .map(report::member_report)
                    .collect(),
            }
        }))
    }

    async fn shards(&self, request: Request<v1::ShardsRequest>) -> Answer<v1::ShardsResponse> {
        let wanted = request.into_inner().shards;
        let chosen = self.node.shards().into_iter().filter(|s| wanted.is_empty() || wanted.contains(&s.shard));
        Ok(Response::new(v1::ShardsResponse { shards: chosen.map(report::shard_report).collect() }))
    }

    async fn map(&self, _: Request<v1::MapRequest>) -> Answer<v1::MapResponse> {
        let map = AdminService::map(self);
        self.answer(map.map(|map| v1::MapResponse { map: Some(v1::ClusterMap::from(&*map)) }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        match self.seat(&request)? {
            Seat::Here(governing) => self.answer(self.drain_nodes(&governing.health, request.into_inner()).await),
            Seat::There(mut leader) => leader::changed(leader.drain(pass_on(request)).await, &self.node),
        }
    }

    async fn undrain(&self, request: Request<v1::UndrainRequest>) -> Answer<v1::ChangeResponse> {
        self.answer(self.undrain_node(request.into_inner()).await)
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Answer<v1::ChangeResponse> {
        self.answer(self.remove_node(request.into_inner()).await)
    }

    async fn mark_down(&self, request: Request<v1::MarkDownRequest>) -> Answer<v1::ChangeResponse> {
        self.answer(self.mark_down_node(request.into_inner()).await)
    }

    async fn reset_shards(&self, request: Request<v1::ResetShardsRequest>) -> Answer<v1::ResetShardsResponse> {
        match self.seat(&request)? {
            Seat::Here(governing) => self.answer(self.reset_lost(&governing.health, request.into_inner()).await),
            Seat::There(mut leader) => leader::changed(leader.reset_shards(pass_on(request)).await, &self.node),
        }
    }

    async fn rebalance(&self, request: Request<v1::RebalanceRequest>) -> Answer<v1::RebalanceResponse> {
        match self.seat(&request)? {
            Seat::Here(governing) => self.answer(self.rebalance_by(&governing.health, request.into_inner()).await),
            Seat::There(mut leader) => leader::changed(leader.rebalance(pass_on(request)).await, &self.node),
        }
    }

    async fn move_shard(&self, request: Request<v1::MoveShardRequest>) -> Answer<v1::MoveShardResponse> {
        self.answer(self.move_replica(request.into_inner()).await)
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Answer<v1::TransferLeaderResponse> {
        match self.seat(&request)? {
            Seat::Here(_) => {
                let ask = request.into_inner();
                let shard = ask.shard;
                let moved = self.prefer(ask).await.map(Response::new);
                moved.map_err(|failure| failure::to_status(failure, Some(shard), &self.node))
            }
            Seat::There(mut leader) => leader::changed(leader.transfer_leader(pass_on(request)).await, &self.node),
        }
    }

    async fn pause_migrations(&self, _: Request<v1::PauseMigrationsRequest>) -> Answer<v1::ChangeResponse> {
        self.answer(self.set_paused(true).await)
    }

    async fn resume_migrations(&self, _: Request<v1::ResumeMigrationsRequest>) -> Answer<v1::ChangeResponse> {
        self.answer(self.set_paused(false).await)
    }

    async fn cancel_migration(&self, request: Request<v1::CancelMigrationRequest>) -> Answer<v1::ChangeResponse> {
        self.answer(self.cancel(request.into_inner()).await)
    }

    async fn migrations(&self, request: Request<v1::MigrationsRequest>) -> Answer<v1::MigrationsResponse> {
        let governing = match self.seat(&request) {
            Ok(Seat::Here(governing)) => Some(governing),
            Ok(Seat::There(mut leader)) => match leader.migrations(pass_on(request)).await {
                Ok(answer) => return Ok(answer),
                Err(_) => None,
            },
            Err(_) => None,
        };
        self.answer(self.map().map(|map| {
            let health = governing.as_deref().map(|governing| &governing.health);
            let found = introspect::migrations(&map, health, wait::wall_ms());
            v1::MigrationsResponse {
                map_version: map.version,
                migrations: found.into_iter().map(report::migration_report).collect(),
                paused: map.settings.migrations_paused,
                waiting_on: governing.as_deref().map(|governing| governing.waiting_on.clone()).unwrap_or_default(),
            }
        }))
    }

    async fn settings(&self, _: Request<v1::SettingsRequest>) -> Answer<v1::SettingsResponse> {
        self.answer(self.map().map(|map| settings::response(&map)))
    }

    async fn update_settings(&self, request: Request<v1::UpdateSettingsRequest>) -> Answer<v1::SettingsResponse> {
        self.answer(self.change_settings(request.into_inner()).await)
    }

    async fn wait_healthy(&self, request: Request<v1::WaitHealthyRequest>) -> Answer<v1::WaitHealthyResponse> {
        match self.seat(&request)? {
            Seat::Here(_) => self.answer(self.until_healthy(request.into_inner()).await),
            Seat::There(mut leader) => leader::read(leader.wait_healthy(pass_on(request)).await, &self.node),
        }
    }
}
