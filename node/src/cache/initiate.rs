//! The one [`Initiate`]: forming a cluster through this node.

use std::{sync::Arc, time::Duration};

use super::view::NodeView;
use crate::{
    cluster::{ClusterMap, command::Refused},
    multiraft::govern::{Govern as _, GovernError, Initiate},
    types::NodeId,
};

impl Initiate for NodeView {
    async fn initiate(&self, nodes: Vec<(NodeId, String)>, _: Duration) -> Result<Arc<ClusterMap>, GovernError> {
        let refused = |reason: String| Err(GovernError::Refused(Refused::Reason(reason)));
        match self.map() {
            Some(map) if nodes.iter().map(|(node, _)| node).eq(map.members.keys()) => Ok(map),
            Some(map) => refused(format!("this node belongs to cluster {} with other members already", map.uid)),
            None => refused("this node forms its cluster from the list that it was started with".to_owned()),
        }
    }
}
