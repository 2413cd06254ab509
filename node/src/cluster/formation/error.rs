//! Why a node can't take part in forming. All of these are final: the process says so and ends.

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
    /// The node's earlier life is a member; this one has lost its memory.
    #[error(
        "node {node} (incarnation {ours}) is refused: cluster {uid} knows it as incarnation {theirs}, whose memory \
         was lost when that process ended. It must not vote under its old replica ids, or acknowledged writes could \
         be lost, and this version can't rejoin as a new incarnation yet. The cluster goes on without it while \
         majorities are up; to use this node again stop all nodes, then start them together (in memory mode the \
         cache is then empty)"
    )]
    Restarted {
        /// The node.
        node: NodeId,
        /// Its present life.
        ours: Incarnation,
        /// The life that is a member.
        theirs: Incarnation,
        /// The cluster.
        uid: ClusterUid,
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
    /// The peers belong to a cluster that does not know this node.
    #[error("node {node} is refused: its peers belong to cluster {uid}, which does not know it")]
    NotAMember {
        /// The node.
        node: NodeId,
        /// The cluster.
        uid: ClusterUid,
    },
    /// Two clusters answer under the addresses of one list.
    #[error("node {peer} belongs to cluster {theirs}, this node to {ours}; one list must lead to one cluster")]
    TwoClusters {
        /// Who belongs elsewhere.
        peer: NodeId,
        /// The cluster here.
        ours: ClusterUid,
        /// The cluster there.
        theirs: ClusterUid,
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
