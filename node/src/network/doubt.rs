//! Whether the cluster still has a place for this life of this node (PROTOCOL 11).
//!
//! A node that was cut off hears no newer map by itself: those that were its peers refuse it, or dial the life that has
//! come after it. So peers without a session are asked for their map now and then. Only a map that is newer than this
//! node's says anything: a peer that is behind refuses a node that has just come back.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::sleep;

use crate::{
    cluster::{ClusterMap, map::MemberState},
    network::{
        Shared,
        find::{Seeker, ask_map},
    },
    types::{Incarnation, NodeId},
};

/// Asks now and then, and at once when a peer has refused this node; until the network stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    let look = async {
        loop {
            tokio::select! {
                () = sleep(shared.settings.doubt_interval) => {}
                () = shared.refused.notified() => {}
            }
            look(&shared).await;
        }
    };
    stop.run_until_cancelled(look).await;
}

async fn look(shared: &Shared) {
    let lost: Vec<String> =
        shared.members.peers().values().filter(|peer| !peer.is_up()).map(|peer| peer.address.clone()).collect();
    let seeker = Seeker { node: shared.members.node, incarnation: shared.members.incarnation };
    for map in join_all(lost.iter().map(|address| ask_map(seeker, address))).await.into_iter().flatten() {
        if map.uid == shared.members.uid && map.version > shared.members.version() {
            shared.judge(&map);
        }
    }
}

/// Why a map has no place for a life of a node; `None` when it has.
pub(super) fn superseded(map: &ClusterMap, node: NodeId, incarnation: Incarnation) -> Option<String> {
    let (uid, version) = (map.uid, map.version);
    let by = format!("by version {version} of the map of cluster {uid}");
    let Some(member) = map.members.get(&node) else {
        return Some(format!("node {node} is no member {by}"));
    };
    if member.incarnation != incarnation {
        let other = member.incarnation;
        return Some(format!("node {node} is incarnation {other} {by}; this process is {incarnation}"));
    }
    match member.state {
        MemberState::Joining | MemberState::Up | MemberState::Draining => None,
        MemberState::Down => Some(format!("node {node}, incarnation {incarnation}, was declared down {by}")),
        MemberState::Removed => Some(format!("node {node}, incarnation {incarnation}, was removed {by}")),
    }
}
