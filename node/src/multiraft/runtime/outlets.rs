//! What the workers of a node share: where things go that don't stay with one worker.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{
    Stores,
    board::Board,
    mailbox::{Mail, Mailbox},
    meta_worker,
    wall::Clock,
};
use crate::{
    cluster::map::ClusterMap,
    multiraft::node::Event,
    network::{PeerDoor, PeerHandle},
};

/// Everything around the workers.
pub(super) struct Outlets<T> {
    pub(super) mailboxes: Arc<[Mailbox]>,
    pub(super) peers: PeerHandle,
    pub(super) door: PeerDoor,
    /// The newest committed map, for the view and whoever else looks.
    pub(super) maps: watch::Sender<Arc<ClusterMap>>,
    pub(super) board: Arc<Board>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) stores: Arc<T>,
    pub(super) clock: Clock,
}

impl<T: Stores> Outlets<T> {
    /// Gives a newly committed map to everyone but the worker that has it. When this returns, no peer that the map has
    /// no place for can begin a session, and every other worker takes the map in before anything that is sent to it
    /// from now on.
    pub(super) fn spread_map(&self, from: u32, map: &Arc<ClusterMap>) {
        let others = self.mailboxes.iter().enumerate().filter(|(worker, _)| *worker != from as usize);
        others.for_each(|(_, mailbox)| mailbox.send(Mail::Map(map.clone())));
        self.peers.set_map(map);
        self.door.on_map(map);
        self.maps.send_if_modified(|known| {
            let newer = known.version < map.version;
            if newer {
                known.clone_from(map);
            }
            newer
        });
    }

    /// The way to the worker that holds the meta group.
    pub(super) fn meta(&self) -> &Mailbox {
        &self.mailboxes[meta_worker(self.mailboxes.len())]
    }

    /// A full queue only loses a line of the log.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }
}
