//! Who the peers are, as the newest map says: made, replaced and cut off here.
//!
//! Written by whoever has a newer map, read by every send. Readers take no lock.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{
        ClusterMap,
        map::{Member, MemberState},
    },
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

/// What a newer map makes of the peers.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// To be dialled from now on.
    pub(super) fresh: Vec<Arc<Peer>>,
    /// Their nodes, or this one, were removed: they end in a while, so that what is under way is answered.
    pub(super) parting: Vec<Arc<Peer>>,
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

    /// Takes a newer map in. Sessions with those that the map has no place for end, at once unless they were removed, which
    /// is the end of an orderly drain; a node in a new life or at a new address begins anew.
    pub(super) fn update(&self, map: &ClusterMap) -> Changes {
        let mut ledger = self.ledger.lock();
        if map.uid != self.uid || map.version <= ledger.version {
            return Changes::default();
        }
        ledger.version = map.version;
        let before = self.peers.load_full();
        let mut peers = Peers::new();
        let mut fresh = Vec::new();
        let mut parting = Vec::new();
        // A node that has no place itself has no peers either.
        let own = map.members.get(&self.node).filter(|own| own.incarnation == self.incarnation);
        let in_place = own.is_some_and(|own| is_there(own.state));
        for (id, member) in map.members.iter().filter(|(id, _)| **id != self.node) {
            if !in_place || !is_there(member.state) {
                let was = before.get(id).filter(|peer| peer.is(member) && !peer.life.is_cancelled());
                let in_order = |member: &Member| member.state == MemberState::Removed;
                if let Some(peer) = was.filter(|_| in_order(member) || own.is_some_and(in_order)) {
                    peers.insert(*id, peer.clone());
                    parting.push(peer.clone());
                }
                continue;
            }
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
        Changes { fresh, parting }
    }
}

fn is_there(state: MemberState) -> bool {
    match state {
        MemberState::Joining | MemberState::Up | MemberState::Draining => true,
        MemberState::Down | MemberState::Removed => false,
    }
}
