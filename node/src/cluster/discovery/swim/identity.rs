//! Who takes part in the gossip (pure).

use std::{convert::Infallible, net::SocketAddr}; // tidy: purity because an address is a value here; no socket is opened

use foca::Identity;
use rand_core::TryRng;

use crate::types::{Draw, NodeId};

/// Generations begin at a wall clock's milliseconds; one this high was made up, and could not be outbid.
pub(super) const MAX_GENERATION: u64 = 1 << 60;

/// One life of a node, as gossip knows it. The addresses belong to the life: they don't tell two apart.
#[derive(Clone, Debug)]
pub(in crate::cluster::discovery) struct Id {
    /// Which node; 0 for one that is known by its address only.
    pub(in crate::cluster::discovery) node: NodeId,
    /// Higher in each later life, and each time that the node objects to its death.
    pub(in crate::cluster::discovery) generation: u64,
    /// Where it gossips.
    pub(in crate::cluster::discovery) gossip: SocketAddr,
    /// Where its gRPC door is.
    pub(in crate::cluster::discovery) raft: String,
}

impl Id {
    /// Whoever gossips at an address.
    pub(super) fn seed(gossip: SocketAddr) -> Self {
        Self { node: NodeId(0), generation: 0, gossip, raft: String::new() }
    }

    /// The next life above `heard`.
    pub(super) fn above(&self, heard: u64) -> Self {
        Self { generation: heard.max(self.generation).saturating_add(1), ..self.clone() }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        (self.node, self.generation) == (other.node, other.generation)
    }
}

impl Eq for Id {}

impl Identity for Id {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        (self.generation < MAX_GENERATION).then(|| self.above(0))
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

/// The protocol's chance, decided by a seed.
pub(super) struct Dice(pub(super) Draw);

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(8) {
            let drawn = self.0.next_u64().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}
