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

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use crema_api::v1::{Frame, RaftMessage};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::ClusterMap,
    types::{Incarnation, NodeId},
};

mod backoff;
mod dialer;
mod door;
mod doubt;
pub mod find;
pub mod form;
mod frames;
pub mod govern;
mod identity;
pub mod join;
mod lane;
mod members;
mod peer;
mod session;
mod snapshot;
mod token;
mod transport;

pub use door::PeerDoor;
pub use doubt::Superseded;
pub use frames::MAX_FRAME_BYTES;
pub use token::ClusterToken;
pub(crate) use transport::endpoint;
pub use transport::{MAX_MESSAGE_BYTES, listen, server_builder};

use members::{Changes, Members};
use peer::Peer;
use snapshot::{Pace, SnapshotBudget};

/// How long a session with a node that was removed lasts on: it answers its last clients through it.
pub const PARTING: Duration = Duration::from_secs(15);

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

    /// A peer has a newer committed map than this node, which has a place for this node. Perhaps more than once.
    fn map(&self, map: ClusterMap);
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
    /// Bytes of snapshots that this node sends per second, all together, unless the cluster map says; `None` is no
    /// limit.
    pub snapshot_bytes_per_s: Option<u64>,
    /// Snapshots that this node sends at the same time.
    pub snapshot_sends: usize,
    /// Bytes of snapshots that this node holds while they arrive, all together.
    pub snapshot_receive_bytes: u64,
    /// A snapshot is given up when nothing of it moves for so long.
    pub snapshot_stall: Duration,
    /// How often peers without a session are asked whether the cluster has gone on without this node.
    pub doubt_interval: Duration,
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
            doubt_interval: Duration::from_secs(2),
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
}

/// What every task and handle of a network shares.
struct Shared {
    members: Members,
    settings: NetworkSettings,
    pace: Pace,
    budget: SnapshotBudget,
    runtime: Handle,
    stop: CancellationToken,
    /// Starts a dialer, which knows the type of the sink.
    dial: Box<dyn Fn(Arc<Shared>, Arc<Peer>) + Send + Sync>,
    /// A peer has refused this node: it should find out why.
    refused: Notify,
    /// Why the cluster has no place for this life of this node any more.
    superseded: watch::Sender<Option<Superseded>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Shared {
    /// Takes a newer map in.
    fn set_map(self: &Arc<Self>, map: &ClusterMap) {
        self.pace.set(map.settings.migration_bytes_per_s.or(self.settings.snapshot_bytes_per_s));
        let Changes { fresh, parting } = self.members.update(map);
        for peer in fresh {
            (self.dial)(self.clone(), peer);
        }
        for peer in parting {
            self.runtime.spawn(async move {
                tokio::time::sleep(PARTING).await;
                peer.life.cancel();
            });
        }
        self.judge(map);
    }

    /// Tells those who wait when a map has no place for this life of this node.
    fn judge(&self, map: &ClusterMap) {
        if let Some(end) = doubt::superseded(map, self.members.node, self.members.incarnation) {
            self.superseded.send_if_modified(|told| told.replace(end).is_none());
        }
    }
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
        let stop = CancellationToken::new();
        let to_sink = sink.clone();
        let shared = Arc::new(Shared {
            members: Members::new(map, node, incarnation, stop.clone()),
            pace: Pace::new(settings.snapshot_bytes_per_s),
            budget: SnapshotBudget::new(&settings),
            settings,
            runtime: Handle::current(),
            stop,
            dial: Box::new(move |shared, peer| {
                let runtime = shared.runtime.clone();
                runtime.spawn(dialer::run(shared, peer, to_sink.clone()));
            }),
            refused: Notify::new(),
            superseded: watch::Sender::new(None),
        });
        shared.set_map(map);
        door.open(&shared, &sink);
        shared.runtime.spawn(doubt::run(shared.clone(), sink));
        Self { shared }
    }

    /// A way to send, for as many threads as wanted.
    #[must_use]
    pub fn handle(&self) -> PeerHandle {
        PeerHandle { shared: self.shared.clone() }
    }

    /// Ends every session and waits until each [`PeerSink::session_down`] has been called.
    pub async fn shutdown(self) {
        let peers = self.shared.members.peers().clone();
        self.shared.stop.cancel();
        for peer in peers.values() {
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
    /// Queues a frame for a peer on the session that it was made for; [`SendRefusal::Down`] when that one is over. A
    /// frame that is larger than a message may be goes as several, in the order of its fields. `frame.hello` and
    /// `frame.more` belong to the network: leave them empty.
    pub fn send(&self, to: NodeId, session: u64, frame: Frame) -> Result<(), SendError> {
        debug_assert!(frame.hello.is_none() && frame.more.is_empty(), "fields of the network itself");
        match self.shared.members.peers().get(&to) {
            Some(peer) => peer.send(session, frame, &self.shared.settings),
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
        match self.shared.members.peers().get(&to) {
            None => done.tell(Err(format!("node {to} is not a peer"))),
            Some(peer) => {
                let send = snapshot::send(self.shared.clone(), peer.clone(), message, chunks, done);
                self.shared.runtime.spawn(send);
            }
        }
    }

    /// Takes a newer committed map in; older ones change nothing. New members become peers, those that are down or
    /// have left are cut off, and a member in a new life or at a new address is met anew.
    pub fn set_map(&self, map: &ClusterMap) {
        self.shared.set_map(map);
    }

    /// Resolves when the cluster has no place for this life of this node any more; says why. Pends for ever when the
    /// network is gone first.
    pub fn superseded(&self) -> impl Future<Output = Superseded> + Send + use<> {
        let mut told = self.shared.superseded.subscribe();
        async move {
            match told.wait_for(Option::is_some).await.map(|end| end.clone()) {
                Ok(Some(end)) => end,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Whether there is a session with a peer.
    #[must_use]
    pub fn is_up(&self, peer: NodeId) -> bool {
        self.shared.members.peers().get(&peer).is_some_and(|peer| peer.is_up())
    }

    /// The sessions that are up.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.members.peers().values().filter_map(|peer| peer.info()).collect()
    }
}

#[cfg(test)]
mod tests;
