//! The cluster map: nodes that have the same version have the same map, and each hosts what its map places on it.

use std::{collections::BTreeMap, sync::Arc};

use super::Verdict;
use crate::{
    cluster::map::ClusterMap,
    machine::model::ModelStore,
    multiraft::node::Node,
    testing::{host::node_id, net::Place},
    types::{GroupId, Incarnation, ReplicaId},
};

/// Every map that was ever seen.
#[derive(Debug, Default)]
pub struct Maps {
    seen: BTreeMap<u64, Arc<ClusterMap>>,
    last: BTreeMap<Place, u64>,
}

impl Maps {
    /// Checks one node.
    pub(super) fn see(&mut self, place: Place, life: Incarnation, node: &Node<ModelStore>) -> Verdict {
        let map = node.map();
        let last = self.last.insert(place, map.version).unwrap_or(0);
        if last > map.version {
            return Err(("maps", format!("place {place} went from map {last} back to {}", map.version)));
        }
        let first = self.seen.entry(map.version).or_insert_with(|| map.clone());
        if last != map.version && **first != **map {
            let reason = format!("place {place} has another map {}: {map:?}, elsewhere {first:?}", map.version);
            return Err(("maps", reason));
        }
        hosts_what_is_placed(place, life, node)
    }

    /// The process is gone.
    pub(super) fn forget(&mut self, place: Place) {
        self.last.remove(&place);
    }
}

fn hosts_what_is_placed(place: Place, life: Incarnation, node: &Node<ModelStore>) -> Verdict {
    let map = node.map();
    let placed: BTreeMap<GroupId, ReplicaId> = map
        .replicas_on(node_id(place))
        .filter(|(_, _, at)| at.incarnation == life && map.is_alive(at))
        .map(|(group, _, at)| (group, at.replica))
        .collect();
    let hosted: BTreeMap<GroupId, ReplicaId> = node.hosted().collect();
    if placed == hosted {
        return Ok(());
    }
    let reason = format!("place {place} hosts {hosted:?}; map {} places {placed:?} there", map.version);
    Err(("hosted as placed", reason))
}
