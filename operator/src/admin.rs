//! The cache's own nodes, through `crema.v1.Admin`: a look at the cluster, and the changes that only it can make.
//!
//! Called by `observe` and `apply`. A node is asked at its pod's address, so that no name service is in the way, and what
//! it says counts only if it says that it is the node it should be. A change is never sent twice by this module: the next
//! pass looks at what came of it, and decides anew.

use std::{collections::BTreeSet, fmt, time::Duration};

use crema_api::{
    client::{AdminClient, AdminError},
    v1,
};
use futures::{StreamExt as _, stream};

use crate::{
    model::{Answer, ClusterUid, ClusterView, Incarnation, MapVersion, NodeId},
    plan::{SettingsChange, eviction_name},
};

mod view;

use view::{Reports, map_view};

/// How long a node may take to be reached, and to answer a question.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the first members may take to agree.
const INIT_TIMEOUT: Duration = Duration::from_secs(20);
/// A node waits for a new leader before it answers; this is beyond its wait.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(25);
/// A change that touches many shards may wait for its turn in the meta group; its answer is worth waiting for.
const RESET_TIMEOUT: Duration = Duration::from_secs(15);
/// Nodes that are asked at once.
const ASKED_AT_ONCE: usize = 32;
/// Leaderships that move at once: each is a short pause of one shard.
const TRANSFERS_AT_ONCE: usize = 4;

/// Where a node's Admin service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Who should be there.
    pub node: NodeId,
    /// `host:port` of its pod; `None` while the pod has no address.
    pub address: Option<String>,
}

/// The nodes of one cluster.
#[derive(Clone)]
pub struct Nodes {
    doors: Vec<Door>,
    token: Option<String>,
}

/// What all nodes said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What the planner reads.
    pub view: ClusterView,
    /// The versions that they say they run.
    pub versions: BTreeSet<String>,
}

/// Not its token.
impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("doors", &self.doors).finish_non_exhaustive()
    }
}

/// Why a change was not made, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No node can be asked.
    #[error("no node that belongs to the cluster can be reached")]
    Nobody,
    /// A node that is needed has no address.
    #[error("the pod of node {0} has no address")]
    NoAddress(NodeId),
    /// A node refused, or its answer was lost.
    #[error("{call}")]
    Call {
        /// Which call.
        call: &'static str,
        /// What came.
        source: AdminError,
    },
    /// Another cluster was formed than the one that was asked for.
    #[error("cluster {found} was formed, not {wanted}")]
    OtherCluster {
        /// What was asked for.
        wanted: ClusterUid,
        /// What is there.
        found: String,
    },
}

/// One node's word.
struct Heard {
    node: NodeId,
    answer: Answer,
    status: Option<v1::StatusResponse>,
    shards: Vec<v1::ShardReport>,
}

impl Nodes {
    /// `token`: what their Secret says; without one they answer nothing.
    #[must_use]
    pub fn new(doors: Vec<Door>, token: Option<String>) -> Self {
        Self { doors, token }
    }

    /// What all of them say.
    pub async fn look(&self) -> Look {
        let questions: Vec<_> = self.doors.iter().map(|door| self.hear(door)).collect();
        let heard: Vec<Heard> = stream::iter(questions).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let map = self.map(&heard).await;
        let statuses = heard.iter().filter_map(|heard| heard.status.as_ref());
        let versions = statuses.map(|status| status.version.clone()).filter(|version| !version.is_empty()).collect();
        let view = ClusterView { pods: heard.into_iter().map(|heard| (heard.node, heard.answer)).collect(), map };
        Look { view, versions }
    }

    async fn hear(&self, door: &Door) -> Heard {
        let node = door.node;
        match self.ask(door).await {
            Ok((status, shards)) => Heard { node, answer: answer(node, &status), status: Some(status), shards },
            Err(reason) => Heard { node, answer: Answer::Silent { reason }, status: None, shards: Vec::new() },
        }
    }

    async fn ask(&self, door: &Door) -> Result<(v1::StatusResponse, Vec<v1::ShardReport>), String> {
        let address = door.address.clone().ok_or("its pod has no address")?;
        let mut client = self.connect(address, TIMEOUT).await.map_err(|error| error.to_string())?;
        let status = client.status(v1::StatusRequest {}).await.map_err(|error| error.to_string())?;
        if status.cluster_uid.is_empty() {
            return Ok((status, Vec::new()));
        }
        let shards = client.shards(v1::ShardsRequest::default()).await.map_err(|error| error.to_string())?.shards;
        Ok((status, shards))
    }

    /// The map of the one that leads the meta group, else the newest there is.
    async fn map(&self, heard: &[Heard]) -> Option<crate::model::MapView> {
        let mut members: Vec<(&Heard, &v1::StatusResponse)> = heard
            .iter()
            .filter(|heard| matches!(heard.answer, Answer::Member { .. }))
            .filter_map(|heard| heard.status.as_ref().map(|status| (heard, status)))
            .collect();
        members.sort_by_key(|(heard, status)| {
            let leads = status.meta_leader == heard.node.0;
            std::cmp::Reverse((leads, status.map_version))
        });
        for (heard_from, status) in members {
            let reports = Reports {
                meta_leader: NodeId(status.meta_leader),
                shards: heard.iter().map(|heard| (heard.node, heard.shards.as_slice())).collect(),
                map_versions: heard
                    .iter()
                    .filter_map(|heard| Some((heard.node, heard.status.as_ref()?.map_version)))
                    .collect(),
            };
            match self.map_of(heard_from.node, &reports).await {
                Ok(map) => return Some(map),
                Err(reason) => tracing::warn!(node = %heard_from.node, reason, "ask for the cluster map"),
            }
        }
        None
    }

    async fn map_of(&self, node: NodeId, reports: &Reports<'_>) -> Result<crate::model::MapView, String> {
        let door = self.doors.iter().find(|door| door.node == node).ok_or("it has no door")?;
        let address = door.address.clone().ok_or("its pod has no address")?;
        let text = |error: AdminError| error.to_string();
        let mut client = self.connect(address, TIMEOUT).await.map_err(text)?;
        let map = client.map(v1::MapRequest {}).await.map_err(text)?.map.ok_or("its answer has no map")?;
        let nodes = client.nodes(v1::NodesRequest {}).await.map_err(text)?;
        let migrations = client.migrations(v1::MigrationsRequest {}).await.map_err(text)?;
        map_view(map, &nodes, migrations, reports)
    }

    async fn connect(&self, address: String, timeout: Duration) -> Result<AdminClient, AdminError> {
        AdminClient::connect(&[address], self.token.as_deref(), timeout).await
    }

    /// A connection to any of them that can be reached. Whoever it is passes on what only another can do.
    async fn anybody(&self, timeout: Duration) -> Result<AdminClient, ChangeError> {
        let addresses: Vec<String> = self.doors.iter().filter_map(|door| door.address.clone()).collect();
        if addresses.is_empty() {
            return Err(ChangeError::Nobody);
        }
        AdminClient::connect(&addresses, self.token.as_deref(), timeout)
            .await
            .map_err(|source| ChangeError::Call { call: "reach a node", source })
    }

    /// Forms the cluster of these very lives, with this identity. `advertised` says how a node is reached by the others.
    ///
    /// # Errors
    /// What a node refused; or that another cluster is there.
    pub async fn init(
        &self,
        uid: &ClusterUid,
        members: &[(NodeId, Incarnation)],
        advertised: impl Fn(NodeId) -> String,
    ) -> Result<(), ChangeError> {
        let first = members.first().map(|(node, _)| *node).ok_or(ChangeError::Nobody)?;
        let door = self.doors.iter().find(|door| door.node == first);
        let address = door.and_then(|door| door.address.clone()).ok_or(ChangeError::NoAddress(first))?;
        let at = |(node, life): &(NodeId, Incarnation)| v1::NodeAt {
            node: node.0,
            address: advertised(*node),
            incarnation: life.0.clone(),
        };
        let ask = v1::InitRequest {
            nodes: members.iter().map(at).collect(),
            timeout_ms: INIT_TIMEOUT.as_millis() as u64,
            cluster_uid: uid.0.clone(),
        };
        let failed = |source| ChangeError::Call { call: "form the cluster", source };
        let formed = self.connect(address, TIMEOUT).await.map_err(failed)?.init(ask).await.map_err(failed)?;
        if formed.cluster_uid == uid.0 {
            Ok(())
        } else {
            Err(ChangeError::OtherCluster { wanted: uid.clone(), found: formed.cluster_uid })
        }
    }

    /// Moves every replica off these nodes, from now on.
    ///
    /// # Errors
    /// What the meta leader refused: the others may lack the room.
    pub async fn drain(&self, nodes: &[NodeId], expected: MapVersion) -> Result<(), ChangeError> {
        let nodes = nodes.iter().map(|node| node.0).collect();
        let ask = v1::DrainRequest { nodes, dry_run: false, expected_version: expected.0 };
        called("drain nodes", self.anybody(TIMEOUT).await?.drain(ask).await)
    }

    /// A node stays after all.
    ///
    /// # Errors
    /// What the meta group refused.
    pub async fn undrain(&self, node: NodeId, expected: MapVersion) -> Result<(), ChangeError> {
        let ask = v1::UndrainRequest { node: node.0, expected_version: expected.0 };
        called("undrain a node", self.anybody(TIMEOUT).await?.undrain(ask).await)
    }

    /// A node that holds nothing has left for good.
    ///
    /// # Errors
    /// What the meta group refused.
    pub async fn remove(&self, node: NodeId, expected: MapVersion) -> Result<(), ChangeError> {
        let ask = v1::RemoveRequest { node: node.0, expected_version: expected.0 };
        called("remove a node", self.anybody(TIMEOUT).await?.remove(ask).await)
    }

    /// This life of a node is dead.
    ///
    /// # Errors
    /// What the meta group refused: the node may be in another life by now.
    pub async fn mark_down(&self, node: NodeId, life: &Incarnation, expected: MapVersion) -> Result<(), ChangeError> {
        let ask = v1::MarkDownRequest { node: node.0, incarnation: life.0.clone(), expected_version: expected.0 };
        called("declare a node down", self.anybody(TIMEOUT).await?.mark_down(ask).await)
    }

    /// Lets shards whose majority is dead for good return empty; these lives are dead.
    ///
    /// # Errors
    /// What the meta leader refused: a life may be connected, or a shard may not be lost after all.
    pub async fn reset_shards(
        &self,
        shards: &[u32],
        dead: &[(NodeId, Incarnation)],
        expected: MapVersion,
    ) -> Result<(), ChangeError> {
        let life = |(node, life): &(NodeId, Incarnation)| v1::NodeLife { node: node.0, incarnation: life.0.clone() };
        let ask = v1::ResetShardsRequest {
            shards: shards.to_vec(),
            dead: dead.iter().map(life).collect(),
            expected_version: expected.0,
            dry_run: false,
        };
        called("reset shards", self.anybody(RESET_TIMEOUT).await?.reset_shards(ask).await)
    }

    /// Gives each of these shards its new leader. All are attempted; the first failure is told.
    ///
    /// # Errors
    /// What a node refused: the new leader may be behind.
    pub async fn transfer_leaders(&self, moves: &[(u32, NodeId)]) -> Result<(), ChangeError> {
        let client = self.anybody(TRANSFER_TIMEOUT).await?;
        let mut calls = Vec::with_capacity(moves.len());
        for (shard, node) in moves {
            let ask = v1::TransferLeaderRequest { shard: *shard, to_node: node.0 };
            let mut client = client.clone();
            calls.push(async move { called("move a leadership", client.transfer_leader(ask).await) });
        }
        let results: Vec<Result<(), ChangeError>> =
            stream::iter(calls).buffer_unordered(TRANSFERS_AT_ONCE).collect().await;
        results.into_iter().collect()
    }

    /// Changes some of the shared settings.
    ///
    /// # Errors
    /// What the meta group refused.
    pub async fn update_settings(&self, change: &SettingsChange, expected: MapVersion) -> Result<(), ChangeError> {
        let SettingsChange {
            max_entries_per_shard,
            max_bytes_per_shard,
            default_ttl_ms,
            eviction,
            migration_concurrency,
            migration_bytes_per_s,
            repair_after_ms,
            replication_factor,
        } = change.clone();
        let ask = v1::UpdateSettingsRequest {
            expected_version: expected.0,
            max_entries_per_shard,
            max_bytes_per_shard,
            default_ttl_ms,
            eviction: eviction.map(|eviction| eviction_name(eviction).to_owned()),
            max_clock_skew_ms: None,
            migration_concurrency,
            migration_bytes_per_s,
            repair_after_ms,
            replication_factor,
        };
        called("change the shared settings", self.anybody(TIMEOUT).await?.update_settings(ask).await)
    }

    /// Whether migrations may begin and copy.
    ///
    /// # Errors
    /// What the meta group refused.
    pub async fn pause_migrations(&self, paused: bool) -> Result<(), ChangeError> {
        let mut client = self.anybody(TIMEOUT).await?;
        if paused {
            called("pause migrations", client.pause_migrations(v1::PauseMigrationsRequest {}).await)
        } else {
            called("resume migrations", client.resume_migrations(v1::ResumeMigrationsRequest {}).await)
        }
    }
}

/// What a node is, by its own word; silent when it is not the one that should be there, or doesn't know yet.
fn answer(wanted: NodeId, status: &v1::StatusResponse) -> Answer {
    let v1::StatusResponse { node, incarnation, cluster_uid, state, reason, map_version, .. } = status;
    if *node != wanted.0 {
        return Answer::Silent { reason: format!("it says that it is node {node}") };
    }
    let incarnation = Incarnation(incarnation.clone());
    match (cluster_uid.as_str(), state.as_str()) {
        ("", "forming") => Answer::Empty { incarnation },
        ("", state) => Answer::Silent { reason: format!("it is {state}: {reason}") },
        (uid, _) => {
            let map_version = MapVersion(*map_version);
            Answer::Member { cluster_uid: ClusterUid(uid.to_owned()), incarnation, map_version }
        }
    }
}

fn called<T>(call: &'static str, result: Result<T, AdminError>) -> Result<(), ChangeError> {
    result.map(drop).map_err(|source| ChangeError::Call { call, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, cluster_uid: &str, state: &str) -> v1::StatusResponse {
        v1::StatusResponse {
            node,
            incarnation: "a1".to_owned(),
            cluster_uid: cluster_uid.to_owned(),
            state: state.to_owned(),
            reason: "r".to_owned(),
            map_version: 4,
            ..v1::StatusResponse::default()
        }
    }

    #[test]
    fn a_node_counts_only_as_itself() {
        let silent = |reason: &str| Answer::Silent { reason: reason.to_owned() };
        let incarnation = || Incarnation("a1".to_owned());
        let member = Answer::Member {
            cluster_uid: ClusterUid("c".into()),
            incarnation: incarnation(),
            map_version: MapVersion(4),
        };
        for (said, expected) in [
            (status(2, "c", "joined"), silent("it says that it is node 2")),
            (status(1, "", "forming"), Answer::Empty { incarnation: incarnation() }),
            (status(1, "", "refused"), silent("it is refused: r")),
            (status(1, "c", "joined"), member.clone()),
            (status(1, "c", "refused"), member),
        ] {
            assert_eq!(answer(NodeId(1), &said), expected);
        }
    }

    #[tokio::test]
    async fn who_has_no_address_is_silent() {
        let door = Door { node: NodeId(1), address: None };
        let Look { view, versions } = Nodes::new(vec![door], None).look().await;
        assert_eq!(versions, BTreeSet::new());
        assert_eq!(view.pods[&NodeId(1)], Answer::Silent { reason: "its pod has no address".to_owned() });
        assert_eq!(view.map, None);
    }
}
