//! Why a node can't take part in forming. Every [`FormError`] is final: the process says so and ends.

use crate::{
    cluster::{initial::SpecError, map::FeatureLevels},
    types::{ClusterUid, Incarnation, NodeId},
};

/// Why a node can't take part, ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The static list is wrong in itself.
    #[error("the static peer list is wrong: {reason}")]
    BadList {
        /// What is wrong with it.
        reason: String,
    },
    /// There can be no such cluster.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A peer was given another list.
    #[error("node {peer} has the static peer list {theirs:?}, this node {ours:?}; give every node the same list")]
    ListsDiffer {
        /// Who differs.
        peer: NodeId,
        /// The list here.
        ours: Vec<u64>,
        /// The list there.
        theirs: Vec<u64>,
    },
    /// The cluster has declared this life dead, or it has left.
    #[error("node {node} (incarnation {ours}) is refused: cluster {uid} has declared it dead or removed")]
    Retired {
        /// The node.
        node: NodeId,
        /// Its present life.
        ours: Incarnation,
        /// The cluster.
        uid: ClusterUid,
    },
    /// Two clusters answer where one was looked for.
    #[error(
        "{one_at} belongs to cluster {one}, {other_at} to cluster {other}; all addresses that this node is given must \
         lead to one cluster"
    )]
    TwoClusters {
        /// Who belongs to the one.
        one_at: String,
        /// The one.
        one: ClusterUid,
        /// Who belongs to the other.
        other_at: String,
        /// The other.
        other: ClusterUid,
    },
    /// Nobody of the cluster that this life was to join is there any more.
    #[error("cluster {uid}, which this node was to join, is gone; start the process again to look for another")]
    Gone {
        /// The cluster.
        uid: ClusterUid,
    },
    /// The cluster runs at a level that this binary does not know.
    #[error("the cluster runs at feature level {level}; this binary supports {} to {}", ours.min, ours.max)]
    FeatureLevel {
        /// The cluster's level.
        level: u32,
        /// What this binary supports.
        ours: FeatureLevels,
    },
}

/// Why a promise can't be given, or does not count: it was given to another life of the proposer.
pub(super) fn bound_elsewhere(node: NodeId, proposer: NodeId, bound: Incarnation) -> String {
    format!(
        "node {node} has promised itself to incarnation {bound} of node {proposer}, which was restarted or runs \
         twice; restart node {node} to free it"
    )
}
