//! What comes from peers, sorted by the workers that own it.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use crema_api::v1::{Frame, RaftMessage};

use super::{
    board::Board,
    disk::Listeners,
    mailbox::{Mail, Mailbox},
};
use crate::{
    checkpoint::{Decoder, Head, Part},
    cluster::ClusterMap,
    error::chain,
    machine::store::Entry,
    multiraft::node::{ReceivedSnapshot, lane_of},
    network::PeerSink,
    storage::{CheckpointManager, checkpoints::CheckpointId},
    types::{ClusterUid, GroupId, NodeId, ReplicaId},
};

/// The network's way to the workers.
pub(super) struct Sink {
    mailboxes: Arc<[Mailbox]>,
    /// With a disk: where snapshots go before a worker hears of them (PROTOCOL 20).
    landing: Option<Landing>,
}

/// What becomes of a snapshot that comes in, with a disk.
#[derive(Clone)]
pub(super) struct Landing {
    pub(super) cluster: ClusterUid,
    pub(super) checkpoints: CheckpointManager,
    pub(super) board: Arc<Board>,
    pub(super) tell: Listeners,
}

impl Sink {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>, landing: Option<Landing>) -> Self {
        Self { mailboxes, landing }
    }

    fn worker_of(&self, group: u32) -> usize {
        lane_of(GroupId(group)) as usize % self.mailboxes.len()
    }

    /// The parts of a frame by worker; beats and replies, which name no group, go to everyone: each takes its own.
    fn split(&self, frame: Frame) -> Vec<Frame> {
        let workers = self.mailboxes.len();
        if workers == 1 {
            return vec![frame];
        }
        let mut parts = vec![Frame::default(); workers];
        let Frame {
            hello: _,
            more: _,
            raft,
            heartbeats,
            forwards,
            forward_replies,
            beats,
            sleeps,
            hashes,
            stamps,
            reports,
            gone,
            maps,
        } = frame;
        raft.into_iter().for_each(|item| parts[self.worker_of(item.group)].raft.push(item));
        heartbeats.into_iter().for_each(|item| parts[self.worker_of(item.group)].heartbeats.push(item));
        forwards.into_iter().for_each(|item| parts[self.worker_of(item.group)].forwards.push(item));
        sleeps.into_iter().for_each(|item| parts[self.worker_of(item.group)].sleeps.push(item));
        hashes.into_iter().for_each(|item| parts[self.worker_of(item.group)].hashes.push(item));
        stamps.into_iter().for_each(|item| parts[self.worker_of(item.group)].stamps.push(item));
        gone.into_iter().for_each(|item| parts[self.worker_of(item.group)].gone.push(item));
        parts[self.worker_of(GroupId::META.0)].reports = reports;
        parts[self.worker_of(GroupId::META.0)].maps = maps;
        for reply in forward_replies {
            parts[self.worker_of(reply.group)].forward_replies.push(reply);
        }
        for part in &mut parts {
            part.beats.clone_from(&beats);
        }
        parts
    }
}

impl PeerSink for Sink {
    fn session_up(&self, peer: NodeId, session: u64) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::SessionUp { peer, session }));
    }

    fn session_down(&self, peer: NodeId, session: u64) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::SessionDown { peer, session }));
    }

    async fn frame(&self, peer: NodeId, session: u64, frame: Frame) {
        for (mailbox, part) in self.mailboxes.iter().zip(self.split(frame)) {
            if part != Frame::default() {
                let permit = Arc::new(mailbox.admit_frame().await);
                mailbox.send(Mail::Frame { from: peer, session, frame: Box::new(part), permit });
            }
        }
    }

    fn snapshot(
        &self,
        peer: NodeId,
        message: RaftMessage,
        bytes: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), String>> + Send {
        let mailbox = self.mailboxes[self.worker_of(message.group)].clone();
        let landing = self.landing.clone();
        async move {
            let taken = tokio::task::spawn_blocking(move || {
                let (head, entries) = decode(&bytes)?;
                if let Some(landing) = landing {
                    landing.publish(&message, &head, &bytes)?;
                }
                Ok::<_, String>((message, head, entries))
            });
            let (message, head, entries) = taken.await.map_err(|error| error.to_string())??;
            mailbox.send(Mail::Snapshot(Box::new(ReceivedSnapshot { from: peer, message, head, entries })));
            Ok(())
        }
    }

    fn map(&self, map: ClusterMap) {
        self.mailboxes[self.worker_of(GroupId::META.0)].send(Mail::Map(Arc::new(map)));
    }
}

impl Landing {
    /// Makes a snapshot that came in the replica's newest checkpoint. It holds nothing but what is committed, so it does no
    /// harm if the replica has no use for it any more; one for a replica that is not here, or takes no part, is refused.
    fn publish(&self, message: &RaftMessage, head: &Head, chunks: &[Bytes]) -> Result<(), String> {
        let (group, replica) = (GroupId(message.group), ReplicaId(message.to));
        if (head.cluster, head.generation) != (self.cluster, message.generation) {
            return Err(format!("it is of generation {} of cluster {}", head.generation, head.cluster));
        }
        if !self.board.is_served_by(group, replica) {
            return Err(format!("replica {replica} of {group} is not served here"));
        }
        let publish = || {
            let mut draft = self.checkpoints.begin(CheckpointId { group, replica, index: head.index() })?;
            chunks.iter().try_for_each(|chunk| draft.write(chunk))?;
            draft.publish()
        };
        publish().map(drop).map_err(|error| {
            let reason = chain(&error);
            tracing::error!(%group, reason, "a snapshot that came in could not be written");
            if error.is_fatal() {
                self.tell.fail(&reason);
            }
            reason
        })
    }
}

/// Checks and unpacks a snapshot, away from the workers.
fn decode(chunks: &[Bytes]) -> Result<(Head, Vec<Entry>), String> {
    let mut decoder = Decoder::new();
    let (mut head, mut entries) = (None, Vec::new());
    for chunk in chunks {
        decoder.feed(chunk);
        while let Some(part) = decoder.part().map_err(|error| error.to_string())? {
            match part {
                Part::Head(found) => head = Some(*found),
                Part::Entries(block) => entries.extend(block),
                Part::End => {}
            }
        }
    }
    decoder.finish().map_err(|error| error.to_string())?;
    Ok((head.ok_or("a snapshot without a head")?, entries))
}
