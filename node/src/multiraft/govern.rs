//! What changes the cluster map from outside the core: Admin, Join, the planner's user.
//!
//! Implemented by `cache::NodeView` over the runtime: it proposes here when this node leads the meta group, and asks the
//! leader otherwise. Used by the gRPC doors.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    cluster::{
        command::{MetaCommand, Refused},
        map::ClusterMap,
    },
    types::{ClusterUid, Incarnation, NodeId},
};

/// Why a change of the map was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GovernError {
    /// This node does not lead the meta group.
    #[error("this node does not lead the meta group")]
    NotLeader(Option<NodeId>),
    /// It does not fit what is there; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It may have been made, or may yet be: look at the map before it is asked for again.
    #[error("the change may have been made: {0}")]
    Unknown(String),
    /// Nothing was changed; it may be asked for again.
    #[error("the meta group does not answer: {0}")]
    Unavailable(String),
}

/// Reads and changes the cluster map through this node.
pub trait Govern: Clone + Send + Sync + 'static {
    /// The map as this node has it applied; `None` before it belongs to a cluster.
    fn map(&self) -> Option<Arc<ClusterMap>>;

    /// Commits a change, through whichever node leads the meta group, and answers with the map just after it. With an
    /// expected version it is refused when the map has another.
    fn govern(
        &self,
        command: MetaCommand,
        expected_version: Option<u64>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Arc<ClusterMap>, GovernError>> + Send;
}

/// One of the nodes that a cluster is formed of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstNode {
    /// The node.
    pub node: NodeId,
    /// Of its gRPC door, as the others reach it.
    pub address: String,
    /// The life that the caller has observed; `None` takes the one that answers.
    pub incarnation: Option<Incarnation>,
}

/// Forms a cluster through a node that belongs to none.
pub trait Initiate: Clone + Send + Sync + 'static {
    /// Makes a cluster of these nodes, this one among them, with the settings that this node was started with. All of
    /// them must be there and belong to no cluster; a repetition for the same lives answers with the cluster that it
    /// made. With a `uid` the cluster has that identity, and one of another identity is an error. `Refused` says which node
    /// can't take part and why.
    fn initiate(
        &self,
        uid: Option<ClusterUid>,
        nodes: Vec<FirstNode>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Arc<ClusterMap>, GovernError>> + Send;
}
