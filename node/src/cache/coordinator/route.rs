//! Where a key's operations go, for programs that route by themselves: the reference's `ShardRouter`.
//!
//! Only looks: operations through [`DistributedCache`](crate::DistributedCache) or the coordinator find their way without
//! it. What it says is as old as the moment of the question, and [`ShardRouter::check`] says whether it still holds.

use super::{MultiRaftCoordinator, NodeId};
use crate::{
    error::{Error, Result},
    multiraft::{execute::Executor as _, introspect::Introspect as _},
    partitioning::SLOTS,
    types::{NodeId as Member, ShardId},
};

/// From keys to slots, shards and leaders, as this node knows them now. Cheap to clone.
///
/// ```no_run
/// # fn example(coordinator: crema::MultiRaftCoordinator) -> crema::Result<()> {
/// let router = coordinator.router();
/// let route = router.route(b"user:123");
/// println!("slot {} is in shard {}, led by {:?}", route.slot, route.shard, route.leader);
/// // Later, with a route that was kept:
/// router.check(&route)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ShardRouter(MultiRaftCoordinator);

/// Where a key was, when somebody asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRoute {
    /// The key's slot, which never changes.
    pub slot: u16,
    /// The shard that has the slot.
    pub shard: ShardId,
    /// Who leads the shard, as far as it is known.
    pub leader: Option<NodeId>,
    /// How other nodes reach the leader.
    pub address: Option<String>,
    /// Whether this node leads it.
    pub is_local: bool,
    /// Of the slot map that says so.
    pub version: u64,
}

impl ShardRouter {
    pub(super) fn new(coordinator: MultiRaftCoordinator) -> Self {
        Self(coordinator)
    }

    /// How many shards there are.
    #[must_use]
    pub fn num_shards(&self) -> u32 {
        self.0.total()
    }

    /// The version of the slot map.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.0.router.shard_map().version()
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot_for_key(&self, key: &[u8]) -> u16 {
        self.0.0.router.shard_map().slot_of(key)
    }

    /// The shard of a key.
    #[must_use]
    pub fn shard_for_key(&self, key: &[u8]) -> ShardId {
        self.0.shard_for_key(key)
    }

    /// Who leads a shard: as the replicas know it, else as the last hint has it.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.0.leader(shard).map(|node| node.0)
    }

    /// Where the operations of a key go now.
    #[must_use]
    pub fn route(&self, key: &[u8]) -> ShardRoute {
        let map = self.0.0.router.shard_map();
        let slot = map.slot_of(key);
        let shard = map.owner(slot);
        let leader = self.0.leader(shard);
        ShardRoute {
            slot,
            shard,
            leader: leader.map(|node| node.0),
            address: leader.and_then(|node| self.0.0.view.address(node)),
            is_local: leader == Some(self.0.0.view.node()),
            version: map.version(),
        }
    }

    /// Whether a route that was kept still holds.
    ///
    /// # Errors
    /// [`Error::Moved`] when another shard has the slot, [`Error::NotLeader`] when another node leads it, or nobody;
    /// [`Error::Invalid`] when there is no such slot.
    pub fn check(&self, route: &ShardRoute) -> Result<()> {
        let ShardRoute { slot, shard, leader, .. } = *route;
        if slot >= SLOTS {
            return Err(Error::Invalid { field: "slot", reason: format!("{slot}; there are {SLOTS}, from 0 on") });
        }
        let owner = self.0.0.router.shard_map().owner(slot);
        if owner != shard {
            return Err(Error::Moved { slot, shard: owner });
        }
        let hint = self.0.leader(shard);
        if leader.is_none() || hint != leader.map(Member) {
            return Err(Error::NotLeader { shard, hint });
        }
        Ok(())
    }
}
