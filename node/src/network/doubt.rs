//! Whether the cluster has gone on without this node: has it still a place for this life (PROTOCOL 11), and who else is
//! there by now?
//!
//! A node that was cut off hears no newer map by itself: those that were its peers refuse it, or dial the life that has
//! come after it; and those that came meanwhile it would not let in, although a leader may need its vote before it can
//! send it anything. So peers without a session, and one that has one, are asked for their map now and then. Only a map
//! that is newer than this node's says anything: a peer that is behind refuses a node that has just come back. This node
//! acts by the map of a peer that it has a session with only: at the address of another one anybody may be by now, whose
//! word can end this process and nothing more.

use std::sync::Arc;

use futures::future::join_all;
use tokio::time::sleep;

use crate::{
    cluster::{ClusterMap, map::MemberState},
    network::{
        PeerSink, Shared,
        find::{Seeker, ask_map},
        peer::Peer,
    },
    types::{Incarnation, NodeId},
};

/// Asks now and then, and at once when a peer has refused this node; until the network stops.
pub(super) async fn run<S: PeerSink>(shared: Arc<Shared>, sink: Arc<S>) {
    let stop = shared.stop.clone();
    let look = async {
        for round in 0.. {
            tokio::select! {
                () = sleep(shared.settings.doubt_interval) => {}
                () = shared.refused.notified() => {}
            }
            look(&shared, &*sink, round).await;
        }
    };
    stop.run_until_cancelled(look).await;
}

async fn look<S: PeerSink>(shared: &Shared, sink: &S, round: usize) {
    let asked = whom_to_ask(shared, round);
    let (node, incarnation) = (shared.members.node, shared.members.incarnation);
    let answers = join_all(asked.iter().map(|peer| ask_map(Seeker { node, incarnation }, &peer.address))).await;
    for (peer, map) in asked.iter().zip(answers) {
        let Ok(map) = map else { continue };
        if map.uid != shared.members.uid || map.version <= shared.members.version() {
            continue;
        }
        shared.judge(&map);
        match superseded(&map, node, incarnation) {
            None if peer.is_up() => sink.map(map),
            // What it holds is replaced, if it did not give it away itself: it forwards from now on.
            Some(Superseded { removed: true, .. }) => sink.map(map),
            None | Some(Superseded { removed: false, .. }) => {}
        }
    }
}

/// Those without a session. While there are any, one of the others too: it may know of a node that is there and that
/// this one does not know.
fn whom_to_ask(shared: &Shared, round: usize) -> Vec<Arc<Peer>> {
    let peers = shared.members.peers();
    let living = peers.values().filter(|peer| !peer.life.is_cancelled());
    let (up, lost): (Vec<&Arc<Peer>>, Vec<&Arc<Peer>>) = living.partition(|peer| peer.is_up());
    let one = up.get(round % up.len().max(1)).filter(|_| !lost.is_empty());
    lost.iter().chain(one).map(|peer| Arc::clone(peer)).collect()
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
