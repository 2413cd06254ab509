//! The one [`Initiate`]: forming a cluster through this node.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::view::NodeView;
use crate::{
    cluster::{
        ClusterMap, ClusterSpec,
        command::Refused,
        formation::init::{Ballot, FirstMember, InitConfig, Initiator},
    },
    multiraft::govern::{Govern as _, GovernError, Initiate},
    network::form::initiate,
    types::{ClusterUid, NodeId},
};

impl Initiate for NodeView {
    async fn initiate(
        &self,
        nodes: Vec<(NodeId, String)>,
        timeout: Duration,
    ) -> Result<Arc<ClusterMap>, GovernError> {
        let refused = |reason: String| GovernError::Refused(Refused::Reason(reason));
        if let Some(map) = self.map() {
            let same = nodes.iter().map(|(node, _)| node).eq(map.members.keys());
            let other = || refused(format!("this node belongs to cluster {} with other members already", map.uid));
            return if same { Ok(map) } else { Err(other()) };
        }
        let count = nodes.len() as u32;
        let spec = self.spec();
        let spec = ClusterSpec { replication_factor: spec.replication_factor.min(count), ..spec.clone() };
        let member = |(node, address)| FirstMember { node, address, incarnation: None };
        let config = InitConfig {
            ballot: Ballot::new(wall_ms(), rand::random()),
            uid: ClusterUid(rand::random()),
            named: false,
            spec,
            members: nodes.into_iter().map(member).collect(),
        };
        let initiator = Initiator::new(config).map_err(|error| refused(error.to_string()))?;
        match tokio::time::timeout(timeout, initiate(initiator)).await {
            Ok(Ok(map)) => Ok(Arc::new(map)),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(_) => Err(GovernError::Unknown(format!(
                "not every listed node has agreed within {timeout:?}; the same call again completes it"
            ))),
        }
    }
}

fn wall_ms() -> u64 {
    // A clock before 1970 only makes the ballot low.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
}
