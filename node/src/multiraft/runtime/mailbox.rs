//! How work reaches a worker. The channel itself has no bound; what may be in it does: clients hold permits for their
//! operations until they are answered, peers hold one for each frame until it is taken in.

use std::sync::Arc;

use crema_api::v1;
use crossbeam_channel::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    cluster::{command::MetaCommand, map::ClusterMap},
    error::Error,
    machine::command::{Op, Outcome},
    multiraft::{govern::GovernError, node::ReceivedSnapshot},
    types::{GroupId, LogIndex, NodeId, ReplicaId},
};

/// Operations (and KiB of them) that clients may have under way at one worker.
const CLIENT_UNITS: usize = 128 << 10;
/// Frames from peers that wait for one worker: more would only hide that it is late.
const PEER_FRAMES: usize = 1_024;

/// Operations on groups of one worker, answered together.
pub(super) struct Submission {
    pub(super) calls: Vec<(GroupId, Vec<Op>)>,
    pub(super) deadline_mono_ms: u64,
    pub(super) reply: oneshot::Sender<Vec<Result<Vec<Outcome>, Error>>>,
    /// Their room; kept until they are answered, also when the client has gone away.
    pub(super) permit: OwnedSemaphorePermit,
}

/// A change of the cluster map; for the worker of the meta group.
pub(super) struct Petition {
    pub(super) command: MetaCommand,
    pub(super) expected_version: Option<u64>,
    pub(super) deadline_mono_ms: u64,
    pub(super) reply: oneshot::Sender<Result<Arc<ClusterMap>, GovernError>>,
    /// As of a [`Submission`].
    pub(super) permit: OwnedSemaphorePermit,
}

/// One thing for a worker to take in.
pub(super) enum Mail {
    Submit(Submission),
    SessionUp {
        peer: NodeId,
        session: u64,
    },
    SessionDown {
        peer: NodeId,
        session: u64,
    },
    Frame {
        from: NodeId,
        session: u64,
        frame: Box<v1::Frame>,
        permit: Arc<OwnedSemaphorePermit>,
    },
    Snapshot(Box<ReceivedSnapshot>),
    SnapshotSent {
        group: GroupId,
        to: ReplicaId,
        ok: bool,
    },
    Transfer {
        group: GroupId,
        to: NodeId,
    },
    Hint {
        group: GroupId,
        leader: NodeId,
    },
    Resign,
    /// From the worker of the meta group; to it, from another node.
    Map(Arc<ClusterMap>),
    Govern(Petition),
    /// To the worker of the meta group.
    Report(v1::NodeReport),
    /// From the disk's threads, as the inputs of these names.
    Persisted {
        number: u64,
    },
    PersistFailed {
        reason: String,
    },
    Checkpointed {
        group: GroupId,
        replica: ReplicaId,
        index: LogIndex,
    },
    CheckpointFailed {
        group: GroupId,
        replica: ReplicaId,
        index: LogIndex,
    },
    Stop,
}

/// The senders' end.
#[derive(Clone)]
pub(super) struct Mailbox {
    sender: Sender<Mail>,
    clients: Arc<Semaphore>,
    frames: Arc<Semaphore>,
}

/// A mailbox and what its worker reads.
pub(super) fn mailbox() -> (Mailbox, Receiver<Mail>) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let clients = Arc::new(Semaphore::new(CLIENT_UNITS));
    let frames = Arc::new(Semaphore::new(PEER_FRAMES));
    (Mailbox { sender, clients, frames }, receiver)
}

impl Mailbox {
    /// Waits until there is room for a client's operations; the room is theirs until the permit is dropped.
    pub(super) async fn admit(&self, units: usize) -> OwnedSemaphorePermit {
        let units = units.clamp(1, CLIENT_UNITS) as u32;
        self.clients.clone().acquire_many_owned(units).await.expect("never closed")
    }

    /// Waits until the worker may get another frame.
    pub(super) async fn admit_frame(&self) -> OwnedSemaphorePermit {
        self.frames.clone().acquire_owned().await.expect("never closed")
    }

    /// Never blocks. `false` when the worker has stopped: it will not read it.
    pub(super) fn offer(&self, mail: Mail) -> bool {
        self.sender.send(mail).is_ok()
    }

    /// As [`Self::offer`], of what a worker that has stopped need not know.
    pub(super) fn send(&self, mail: Mail) {
        self.offer(mail);
    }
}
