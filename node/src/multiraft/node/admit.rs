//! Whom the meta leader lets in by itself (pure).
//!
//! Made by `cluster::discovery::PeerManager` from its switches; without a discovery everybody is let in. A node that was
//! named by hand is no stranger, nor one that any replica was ever placed on: it may always come back.

use std::collections::BTreeSet;

use crate::{
    cluster::map::{ClusterMap, Member, MemberState},
    types::NodeId,
};

/// What strangers may do without anybody's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Become members. Off: their Join is refused.
    pub join: bool,
    /// Hold replicas. Off: they stay `Joining`, with a copy of the map, until an operator says otherwise.
    pub hold: bool,
    /// Who was named by hand, this node included.
    pub by_hand: BTreeSet<NodeId>,
}

impl Default for Admission {
    /// Everybody is let in.
    fn default() -> Self {
        Self { join: true, hold: true, by_hand: BTreeSet::new() }
    }
}

impl Admission {
    /// Why a node's Join is refused; `None` when it isn't.
    pub(super) fn refusal(&self, map: &ClusterMap, node: NodeId) -> Option<String> {
        let known = map.members.get(&node).is_some_and(|member| member.state != MemberState::Removed);
        let welcome = self.join || known || self.by_hand.contains(&node);
        (!welcome).then(|| {
            format!(
                "node {node} is a stranger, and auto_add_peers is off where the meta group is led: name it among the \
                 seed nodes there, or switch auto_add_peers on"
            )
        })
    }

    /// Whether a member must not get a replica yet.
    pub(super) fn holds_back(&self, map: &ClusterMap, node: NodeId, member: &Member) -> bool {
        let stranger = !self.hold && !self.by_hand.contains(&node);
        let anywhere = || map.groups.values().any(|set| set.replicas.iter().any(|at| at.node == node));
        stranger && member.state == MemberState::Joining && !anywhere()
    }
}
