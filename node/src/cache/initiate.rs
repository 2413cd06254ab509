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
    multiraft::govern::{FirstNode, Govern as _, GovernError, Initiate},
    network::form::initiate,
    types::ClusterUid,
};

impl Initiate for NodeView {
    async fn initiate(
        &self,
        uid: Option<ClusterUid>,
        nodes: Vec<FirstNode>,
        timeout: Duration,
    ) -> Result<Arc<ClusterMap>, GovernError> {
        let refused = |reason: String| GovernError::Refused(Refused::Reason(reason));
        if let Some(map) = self.map() {
            let (same, what) = match uid {
                Some(uid) => (uid == map.uid, ""),
                None => (nodes.iter().map(|first| &first.node).eq(map.members.keys()), " with other members"),
            };
            let other = || refused(format!("this node belongs to cluster {}{what} already", map.uid));
            return if same { Ok(map) } else { Err(other()) };
        }
        let count = nodes.len() as u32;
        let spec = self.spec();
        let spec = ClusterSpec { replication_factor: spec.replication_factor.min(count), ..spec.clone() };
        let member = |FirstNode { node, address, incarnation }| FirstMember { node, address, incarnation };
        let config = InitConfig {
            ballot: Ballot::new(wall_ms(), rand::random()),
            uid: uid.unwrap_or_else(|| ClusterUid(rand::random())),
            named: uid.is_some(),
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
