//! Who the peers are, as the newest map says: made, replaced and cut off here.
//!
//! Written by whoever has a newer map, read by every send. Readers take no lock.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::ClusterMap,
    network::{
        identity::Identity,
        peer::{Gate, Peer},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

type Peers = BTreeMap<NodeId, Arc<Peer>>;

/// This node's identity and its peers, by the newest map.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) uid: ClusterUid,
    identity: ArcSwap<Identity>,
    peers: ArcSwap<Peers>,
    ledger: Mutex<Ledger>,
    stop: CancellationToken,
}

/// What only a change looks at.
#[derive(Debug, Default)]
struct Ledger {
    /// Of the newest map that was taken in.
    version: u64,
    /// One for each node that was ever a peer.
    gates: BTreeMap<NodeId, Gate>,
}

impl Members {
    /// No peers yet; [`Self::update`] brings them.
    pub(super) fn new(map: &ClusterMap, node: NodeId, incarnation: Incarnation, stop: CancellationToken) -> Self {
        Self {
            node,
            incarnation,
            uid: map.uid,
            identity: ArcSwap::from_pointee(Identity::new(map, node, incarnation)),
            peers: ArcSwap::default(),
            ledger: Mutex::default(),
            stop,
        }
    }

    /// Who this node is, and who the others must be.
    pub(super) fn identity(&self) -> Guard<Arc<Identity>> {
        self.identity.load()
    }

    pub(super) fn peers(&self) -> Guard<Arc<Peers>> {
        self.peers.load()
    }

    /// The version of the newest map.
    pub(super) fn version(&self) -> u64 {
        self.ledger.lock().version
    }

    /// Takes a newer map in and returns the peers that are to be dialled from now on. Sessions with those that the map
    /// has no place for end; a node in a new life or at a new address begins anew.
    pub(super) fn update(&self, map: &ClusterMap) -> Vec<Arc<Peer>> {
        let mut ledger = self.ledger.lock();
        if map.uid != self.uid || map.version <= ledger.version {
            return Vec::new();
        }
        ledger.version = map.version;
        let before = self.peers.load_full();
        let mut peers = Peers::new();
        let mut fresh = Vec::new();
        // A node that has no place itself has no peers either.
        let in_place = map.incarnation_of(self.node) == Some(self.incarnation);
        let living = |id: &NodeId| in_place && *id != self.node && map.incarnation_of(*id).is_some();
        for (id, member) in map.members.iter().filter(|(id, _)| living(id)) {
            let peer = before.get(id).filter(|peer| peer.is(member)).cloned().unwrap_or_else(|| {
                let gate = ledger.gates.entry(*id).or_default().clone();
                let peer = Arc::new(Peer::new(*id, member, gate, self.stop.child_token()));
                fresh.push(peer.clone());
                peer
            });
            peers.insert(*id, peer);
        }
        let stays = |peer: &Arc<Peer>| peers.get(&peer.node).is_some_and(|now| Arc::ptr_eq(now, peer));
        let gone: Vec<_> = before.values().filter(|peer| !stays(peer)).cloned().collect();
        // Before any session ends: nobody may come back under what was true before.
        self.identity.store(Arc::new(Identity::new(map, self.node, self.incarnation)));
        self.peers.store(Arc::new(peers));
        gone.iter().for_each(|peer| peer.life.cancel());
        fresh.retain(|peer| self.node < peer.node);
        fresh
    }
}
