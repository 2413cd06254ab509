//! Finding the addresses of other nodes. What is found here is a hint: the cluster map alone says who is a member.
//!
//! The edge (`crema-node`, or a program through `CacheConfig::with_cluster_discovery`) makes a [`ClusterDiscovery`];
//! forming and joining ask it where to knock, and [`PeerManager`] turns what it reports later into decisions. Nothing
//! here may propose, vote, or keep a member out.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::types::{NodeId, ShardId};

mod config;
#[cfg(feature = "discovery-dns")]
mod dns;
#[cfg(feature = "memberlist")]
mod envelope;
mod fixed;
mod hints;
mod manage;
#[cfg(feature = "memberlist")]
mod memberlist;
mod none;
mod periodic;
#[cfg(feature = "memberlist")]
mod swim;

pub use config::{MemberlistConfig, PeerManagementConfig};
#[cfg(feature = "discovery-dns")]
pub use dns::DnsDiscovery;
pub use fixed::StaticClusterDiscovery;
pub use hints::{HintError, LeaderHint, LeaderHints};
pub use manage::{DEFAULT_LOST_AFTER_MS, PeerDecision, PeerManager, Sight};
#[cfg(feature = "memberlist")]
pub use memberlist::MemberlistDiscovery;
pub use none::NoOpClusterDiscovery;

/// An address at which a node may be reached, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discovered {
    /// Host and port of its gRPC door. A name wherever one is known, so that it can be resolved again.
    pub address: String,
    /// The member that is said to be there; the handshake finds out whether it is.
    pub node: Option<NodeId>,
    /// Whether it was seen to live.
    pub state: PeerState,
}

impl Discovered {
    /// An address of which nothing else is known.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self { address: address.into(), node: None, state: PeerState::Unknown }
    }
}

/// What a discovery says about the life of a node. Never a proof: the node may be alive and unreachable from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// This discovery doesn't look.
    #[default]
    Unknown,
    /// It answered lately.
    Alive,
    /// It has not answered for a while, or has said that it leaves.
    Lost,
}

/// All that is known now, ascending by address; each address once.
pub type Found = Arc<Vec<Discovered>>;

/// Finds the addresses of a cluster's nodes; this node's own may be among them.
///
/// Made without a runtime and without I/O; [`start`](Self::start) begins the work. All methods are safe to call at
/// any time and in any order.
pub trait ClusterDiscovery: fmt::Debug + Send + Sync + 'static {
    /// What it is called in logs: `dns`, `static`, `memberlist`, `none`, or a name of your own.
    fn name(&self) -> &'static str;

    /// Begins the periodic work, within a tokio runtime. A second call does nothing. Fails only on what retrying does
    /// not mend, such as a port that is taken; a name that doesn't resolve yet is no failure.
    fn start(&self) -> BoxFuture<'_, Result<(), DiscoveryError>>;

    /// One look, now. Nobody found is `Ok` and empty; it is an error not to know.
    fn discover(&self) -> BoxFuture<'_, Result<Found, DiscoveryError>>;

    /// What the periodic work finds: the present state, then every change of it. Empty before the first look is over,
    /// and without [`start`](Self::start).
    fn watch(&self) -> watch::Receiver<Found>;

    /// What may be done with what it finds. Everything that only adds, unless the implementation has a configuration
    /// that says otherwise.
    fn peer_management(&self) -> PeerManagementConfig {
        PeerManagementConfig::adding()
    }

    /// The door to the gossip of leader hints, for those that gossip.
    fn leader_gossip(&self) -> Option<&dyn LeaderGossip> {
        None
    }

    /// Ends the periodic work and, where there is a protocol for it, tells the others. The watch stays as it is.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Spreads who leads which shard. Best effort: a hint may be late, lost, or wrong, and only saves a hop.
pub trait LeaderGossip: Send + Sync {
    /// This node leads a shard since `epoch` (its term). Sent with other changes after the debounce interval.
    fn set_local_shard_leader(&self, shard: ShardId, epoch: u64);

    /// This node leads a shard no more.
    fn unset_local_shard_leader(&self, shard: ShardId);

    /// What was heard from the others: newest epoch of each shard. Those of a lost node are invalidated.
    fn hints(&self) -> watch::Receiver<Arc<LeaderHints>>;
}

/// Why a discovery doesn't know.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// What it was made with can't work.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Which part.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A DNS server failed or gave no answer; a name that does not exist is none of those.
    #[error("look up {name}: {reason}")]
    Lookup {
        /// The name that was asked for.
        name: String,
        /// What went wrong.
        reason: String,
    },
    /// A socket could not be opened.
    #[error("listen for gossip on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}
