//! One life of one peer: its address, and the session with it, of which there is at most one.

use std::sync::Arc;

use crema_api::v1::Frame;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::map::Member,
    network::{NetworkSettings, PeerSink, SendError, SendRefusal, SessionInfo, lane::Lane},
    types::{Incarnation, NodeId},
};

/// Held for as long as a session with a node lives: the next one, also of the node's next life, waits here until the
/// last has said goodbye.
pub(super) type Gate = Arc<tokio::sync::Mutex<()>>;

/// A member that is not this node, in one life and at one address; when either changes there is a new one.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: String,
    incarnation: Incarnation,
    current: Mutex<Option<Current>>,
    gate: Gate,
    /// Cancelled when the map has no place for this life any more, or the network stops.
    pub(super) life: CancellationToken,
}

#[derive(Clone, Debug)]
struct Current {
    session: u64,
    lane: Arc<Lane>,
    end: CancellationToken,
}

impl Peer {
    pub(super) fn new(node: NodeId, member: &Member, gate: Gate, life: CancellationToken) -> Self {
        let Member { incarnation, address, .. } = member.clone();
        Self { node, address, incarnation, current: Mutex::new(None), gate, life }
    }

    /// Whether this is the member that the map describes.
    pub(super) fn is(&self, member: &Member) -> bool {
        self.incarnation == member.incarnation && self.address == member.address
    }

    /// Queues a frame that belongs to a session.
    pub(super) fn send(&self, session: u64, frame: Frame, settings: &NetworkSettings) -> Result<(), SendError> {
        let current = self.current.lock().as_ref().filter(|current| current.session == session).cloned();
        match current {
            Some(Current { lane, .. }) => lane.push(frame, settings),
            None => Err(SendError { reason: SendRefusal::Down, frame: Box::new(frame) }),
        }
    }

    pub(super) fn info(&self) -> Option<SessionInfo> {
        let Current { session, lane, .. } = self.current.lock().clone()?;
        let (queued_frames, queued_bytes) = lane.waiting();
        Some(SessionInfo { peer: self.node, session, queued_frames, queued_bytes })
    }

    pub(super) fn is_up(&self) -> bool {
        self.current.lock().is_some()
    }

    pub(super) async fn wait_until_down(&self) {
        drop(self.gate.lock().await);
    }

    /// Begins a session, unless this life of the peer is over. An older one is ended first: its peer would not dial
    /// anew if it still lived there.
    pub(super) async fn begin<S: PeerSink>(
        self: &Arc<Self>,
        session: u64,
        lane: Arc<Lane>,
        sink: Arc<S>,
    ) -> Option<Open<S>> {
        if let Some(older) = self.current.lock().as_ref() {
            older.end.cancel();
        }
        let gate = self.gate.clone().lock_owned().await;
        let end = self.life.child_token();
        if end.is_cancelled() {
            return None;
        }
        *self.current.lock() = Some(Current { session, lane: lane.clone(), end: end.clone() });
        sink.session_up(self.node, session);
        Some(Open { peer: self.clone(), session, lane, end, sink, _gate: gate })
    }
}

/// A session that is up; dropping it is its end, exactly once, whatever the reason.
pub(super) struct Open<S: PeerSink> {
    pub(super) peer: Arc<Peer>,
    pub(super) session: u64,
    pub(super) lane: Arc<Lane>,
    /// Cancelled when the session must end.
    pub(super) end: CancellationToken,
    pub(super) sink: Arc<S>,
    _gate: OwnedMutexGuard<()>,
}

impl<S: PeerSink> Drop for Open<S> {
    fn drop(&mut self) {
        *self.peer.current.lock() = None;
        self.lane.close();
        self.sink.session_down(self.peer.node, self.session);
    }
}
