//! What nodes say to each other: one stream of frames per node pair, snapshots beside it, and the messages of
//! forming, over tonic.
//!
//! The runtime starts a [`Network`] with a [`PeerSink`] and sends through [`PeerHandle`], which never blocks. A
//! *session* is one life of the stream between two incarnations: within it frames arrive in order and once; when it
//! breaks, what was queued is lost, nothing is replayed (PROTOCOL 1), and [`PeerSink::session_down`] says so exactly
//! once. [`PeerDoor`] is the server's half: a tonic service for the node's gRPC port.
//!
//! Never here: a look into Raft messages, or trust in a peer that has not shown the right cluster, node and
//! incarnation (PROTOCOL 11).

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use crema_api::v1::{Frame, RaftMessage};
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::ClusterMap,
    types::{Incarnation, NodeId},
};

mod backoff;
mod dialer;
mod door;
pub mod form;
mod frames;
mod identity;
mod lane;
mod peer;
mod session;
mod snapshot;
mod transport;

pub use door::PeerDoor;
pub use frames::MAX_FRAME_BYTES;
pub(crate) use transport::endpoint;
pub use transport::{MAX_MESSAGE_BYTES, listen, server_builder};

use identity::Identity;
use peer::Peer;
use snapshot::{Pace, SnapshotBudget};

/// What the network tells the runtime. Called from network tasks: no method may block a thread.
pub trait PeerSink: Send + Sync + 'static {
    /// Frames can be sent to the peer from now on. Comes before any frame of the session.
    fn session_up(&self, peer: NodeId, session: u64);

    /// The session is over: frames that it had not delivered are lost. Exactly once for each
    /// [`Self::session_up`], after the last frame and before the next session.
    fn session_down(&self, peer: NodeId, session: u64);

    /// A frame has come. Frames of one session come one at a time, in order; waiting here holds the peer back.
    fn frame(&self, peer: NodeId, session: u64, frame: Frame) -> impl Future<Output = ()> + Send;

    /// A whole snapshot has come; the result goes back to the sender.
    fn snapshot(
        &self,
        peer: NodeId,
        message: RaftMessage,
        bytes: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// Bounds and times of the peer network.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Frames that wait for one peer at most.
    pub queue_frames: usize,
    /// Bytes that wait for one peer at most; a single larger frame still passes when nothing else waits.
    pub queue_bytes: usize,
    /// How long a connect and a handshake may take.
    pub connect_timeout: Duration,
    /// A session is broken when no frame comes for so long; the core sends several a second.
    pub silence: Duration,
    /// The pause after the first failed connect; it doubles up to `backoff_max`, give or take a quarter.
    pub backoff_min: Duration,
    /// The longest pause between connects.
    pub backoff_max: Duration,
    /// Bytes of snapshots that this node sends per second, all together; `None` is no limit.
    pub snapshot_bytes_per_s: Option<u64>,
    /// Snapshots that this node sends at the same time.
    pub snapshot_sends: usize,
    /// Bytes of snapshots that this node holds while they arrive, all together.
    pub snapshot_receive_bytes: u64,
    /// A snapshot is given up when nothing of it moves for so long.
    pub snapshot_stall: Duration,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            queue_frames: 4096,
            queue_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(2),
            silence: Duration::from_secs(3),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            snapshot_bytes_per_s: None,
            snapshot_sends: 2,
            snapshot_receive_bytes: 2 << 30,
            snapshot_stall: Duration::from_secs(30),
        }
    }
}

/// Why a frame was not queued. The frame comes back.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// Why.
    pub reason: SendRefusal,
    /// What was to be sent.
    pub frame: Box<Frame>,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// There is no session with the peer.
    #[error("no session with the peer")]
    Down,
    /// The queue to the peer is full.
    #[error("the queue to the peer is full")]
    Full,
    /// A single message of the frame is larger than [`MAX_FRAME_BYTES`]: it can never be sent.
    #[error("a message is larger than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
}

/// A session that is up, for `/status` and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The other node.
    pub peer: NodeId,
    /// The session's number.
    pub session: u64,
    /// Frames that wait to be sent.
    pub queued_frames: usize,
    /// Bytes that wait to be sent.
    pub queued_bytes: usize,
}

/// The peer streams of one node. Dropping it ends every session.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    dialers: JoinSet<()>,
}

/// What every task and handle of a network shares.
#[derive(Debug)]
struct Shared {
    identity: Identity,
    settings: NetworkSettings,
    peers: BTreeMap<NodeId, Arc<Peer>>,
    pace: Pace,
    budget: SnapshotBudget,
    runtime: Handle,
    stop: CancellationToken,
}

impl Network {
    /// Opens the door to peers and dials those with a higher id. Call within a tokio runtime.
    ///
    /// `map` must name this node in this incarnation: its members are the peers.
    pub fn start<S: PeerSink>(
        map: &ClusterMap,
        node: NodeId,
        incarnation: Incarnation,
        settings: NetworkSettings,
        door: &PeerDoor,
        sink: Arc<S>,
    ) -> Self {
        let peers = map
            .members
            .iter()
            .filter(|(id, _)| **id != node)
            .map(|(id, member)| (*id, Arc::new(Peer::new(*id, member.address.clone()))))
            .collect();
        let shared = Arc::new(Shared {
            identity: Identity::new(map, node, incarnation),
            pace: Pace::new(settings.snapshot_bytes_per_s),
            budget: SnapshotBudget::new(&settings),
            settings,
            peers,
            runtime: Handle::current(),
            stop: CancellationToken::new(),
        });
        door.open(&shared, &sink);
        let mut dialers = JoinSet::new();
        for peer in shared.peers.values().filter(|peer| node < peer.node) {
            dialers.spawn(dialer::run(shared.clone(), peer.clone(), sink.clone()));
        }
        Self { shared, dialers }
    }

    /// A way to send, for as many threads as wanted.
    #[must_use]
    pub fn handle(&self) -> PeerHandle {
        PeerHandle { shared: self.shared.clone() }
    }

    /// Ends every session and waits until each [`PeerSink::session_down`] has been called.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        while self.dialers.join_next().await.is_some() {}
        for peer in self.shared.peers.values() {
            peer.wait_until_down().await;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Sends to peers; cheap to clone. No method blocks, so plain worker threads may call them.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    shared: Arc<Shared>,
}

impl PeerHandle {
    /// Queues a frame for a peer and says on which session. A frame that is larger than a message may be goes as
    /// several, in the order of its fields. `frame.hello` and `frame.more` belong to the network: leave them empty.
    pub fn send(&self, to: NodeId, frame: Frame) -> Result<u64, SendError> {
        debug_assert!(frame.hello.is_none() && frame.more.is_empty(), "fields of the network itself");
        match self.shared.peers.get(&to) {
            Some(peer) => peer.send(frame, &self.shared.settings),
            None => Err(SendError { reason: SendRefusal::Down, frame: Box::new(frame) }),
        }
    }

    /// Streams a snapshot to a peer. `done` is called exactly once, whatever happens (PROTOCOL 13).
    pub fn send_snapshot(
        &self,
        to: NodeId,
        message: RaftMessage,
        chunks: Vec<Bytes>,
        done: impl FnOnce(Result<(), String>) + Send + 'static,
    ) {
        let done = snapshot::Done::new(done);
        match self.shared.peers.get(&to) {
            None => done.tell(Err(format!("node {to} is not a peer"))),
            Some(peer) => {
                let send = snapshot::send(self.shared.clone(), peer.clone(), message, chunks, done);
                self.shared.runtime.spawn(send);
            }
        }
    }

    /// Whether there is a session with a peer.
    #[must_use]
    pub fn is_up(&self, peer: NodeId) -> bool {
        self.shared.peers.get(&peer).is_some_and(|peer| peer.info().is_some())
    }

    /// The sessions that are up.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.peers.values().filter_map(|peer| peer.info()).collect()
    }
}

#[cfg(test)]
mod tests;
