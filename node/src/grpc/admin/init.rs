//! `Init`: forms a cluster through a node that belongs to none.

use std::{collections::BTreeMap, time::Duration};

use crema_api::v1;

use super::{AdminService, Administer};
use crate::{
    grpc::failure::{Failure, invalid},
    multiraft::{govern::FirstNode, introspect::NodeStatus},
    types::{ClusterUid, Incarnation, NodeId},
};

/// How long all listed nodes may take, unless the caller says.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most that a caller may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

impl<N: Administer> AdminService<N> {
    pub(super) async fn form(&self, ask: v1::InitRequest) -> Result<v1::InitResponse, Failure> {
        let v1::InitRequest { nodes, timeout_ms, cluster_uid } = ask;
        let uid = chosen(&cluster_uid)?;
        let nodes = first_members(nodes, &self.node.status())?;
        let timeout = match timeout_ms {
            0 => TIMEOUT,
            ms => Duration::from_millis(ms).min(MAX_TIMEOUT),
        };
        let map = self.node.initiate(uid, nodes, timeout).await?;
        Ok(v1::InitResponse {
            cluster_uid: map.uid.to_string(),
            map_version: map.version,
            nodes: map.members.keys().map(|node| node.0).collect(),
        })
    }
}

/// The identity that the caller chose, if any.
fn chosen(text: &str) -> Result<Option<ClusterUid>, Failure> {
    match ClusterUid::from_hex(text) {
        Some(uid) if uid.0 != 0 => Ok(Some(uid)),
        None if text.is_empty() => Ok(None),
        Some(_) | None => Err(invalid("cluster_uid", format!("{text:?}; it has 32 hex digits, not all 0")).into()),
    }
}

/// The listed nodes and this one, ascending.
fn first_members(nodes: Vec<v1::NodeAt>, own: &NodeStatus) -> Result<Vec<FirstNode>, Failure> {
    let mut listed = BTreeMap::new();
    for v1::NodeAt { node, address, incarnation } in nodes {
        if node == 0 {
            return Err(invalid("nodes", "it lists node 0; a member has a number from 1 on").into());
        }
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(invalid("nodes", format!("node {node} has the address {address:?}, not host:port")).into());
        }
        let life = Incarnation::from_hex(&incarnation);
        if life.is_none() && !incarnation.is_empty() {
            let reason = format!("node {node} has the incarnation {incarnation:?}, not 32 hex digits");
            return Err(invalid("nodes", reason).into());
        }
        let first = FirstNode { node: NodeId(node), address, incarnation: life };
        if listed.insert(first.node, first).is_some() {
            return Err(invalid("nodes", format!("it lists node {node} twice")).into());
        }
    }
    let node = NodeId(own.node);
    listed.entry(node).or_insert_with(|| FirstNode { node, address: own.address.clone(), incarnation: None });
    Ok(listed.into_values().collect())
}
