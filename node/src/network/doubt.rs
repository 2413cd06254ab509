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
    let lost: Vec<String> = shared
        .members
        .peers()
        .values()
        .filter(|peer| !peer.is_up() && !peer.life.is_cancelled())
        .map(|peer| peer.address.clone())
        .collect();
    let seeker = Seeker { node: shared.members.node, incarnation: shared.members.incarnation };
    for map in join_all(lost.iter().map(|address| ask_map(seeker, address))).await.into_iter().flatten() {
        if map.uid == shared.members.uid && map.version > shared.members.version() {
            shared.judge(&map);
        }
    }
}

/// Why the cluster has no place for this life of a node any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// In plain words.
    pub reason: String,
    /// It was taken out on purpose: a process that came in its place would not be wanted either.
    pub removed: bool,
}

/// Why a map has no place for a life of a node; `None` when it has.
pub(super) fn superseded(map: &ClusterMap, node: NodeId, incarnation: Incarnation) -> Option<Superseded> {
    let (uid, version) = (map.uid, map.version);
    let end = |removed, what: String| {
        Some(Superseded { reason: format!("{what} by version {version} of the map of cluster {uid}"), removed })
    };
    let Some(member) = map.members.get(&node) else {
        return end(false, format!("node {node} is no member"));
    };
    if member.incarnation != incarnation {
        let other = member.incarnation;
        return end(false, format!("node {node} is incarnation {other}, not {incarnation} as this process,"));
    }
    match member.state {
        MemberState::Joining | MemberState::Up | MemberState::Draining => None,
        MemberState::Down => end(false, format!("node {node}, incarnation {incarnation}, was declared down")),
        MemberState::Removed => end(true, format!("node {node}, incarnation {incarnation}, was removed")),
    }
}
