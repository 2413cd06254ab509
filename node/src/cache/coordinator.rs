//! The shards of a node as a program sees them: the reference's `MultiRaftCoordinator`.
//!
//! A view and a router beside the data path, not in it: `DistributedCache` works without. It knows nothing that the
//! cluster map and the replicas don't say, and decides nothing. Hints at leaders are only that: they steer where an
//! operation is tried first when no replica here knows better, and one that names a node without a voter is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{config::NodeId, router::Router, view::NodeView};
use crate::{
    cluster::{
        ClusterMap,
        discovery::{ClusterDiscovery, LeaderHint, LeaderHints},
    },
    error::{Error, Result},
    machine::command::{Command, Condition, Expiry, Found, Op, Outcome, Put, Query},
    multiraft::{
        execute::{Executor as _, Request},
        govern::Govern as _,
        introspect::{Introspect as _, MigrationProgress, ShardStatus},
    },
    types::{GroupId, NodeId as Member, ShardId},
};

mod builder;
mod gossip;
mod route;
mod shard;

pub use builder::MultiRaftBuilder;
pub use route::{ShardRoute, ShardRouter};
pub use shard::{MultiRaftStats, Shard, ShardConfig, ShardInfo, ShardRange, ShardState};

/// How long one operation may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The shards of this node's cluster: where they are, how they are, and hints at who leads them. Cheap to clone.
///
/// ```no_run
/// # async fn example(cache: crema::DistributedCache) {
/// if let Some(coordinator) = cache.multiraft_coordinator() {
///     let shard = coordinator.shard_for_key(b"user:123");
///     println!("shard {shard} is led by {:?}", coordinator.shard_leaders()[&shard]);
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct MultiRaftCoordinator(Arc<Inner>);

struct Inner {
    router: Router,
    view: NodeView,
    hints: Mutex<LeaderHints>,
    discovery: OnceLock<Arc<dyn ClusterDiscovery>>,
    /// The node itself, when nobody else keeps it.
    owned: tokio::sync::Mutex<Option<super::node::RunningNode>>,
}

impl MultiRaftCoordinator {
    pub(super) fn new(router: Router, view: NodeView, owned: Option<super::node::RunningNode>) -> Self {
        Self(Arc::new(Inner {
            router,
            view,
            hints: Mutex::default(),
            discovery: OnceLock::new(),
            owned: tokio::sync::Mutex::new(owned),
        }))
    }

    /// The shard of a key.
    #[must_use]
    pub fn shard_for_key(&self, key: &[u8]) -> ShardId {
        self.0.router.shard_map().shard_of(key)
    }

    /// From keys to shards and their leaders, for programs that route by themselves.
    #[must_use]
    pub fn router(&self) -> ShardRouter {
        ShardRouter::new(self.clone())
    }

    /// One shard; `None` when there is none of that number.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<Shard> {
        (shard < self.total()).then(|| Shard::new(self.clone(), shard))
    }

    /// Sets a value, with the cluster's default time to live.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when it may or may not have happened; any other: it has not.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<()> {
        let put = Put {
            key: key.into(),
            value: value.into(),
            expiry: Expiry::Default,
            condition: Condition::Always,
            return_old: false,
        };
        match self.run(put.key.clone(), Op::Write(Command::Put(put))).await? {
            Outcome::Stored { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The value as of now: linearizable, on any node.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no quorum confirms it.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let key = Bytes::copy_from_slice(key);
        match self.run(key.clone(), Op::Read(Query::Get { key })).await? {
            Outcome::Value(found) => Ok(found.map(|Found { value, .. }| value)),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes a key; says whether it was there.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn delete(&self, key: &[u8]) -> Result<bool> {
        let key = Bytes::copy_from_slice(key);
        let delete = Command::Delete { key: key.clone(), condition: Condition::Always };
        match self.run(key, Op::Write(delete)).await? {
            Outcome::Deleted(existed) => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    async fn run(&self, key: Bytes, op: Op) -> Result<Outcome> {
        let shard = self.shard_for_key(&key);
        let mut results = self.0.router.execute(vec![Request { shard, op }], TIMEOUT).await;
        results.pop().unwrap_or(Err(Error::ShuttingDown))
    }

    /// Every shard of the cluster, ascending; with numbers where a replica of it is here.
    #[must_use]
    pub fn shard_info(&self) -> Vec<ShardInfo> {
        let Some(map) = self.0.view.map() else { return Vec::new() };
        self.0.view.shards().into_iter().map(|status| self.info(&map, status)).collect()
    }

    fn info(&self, map: &ClusterMap, status: ShardStatus) -> ShardInfo {
        let hint = || self.hinted(status.shard).map(|node| node.0);
        let leader = status.leader.or_else(hint);
        ShardInfo::new(status, leader, map)
    }

    /// The shards in sum.
    #[must_use]
    pub fn stats(&self) -> MultiRaftStats {
        let own = self.0.view.node().0;
        MultiRaftStats::new(&self.shard_info(), own, self.0.view.rates().of_node())
    }

    /// Who leads each shard: as the replicas know it, else as the last hint has it.
    #[must_use]
    pub fn shard_leaders(&self) -> HashMap<ShardId, Option<NodeId>> {
        (0..self.total()).map(|shard| (shard, self.leader(shard).map(|node| node.0))).collect()
    }

    /// A hint that the caller is sure of. Says whether it was taken: the node must have a voter of the shard.
    pub fn set_shard_leader(&self, shard: ShardId, leader: NodeId) -> bool {
        let plausible = self.is_plausible(shard, Member(leader));
        if plausible {
            self.0.hints.lock().set(shard, Member(leader));
            self.steer(shard, Member(leader));
        }
        plausible
    }

    /// A hint of a certain epoch (the leader's term); an older one, or the same again, is dropped. Says whether it was
    /// taken.
    pub fn set_shard_leader_if_newer(&self, shard: ShardId, leader: NodeId, epoch: u64) -> bool {
        let leader = Member(leader);
        let newer =
            self.is_plausible(shard, leader) && self.0.hints.lock().set_if_newer(LeaderHint { shard, leader, epoch });
        if newer {
            self.steer(shard, leader);
        }
        newer
    }

    /// As [`Self::set_shard_leader_if_newer`] for a leadership of this node, with the term of its replica; told to the
    /// gossip, where there is one.
    pub fn set_local_shard_leader(&self, shard: ShardId, leader: NodeId) -> bool {
        let status = self.0.view.shards().into_iter().find(|status| status.shard == shard);
        let Some(epoch) = status.map(|status| status.term).filter(|_| Member(leader) == self.0.view.node()) else {
            return false;
        };
        if let Some(gossip) = self.0.discovery.get().and_then(|discovery| discovery.leader_gossip()) {
            gossip.set_local_shard_leader(shard, epoch);
        }
        self.set_shard_leader_if_newer(shard, leader, epoch)
    }

    /// A node has failed: no hint names it any more. Returns the shards whose hints did. What the replicas here know
    /// for certain stays.
    pub fn invalidate_leader_for_node(&self, node: NodeId) -> Vec<ShardId> {
        self.0.hints.lock().invalidate_node(Member(node))
    }

    /// What moves now, and how far it is. The numbers of the copy are known on the node that leads the meta group; the
    /// others show 0.
    #[must_use]
    pub fn migrations(&self) -> Vec<MigrationProgress> {
        self.0.view.cluster().map(|cluster| cluster.migrations).unwrap_or_default()
    }

    /// Hands leaderships over and stops the node, if this coordinator was made by [`MultiRaftBuilder`]; the node of a
    /// cache is stopped with the cache.
    pub async fn shutdown(&self) {
        if let Some(node) = self.0.owned.lock().await.take() {
            node.resign().await;
            node.shutdown().await;
        }
    }

    /// As the replicas know it, else as the last hint has it.
    fn leader(&self, shard: ShardId) -> Option<Member> {
        self.0.view.leader(shard).or_else(|| self.hinted(shard))
    }

    fn hinted(&self, shard: ShardId) -> Option<Member> {
        self.0.hints.lock().leader(shard)
    }

    fn total(&self) -> u32 {
        self.0.router.shard_map().num_shards()
    }

    /// The map decides who can lead.
    fn is_plausible(&self, shard: ShardId, leader: Member) -> bool {
        let Some(map) = self.0.view.map() else { return false };
        let set = map.groups.get(&GroupId::of_shard(shard)).filter(|_| shard < map.num_shards);
        set.is_some_and(|set| set.voters().any(|at| at.node == leader && map.is_alive(at)))
    }

    fn steer(&self, shard: ShardId, leader: Member) {
        self.0.view.with_runtime(|_, runtime| runtime.hint_leader(shard, leader));
    }
}

fn unexpected(outcome: &Outcome) -> Error {
    Error::Fatal(format!("the state machine answered {outcome:?}, which does not fit the command"))
}
