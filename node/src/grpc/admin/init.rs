//! `Init`: forms a cluster through a node that belongs to none.

use std::{collections::BTreeMap, time::Duration};

use crema_api::v1;

use super::{AdminService, Administer};
use crate::{
    grpc::failure::{Failure, invalid},
    multiraft::introspect::NodeStatus,
    types::NodeId,
};

/// How long all listed nodes may take, unless the caller says.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most that a caller may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

impl<N: Administer> AdminService<N> {
    pub(super) async fn form(&self, ask: v1::InitRequest) -> Result<v1::InitResponse, Failure> {
        let v1::InitRequest { nodes, timeout_ms } = ask;
        let nodes = first_members(nodes, &self.node.status())?;
        let timeout = match timeout_ms {
            0 => TIMEOUT,
            ms => Duration::from_millis(ms).min(MAX_TIMEOUT),
        };
        let map = self.node.initiate(nodes, timeout).await?;
        Ok(v1::InitResponse {
            cluster_uid: map.uid.to_string(),
            map_version: map.version,
            nodes: map.members.keys().map(|node| node.0).collect(),
        })
    }
}

/// The listed nodes and this one, ascending.
fn first_members(nodes: Vec<v1::NodeAt>, own: &NodeStatus) -> Result<Vec<(NodeId, String)>, Failure> {
    let mut listed = BTreeMap::new();
    for v1::NodeAt { node, address } in nodes {
        if node == 0 {
            return Err(invalid("nodes", "it lists node 0; a member has a number from 1 on").into());
        }
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(invalid("nodes", format!("node {node} has the address {address:?}, not host:port")).into());
        }
        if listed.insert(NodeId(node), address).is_some() {
            return Err(invalid("nodes", format!("it lists node {node} twice")).into());
        }
    }
    listed.entry(NodeId(own.node)).or_insert_with(|| own.address.clone());
    Ok(listed.into_iter().collect())
}
