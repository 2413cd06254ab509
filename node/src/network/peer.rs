//! One peer: its address, and the session with it, of which there is at most one.

use std::sync::Arc;

use crema_api::v1::Frame;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::{
    network::{NetworkSettings, PeerSink, SendError, SendRefusal, SessionInfo, lane::Lane},
    types::NodeId,
};

/// A member that is not this node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: String,
    current: Mutex<Option<Current>>,
    /// Held for as long as a session lives: the next one waits here until the last has said goodbye.
    gate: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Debug)]
struct Current {
    session: u64,
    lane: Arc<Lane>,
    end: CancellationToken,
}

impl Peer {
    pub(super) fn new(node: NodeId, address: String) -> Self {
        Self { node, address, current: Mutex::new(None), gate: Arc::default() }
    }

    pub(super) fn send(&self, frame: Frame, settings: &NetworkSettings) -> Result<u64, SendError> {
        let Some(Current { session, lane, .. }) = self.current.lock().clone() else {
            return Err(SendError { reason: SendRefusal::Down, frame: Box::new(frame) });
        };
        lane.push(frame, settings).map(|()| session)
    }

    pub(super) fn info(&self) -> Option<SessionInfo> {
        let Current { session, lane, .. } = self.current.lock().clone()?;
        let (queued_frames, queued_bytes) = lane.waiting();
        Some(SessionInfo { peer: self.node, session, queued_frames, queued_bytes })
    }

    pub(super) async fn wait_until_down(&self) {
        drop(self.gate.lock().await);
    }

    /// Begins a session. An older one is ended first: its peer would not dial anew if it still lived there.
    pub(super) async fn begin<S: PeerSink>(
        self: &Arc<Self>,
        session: u64,
        lane: Arc<Lane>,
        end: CancellationToken,
        sink: Arc<S>,
    ) -> Open<S> {
        if let Some(older) = self.current.lock().as_ref() {
            older.end.cancel();
        }
        let gate = self.gate.clone().lock_owned().await;
        *self.current.lock() = Some(Current { session, lane: lane.clone(), end: end.clone() });
        sink.session_up(self.node, session);
        Open { peer: self.clone(), session, lane, end, sink, _gate: gate }
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
