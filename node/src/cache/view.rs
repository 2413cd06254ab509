//! What a node tells about itself, from before it has joined until it is gone: the one [`Introspect`].

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::RwLock;

use super::{node::NodeOptions, rates::Rates, ready, storage::Storage};
use crate::{
    cluster::{ClusterSpec, map::ClusterMap},
    consensus::Role,
    error::Error,
    multiraft::{
        introspect::{
            ClusterStatus, Fact, FollowerStatus, Governing, Introspect, NodeState, NodeStatus, PeerStatus,
            ReplicaRole, ShardStatus, ShardTotals,
        },
        node::GroupStatus,
        runtime::RuntimeHandle,
    },
    network::ClusterToken,
    types::{GroupId, Incarnation, LogIndex, NodeId, ReplicaId, ShardId},
};

/// How long a leadership transfer may take before its caller is told.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

/// How far the node is.
enum Stage {
    Forming,
    /// It reads its data: so many replicas of so many are done.
    Recovering {
        done: usize,
        total: usize,
    },
    Joined {
        runtime: RuntimeHandle,
    },
    Refused {
        reason: String,
    },
    Stopping {
        runtime: Option<RuntimeHandle>,
    },
}

struct Inner {
    node: NodeId,
    incarnation: Incarnation,
    /// The gRPC doors of the static list.
    addresses: BTreeMap<NodeId, String>,
    started: Instant,
    rates: Rates,
    /// What a cluster is to be that is formed through this node.
    spec: ClusterSpec,
    /// What it shows to others when it asks them for a change of the map.
    token: Option<ClusterToken>,
    /// Where its data is, if on a disk.
    data_dir: Option<PathBuf>,
    stage: RwLock<Stage>,
}

/// A node as it is seen from outside; cheap to clone.
#[derive(Clone)]
pub struct NodeView(Arc<Inner>);

impl NodeView {
    pub(super) fn new(options: &NodeOptions, incarnation: Incarnation) -> Self {
        let NodeOptions { node, advertise, entry, spec, token, storage, .. } = options;
        let data_dir = match storage {
            Storage::Memory => None,
            Storage::Disk(disk) => Some(disk.data_dir.clone()),
        };
        Self(Arc::new(Inner {
            node: *node,
            incarnation,
            addresses: entry.listed((*node, advertise)).into_iter().collect(),
            started: Instant::now(),
            rates: Rates::default(),
            spec: spec.clone(),
            token: token.clone(),
            data_dir,
            stage: RwLock::new(Stage::Forming),
        }))
    }

    pub(super) fn set_joined(&self, runtime: RuntimeHandle) {
        *self.0.stage.write() = Stage::Joined { runtime };
    }

    pub(super) fn set_recovering(&self, done: usize, total: usize) {
        let mut stage = self.0.stage.write();
        // The threads that read may overtake one another.
        let behind = matches!(&*stage, Stage::Recovering { done: before, .. } if done < *before);
        if !behind {
            *stage = Stage::Recovering { done, total };
        }
    }

    pub(super) fn token(&self) -> String {
        self.0.token.as_ref().map(|token| token.text().to_owned()).unwrap_or_default()
    }

    pub(super) fn spec(&self) -> &ClusterSpec {
        &self.0.spec
    }

    /// How much the shards do, measured by the pump.
    pub(super) fn rates(&self) -> &Rates {
        &self.0.rates
    }

    pub(super) fn set_refused(&self, reason: String) {
        *self.0.stage.write() = Stage::Refused { reason };
    }

    /// The node goes away: not ready from now on. One that was refused goes on saying why.
    pub fn set_stopping(&self) {
        let mut stage = self.0.stage.write();
        let before = std::mem::replace(&mut *stage, Stage::Forming);
        *stage = match before {
            Stage::Joined { runtime } => Stage::Stopping { runtime: Some(runtime) },
            Stage::Stopping { runtime } => Stage::Stopping { runtime },
            Stage::Forming | Stage::Recovering { .. } => Stage::Stopping { runtime: None },
            Stage::Refused { reason } => Stage::Refused { reason },
        };
    }

    /// The runtime, while there is one.
    pub(super) fn runtime(&self) -> Option<RuntimeHandle> {
        match &*self.0.stage.read() {
            Stage::Joined { runtime } | Stage::Stopping { runtime: Some(runtime) } => Some(runtime.clone()),
            Stage::Forming | Stage::Recovering { .. } | Stage::Refused { .. } | Stage::Stopping { runtime: None } => {
                None
            }
        }
    }

    /// The runtime and the newest map, while there are any.
    pub(super) fn with_runtime<T>(&self, f: impl FnOnce(&Arc<ClusterMap>, &RuntimeHandle) -> T) -> Option<T> {
        let runtime = self.runtime()?;
        Some(f(&runtime.map(), &runtime))
    }

    pub(super) fn id(&self) -> NodeId {
        self.0.node
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    fn state(&self) -> (NodeState, String) {
        match &*self.0.stage.read() {
            Stage::Forming => (NodeState::Forming, "waits for the other listed nodes".to_owned()),
            Stage::Recovering { done, total } => {
                (NodeState::Recovering, format!("reads its data: {done} of {total} replicas done"))
            }
            Stage::Joined { .. } => (NodeState::Joined, String::new()),
            Stage::Refused { reason } => (NodeState::Refused, reason.clone()),
            Stage::Stopping { .. } => (NodeState::Stopping, "was told to stop".to_owned()),
        }
    }

    /// The members that may be alive, or the static list before there is a map.
    fn addresses(&self) -> BTreeMap<NodeId, String> {
        let living = |map: &Arc<ClusterMap>, _: &RuntimeHandle| {
            let members = map.members.iter().filter(|(node, _)| map.incarnation_of(**node).is_some());
            members.map(|(node, member)| (*node, member.address.clone())).collect()
        };
        self.with_runtime(living).unwrap_or_else(|| self.0.addresses.clone())
    }

    /// Whether what is acknowledged is kept, and where.
    fn storage(&self) -> Fact {
        let failure = self.with_runtime(|_, runtime| runtime.disk()?.failure().map(str::to_owned)).flatten();
        let (ok, detail) = match (failure, &self.0.data_dir) {
            (Some(failure), _) => (false, failure),
            (None, Some(dir)) => (true, format!("rocksdb in {}", dir.display())),
            (None, None) => (true, "memory".to_owned()),
        };
        Fact { name: "storage", ok, detail }
    }

    /// What the local replicas lack, in plain words.
    fn lacking(&self) -> Vec<String> {
        self.with_runtime(|map, runtime| ready::lacking(map, self.0.node, self.0.incarnation, runtime.board()))
            .unwrap_or_default()
    }
}

fn role(status: &GroupStatus) -> ReplicaRole {
    match status.role {
        Role::Leader => ReplicaRole::Leader,
        Role::Candidate => ReplicaRole::Candidate,
        Role::Follower if status.learners.contains(&status.replica) => ReplicaRole::Learner,
        Role::Follower => ReplicaRole::Follower,
    }
}

fn shard_status(
    map: &ClusterMap,
    shard: ShardId,
    leader: Option<NodeId>,
    local: Option<&GroupStatus>,
) -> ShardStatus {
    let group = GroupId::of_shard(shard);
    let nodes = |replicas: &[ReplicaId]| {
        replicas.iter().filter_map(|replica| Some(map.node_of(group, *replica)?.0)).collect::<Vec<_>>()
    };
    let set = map.groups.get(&group);
    let by_map = |learner: bool| {
        let replicas = set.into_iter().flat_map(|set| &set.replicas);
        replicas.filter(|at| at.learner == learner).map(|at| at.node.0).collect::<Vec<_>>()
    };
    let leader = leader.map(|node| node.0);
    let Some(local) = local else {
        return ShardStatus {
            shard,
            leader,
            term: 0,
            commit: 0,
            applied: 0,
            last: 0,
            voters: by_map(false),
            learners: by_map(true),
            replica: 0,
            role: ReplicaRole::None,
            asleep: false,
            entries: 0,
            bytes: 0,
            state_hash: String::new(),
            followers: Vec::new(),
            health: "",
            ops_per_second: 0.0,
        };
    };
    let follower = |(replica, node, matched): &(ReplicaId, NodeId, LogIndex)| {
        (*replica != local.replica).then(|| FollowerStatus {
            node: node.0,
            matched: matched.0,
            lag_entries: local.last.0.saturating_sub(matched.0),
        })
    };
    ShardStatus {
        shard,
        leader,
        term: local.term.0,
        commit: local.commit.0,
        applied: local.applied.0,
        last: local.last.0,
        voters: nodes(&local.voters),
        learners: nodes(&local.learners),
        replica: local.replica.0,
        role: role(local),
        asleep: local.asleep,
        entries: local.entries,
        bytes: local.bytes,
        state_hash: format!("{:032x}", local.state_hash),
        followers: local.matches.iter().filter_map(follower).collect(),
        health: local.health.name(),
        ops_per_second: 0.0,
    }
}

impl Introspect for NodeView {
    fn status(&self) -> NodeStatus {
        let (state, reason) = self.state();
        let shards = self.shards();
        let count = |is: &dyn Fn(&ShardStatus) -> bool| shards.iter().filter(|shard| is(shard)).count() as u32;
        let connected = |node: NodeId| self.with_runtime(|_, runtime| runtime.peers().is_up(node)).unwrap_or(false);
        let peers = self.addresses().into_iter().filter(|(node, _)| *node != self.0.node);
        NodeStatus {
            node: self.0.node.0,
            address: self.address(self.0.node).unwrap_or_default(),
            incarnation: self.0.incarnation.to_string(),
            cluster_uid: self.with_runtime(|map, _| map.uid.to_string()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: self.with_runtime(|map, _| map.feature_level).unwrap_or(0),
            state,
            reason,
            peers: peers
                .map(|(node, address)| PeerStatus { node: node.0, address, connected: connected(node) })
                .collect(),
            shards: ShardTotals {
                total: shards.len() as u32,
                local: count(&|shard| shard.role != ReplicaRole::None),
                led: count(&|shard| shard.role == ReplicaRole::Leader),
                leaderless: count(&|shard| shard.leader.is_none()),
            },
            uptime_ms: self.0.started.elapsed().as_millis() as u64,
        }
    }

    fn shards(&self) -> Vec<ShardStatus> {
        self.with_runtime(|map, runtime| {
            let board = runtime.board();
            let local: BTreeMap<GroupId, GroupStatus> =
                board.groups().into_iter().map(|status| (status.group, status)).collect();
            let status = |shard| {
                let status = shard_status(map, shard, board.leader(shard), local.get(&GroupId::of_shard(shard)));
                ShardStatus { ops_per_second: self.0.rates.of(shard), ..status }
            };
            (0..map.num_shards).map(status).collect()
        })
        .unwrap_or_default()
    }

    fn cluster(&self) -> Option<ClusterStatus> {
        let leader = self.meta_leader();
        self.with_runtime(|map, runtime| {
            let governing = runtime.board().governing();
            ClusterStatus::new(map, leader, governing.as_deref(), runtime.now().wall.0)
        })
    }

    fn governing(&self) -> Option<Arc<Governing>> {
        self.with_runtime(|_, runtime| runtime.board().governing()).flatten()
    }

    fn meta_leader(&self) -> Option<NodeId> {
        self.with_runtime(|_, runtime| runtime.board().meta_leader()).flatten()
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.with_runtime(|_, runtime| runtime.board().leader(shard)).flatten()
    }

    fn address(&self, node: NodeId) -> Option<String> {
        let by_map = self.with_runtime(|map, _| map.members.get(&node).map(|member| member.address.clone()));
        by_map.unwrap_or_else(|| self.0.addresses.get(&node).cloned())
    }

    fn node(&self) -> NodeId {
        self.0.node
    }

    fn readiness(&self) -> Vec<Fact> {
        let (state, reason) = self.state();
        let joined = self.with_runtime(|map, _| format!("cluster {}, map version {}", map.uid, map.version));
        let lacking = self.lacking();
        let replicas = joined.is_some() && lacking.is_empty();
        let some = |lacking: &[String]| match lacking {
            [first, .., _] => format!("{first}, and {} more", lacking.len() - 1),
            [only] => only.clone(),
            [] => "all here and caught up".to_owned(),
        };
        vec![
            Fact { name: "joined", ok: joined.is_some(), detail: joined.clone().unwrap_or_else(|| reason.clone()) },
            Fact {
                name: "replicas",
                ok: replicas,
                detail: if joined.is_some() { some(&lacking) } else { "none before it has joined".to_owned() },
            },
            self.storage(),
            Fact {
                name: "serving",
                ok: state != NodeState::Stopping,
                detail: if state == NodeState::Stopping { reason } else { "yes".to_owned() },
            },
        ]
    }

    fn worker_turns(&self) -> Vec<u64> {
        self.with_runtime(|_, runtime| runtime.board().turns()).unwrap_or_default()
    }

    async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), Error> {
        let own = self.0.node;
        let asked = self.with_runtime(|map, runtime| {
            let leader = runtime.board().leader(shard);
            if leader != Some(own) {
                return Err(Error::NotLeader { shard, hint: leader });
            }
            let voter =
                map.groups.get(&GroupId::of_shard(shard)).is_some_and(|set| set.voters().any(|at| at.node == to));
            if !voter {
                let reason = format!("node {to} has no voter of shard {shard}");
                return Err(Error::Invalid { field: "to", reason });
            }
            Ok(runtime.clone())
        });
        let runtime = asked.unwrap_or_else(|| {
            Err(Error::Unavailable { reason: "this node has not joined a cluster yet".to_owned() })
        })?;
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        while Instant::now() < deadline {
            if self.leader(shard) == Some(to) {
                return Ok(());
            }
            // A target that is a little late is refused by the core; it is asked again until it has caught up.
            runtime.transfer_leader(shard, to);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Error::Unavailable { reason: format!("node {to} did not take shard {shard} over in time") })
    }
}
