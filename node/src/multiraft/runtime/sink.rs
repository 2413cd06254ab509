//! What comes from peers, sorted by the workers that own it.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use crema_api::v1::{Frame, RaftMessage};

use super::{
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
    types::{GroupId, NodeId, ReplicaId},
};

/// The network's way to the workers.
pub(super) struct Sink {
    mailboxes: Arc<[Mailbox]>,
    /// With a disk: where snapshots go before a worker hears of them (PROTOCOL 20).
    disk: Option<(CheckpointManager, Listeners)>,
}

impl Sink {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>, disk: Option<(CheckpointManager, Listeners)>) -> Self {
        Self { mailboxes, disk }
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
        let disk = self.disk.clone();
        async move {
            let to = (GroupId(message.group), ReplicaId(message.to));
            let taken = tokio::task::spawn_blocking(move || {
                let (head, entries) = decode(&bytes)?;
                if let Some((checkpoints, tell)) = disk {
                    publish(&checkpoints, &tell, to, &head, &bytes)?;
                }
                Ok::<_, String>((head, entries))
            });
            let (head, entries) = taken.await.map_err(|error| error.to_string())??;
            mailbox.send(Mail::Snapshot(Box::new(ReceivedSnapshot { from: peer, message, head, entries })));
            Ok(())
        }
    }

    fn map(&self, map: ClusterMap) {
        self.mailboxes[self.worker_of(GroupId::META.0)].send(Mail::Map(Arc::new(map)));
    }
}

/// Makes a snapshot that came in the replica's newest checkpoint. It holds nothing but what is committed, so it does no
/// harm if the replica has no use for it any more.
fn publish(
    checkpoints: &CheckpointManager,
    tell: &Listeners,
    (group, replica): (GroupId, ReplicaId),
    head: &Head,
    chunks: &[Bytes],
) -> Result<(), String> {
    let id = CheckpointId { group, replica, index: head.index() };
    let publish = || {
        let mut draft = checkpoints.begin(id)?;
        chunks.iter().try_for_each(|chunk| draft.write(chunk))?;
        draft.publish()
    };
    publish().map(drop).map_err(|error| {
        let reason = chain(&error);
        if error.is_fatal() {
            tell.fail(&reason);
        }
        reason
    })
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
