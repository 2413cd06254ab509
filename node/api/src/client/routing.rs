//! What the client knows of the cluster: which shard has a key, and which node leads it.
//!
//! Every word of it is a hint. A wrong one costs a hop, never a wrong answer.

use std::{collections::HashMap, sync::RwLock};

use crate::{
    slot,
    v1::{KeyHash, TopologyResponse},
};

#[derive(Debug, Default)]
pub(super) struct Routing {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    version: u64,
    key_hash: KeyHash,
    slot_shards: Vec<u32>,
    addresses: HashMap<u64, String>,
    /// The address of each shard's leader.
    leaders: HashMap<u32, String>,
}

impl Routing {
    /// The version of the map that is known; 0 when none is.
    pub(super) fn version(&self) -> u64 {
        self.read().version
    }

    /// The shard of a key, when the map is known.
    pub(super) fn shard_of(&self, key: &[u8]) -> Option<u32> {
        let known = self.read();
        let slot = slot::slot_of(known.key_hash, key)?;
        known.slot_shards.get(usize::from(slot)).copied()
    }

    /// The address of a shard's leader, as far as it is known.
    pub(super) fn leader(&self, shard: u32) -> Option<String> {
        self.read().leaders.get(&shard).cloned()
    }

    /// The addresses of all known nodes.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.read().addresses.values().cloned().collect()
    }

    /// Takes in what a node answered. An older map than the known one is left aside.
    pub(super) fn learn(&self, topology: TopologyResponse) {
        let TopologyResponse { version, key_hash, num_shards: _, slot_shards, nodes, leaders } = topology;
        let mut known = self.write();
        if version < known.version {
            return;
        }
        if !slot_shards.is_empty() {
            known.slot_shards = slot_shards;
            known.key_hash = KeyHash::try_from(key_hash).unwrap_or_default();
            known.version = version;
        }
        known.addresses = nodes.into_iter().filter(|n| !n.address.is_empty()).map(|n| (n.node, n.address)).collect();
        known.leaders =
            leaders.into_iter().filter_map(|l| Some((l.shard, known.addresses.get(&l.node)?.clone()))).collect();
    }

    /// Takes in a hint about one shard; an empty address is looked up by the node's number.
    pub(super) fn learn_leader(&self, shard: u32, node: u64, address: &str) {
        let mut known = self.write();
        let address = match address {
            "" => known.addresses.get(&node).cloned(),
            given => Some(given.to_owned()),
        };
        match address {
            Some(address) => known.leaders.insert(shard, address),
            None => known.leaders.remove(&shard),
        };
    }

    /// Forgets that the node at this address leads anything: it could not be reached.
    pub(super) fn forget_leader(&self, address: &str) {
        self.write().leaders.retain(|_, leader| leader != address);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
