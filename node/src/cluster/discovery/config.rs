//! Settings of discovery, with the names and defaults of the library's reference (pure).

use std::net::SocketAddr;

/// What may be done by itself with what a discovery finds; all off by default.
///
/// Each switch is one kind of decision of [`PeerManager`](super::PeerManager). None of them lets discovery decide on
/// membership: additions are still Joins that the cluster checks, removals are proposals that it may refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerManagementConfig {
    /// Found addresses are contacted, and this node joins through them. Off: only the peers given by hand are.
    pub auto_add_peers: bool,
    /// A lost peer's address is no longer contacted, and one that is `Down` and holds no replica is proposed as
    /// `Removed`.
    pub auto_remove_peers: bool,
    /// A joined node that is seen alive is proposed as `Up`, so that the planner may give it voters. Off: it stays
    /// `Joining` until somebody says so.
    pub auto_add_voters: bool,
    /// A member that stays lost, and has no stream to the leader, is proposed as `Down`: its replicas are replaced
    /// without waiting for `repair_after_ms`, and it has to come back in a new life.
    pub auto_remove_voters: bool,
}

impl PeerManagementConfig {
    /// Everything that adds, nothing that takes away: what discoveries without switches of their own do.
    #[must_use]
    pub fn adding() -> Self {
        Self { auto_add_peers: true, auto_add_voters: true, ..Self::default() }
    }
}

/// Settings of gossip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberlistConfig {
    /// Whether to gossip at all; off, only the peers given by hand are known.
    pub enabled: bool,
    /// Where to listen, UDP; without one, on the host of the Raft address at a port of the system's choice.
    pub bind_addr: Option<SocketAddr>,
    /// Where others reach this node when that is not `bind_addr`. An unspecified host (`0.0.0.0`) is replaced by the
    /// one that they see.
    pub advertise_addr: Option<SocketAddr>,
    /// Nodes to contact first, and again whenever they are not known to live.
    pub seed_addrs: Vec<SocketAddr>,
    /// A name for people, shown in logs; without one, `node-` and the number.
    pub node_name: Option<String>,
    /// What may be done with what is found.
    pub peer_management: PeerManagementConfig,
}
