//! The handshake: who speaks, for whom, in which life (PROTOCOL 11; pure).

use std::collections::BTreeMap;

use crema_api::v1::Hello;

use crate::{
    cluster::{
        ClusterMap,
        map::{FeatureLevels, SUPPORTED_LEVELS},
    },
    types::{ClusterUid, Incarnation, NodeId},
};

/// This node as it shows itself, and its peers as they must show themselves.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    uid: ClusterUid,
    feature_level: u32,
    node: NodeId,
    incarnation: Incarnation,
    peers: BTreeMap<NodeId, Incarnation>,
}

impl Identity {
    pub(super) fn new(map: &ClusterMap, node: NodeId, incarnation: Incarnation) -> Self {
        let living = |id: &NodeId| Some((*id, map.incarnation_of(*id)?));
        Self {
            uid: map.uid,
            feature_level: map.feature_level,
            node,
            incarnation,
            peers: map.members.keys().filter(|id| **id != node).filter_map(living).collect(),
        }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// What this node says to a peer; `refused` is empty unless it turns the peer away.
    pub(super) fn hello(&self, to: NodeId, session: u64, refused: String) -> Hello {
        Hello {
            cluster_uid: self.uid.to_bytes(),
            node: self.node.0,
            incarnation: self.incarnation.to_bytes(),
            to_node: to.0,
            to_incarnation: self.peers.get(&to).map(|life| life.to_bytes()).unwrap_or_default(),
            session,
            min_level: SUPPORTED_LEVELS.min,
            max_level: SUPPORTED_LEVELS.max,
            refused,
        }
    }

    /// The peer that says hello, when everything matches; else what does not.
    pub(super) fn check(&self, hello: &Hello) -> Result<NodeId, String> {
        let Hello { cluster_uid, node, incarnation, to_node, to_incarnation, min_level, max_level, refused, .. } =
            hello;
        let from = NodeId(*node);
        if !refused.is_empty() {
            // Who refuses may not say who it is: it belongs to no cluster.
            return Err(format!("refused: {refused}"));
        }
        match ClusterUid::from_bytes(cluster_uid) {
            Some(uid) if uid == self.uid => {}
            Some(uid) => {
                return Err(format!("node {from} belongs to cluster {uid}, node {} to {}", self.node, self.uid));
            }
            None => return Err(format!("node {from} sent no cluster uid")),
        }
        let expected = self.peers.get(&from).ok_or_else(|| format!("node {from} is not a living member"))?;
        if Incarnation::from_bytes(incarnation) != Some(*expected) {
            let shown = shown(incarnation);
            return Err(format!("node {from} is known as incarnation {expected}, not {shown}"));
        }
        if NodeId(*to_node) != self.node {
            return Err(format!("this is node {}, not {to_node}", self.node));
        }
        if Incarnation::from_bytes(to_incarnation) != Some(self.incarnation) {
            let shown = shown(to_incarnation);
            return Err(format!("node {} is incarnation {}, not {shown}", self.node, self.incarnation));
        }
        let theirs = FeatureLevels { min: *min_level, max: *max_level };
        if !theirs.supports(self.feature_level) || !theirs.overlaps(SUPPORTED_LEVELS) {
            let level = self.feature_level;
            return Err(format!(
                "the cluster is at feature level {level}; node {from} supports {min_level} to {max_level}"
            ));
        }
        Ok(from)
    }
}

fn shown(incarnation: &[u8]) -> String {
    Incarnation::from_bytes(incarnation).map_or_else(|| "(none)".to_owned(), |life| life.to_string())
}
