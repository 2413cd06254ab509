//! What a turn asks of the world, collected while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use crema_api::v1;

use super::{
    batch::{Answer, Batch, Origin, Ticket},
    checkpoints::CheckpointPiece,
    durable::{PersistBatch, Writes},
    forward,
    hashes::Health,
};
use crate::{
    cluster::map::ClusterMap,
    error::Error,
    machine::{codec, command::Outcome},
    multiraft::govern::GovernError,
    types::{GroupId, NodeId, Now, ReplicaId, Term},
};

/// A frame is cut when it holds about this much, so that one message of the stream stays below its limit.
const FRAME_BYTES: usize = 2 << 20;
/// A single outcome beyond this can't be forwarded: with its frame it would pass the stream's message limit.
const MAX_OUTCOME_BYTES: usize = 15 << 20;
/// Outcomes of one forward are cut into replies of about this size.
const REPLY_BYTES: usize = 4 << 20;

/// What is to be done after a turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be made durable, behind all earlier ones; then [`super::Input::Persisted`]. The frames need not wait for it.
    pub persist: Option<PersistBatch>,
    /// Parts of checkpoints, to be written in the background.
    pub checkpoints: Vec<CheckpointPiece>,
    /// To peers, in order.
    pub frames: Vec<(NodeId, v1::Frame)>,
    /// To local clients: one outcome for each operation, or why there is none.
    pub replies: Vec<(Ticket, Result<Vec<Outcome>, Error>)>,
    /// To be streamed; each must end in [`super::Input::SnapshotSent`].
    pub snapshots: Vec<SendSnapshot>,
    /// For the log, the metrics and the router.
    pub events: Vec<Event>,
    /// A newer committed map: to be given to every other worker ([`super::Input::Map`]), the network and the doors.
    pub map: Option<Arc<ClusterMap>>,
    /// Answers to [`super::Input::Govern`].
    pub governed: Vec<(Ticket, Result<Arc<ClusterMap>, GovernError>)>,
    /// For the worker of this node that holds the meta group: [`super::Input::Report`].
    pub reports: Vec<v1::NodeReport>,
    /// Replicas that are not here any more; their stores are gone.
    pub destroyed: Vec<GroupId>,
    /// Another turn should follow soon, even without an input.
    pub more: bool,
}

/// A snapshot on its way out.
#[derive(Clone, Debug)]
pub struct SendSnapshot {
    /// The group.
    pub group: GroupId,
    /// The receiving replica.
    pub to: ReplicaId,
    /// Its node.
    pub node: NodeId,
    /// The Raft message that announces it.
    pub message: v1::RaftMessage,
    /// The bytes, in the format of `checkpoint`.
    pub chunks: Vec<Bytes>,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node knows a new leader, or lost the one it knew.
    Leader {
        /// The group.
        group: GroupId,
        /// Who leads.
        leader: Option<NodeId>,
        /// In which term.
        term: Term,
        /// Whether this replica is the group's only voter and leads: what it has applied is all there is.
        sole: bool,
    },
    /// A replica stopped serving, and why; or a new one began.
    Health {
        /// The group.
        group: GroupId,
        /// Its health now.
        health: Health,
    },
    /// This node's life is over: another one has its place, or it was declared dead. The process must end.
    Superseded,
}

/// A frame in the making.
#[derive(Debug, Default)]
struct Draft {
    done: Vec<v1::Frame>,
    frame: v1::Frame,
    bytes: usize,
}

impl Draft {
    fn grow(&mut self, bytes: usize) {
        if self.bytes > 0 && self.bytes + bytes > FRAME_BYTES {
            self.done.push(std::mem::take(&mut self.frame));
            self.bytes = 0;
        }
        self.bytes += bytes;
    }
}

/// The effects of the turn under way.
#[derive(Debug)]
pub(super) struct Out {
    node: NodeId,
    drafts: BTreeMap<NodeId, Draft>,
    effects: Effects,
    pub(super) writes: Writes,
    /// The session that stands with each peer; what is for another one is over.
    pub(super) sessions: BTreeMap<NodeId, u64>,
    /// The peers that have said last, in their session, that they leave or can't write.
    pub(super) leaving: BTreeSet<NodeId>,
    /// Local batches that are in no log after all and must find their way again, with a hint at the leader.
    pub(super) again: Vec<(Batch, Option<NodeId>)>,
}

impl Out {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            drafts: BTreeMap::new(),
            effects: Effects::default(),
            writes: Writes::default(),
            sessions: BTreeMap::new(),
            leaving: BTreeSet::new(),
            again: Vec::new(),
        }
    }

    pub(super) fn take_effects(&mut self, now: Now, more: bool) -> Effects {
        let mut effects = std::mem::take(&mut self.effects);
        for (peer, draft) in std::mem::take(&mut self.drafts) {
            let frames = draft.done.into_iter().chain((draft.bytes > 0).then_some(draft.frame));
            effects.frames.extend(frames.map(|frame| (peer, frame)));
        }
        effects.persist = self.writes.take(now);
        effects.more = more;
        effects
    }

    /// Whether a peer is there and does not hand back every leadership that it gets.
    pub(super) fn may_lead(&self, peer: NodeId) -> bool {
        self.sessions.contains_key(&peer) && !self.leaving.contains(&peer)
    }

    /// Where messages for a peer go; `bytes` (above 0) is about what they add. Without a session they are lost,
    /// as on a network.
    pub(super) fn to(&mut self, peer: NodeId, bytes: usize) -> Option<&mut v1::Frame> {
        if peer == self.node || !self.sessions.contains_key(&peer) {
            return None;
        }
        let draft = self.drafts.entry(peer).or_default();
        draft.grow(bytes);
        Some(&mut draft.frame)
    }

    /// Answers a batch, or sends it back on its way.
    pub(super) fn answer(&mut self, batch: Batch, answer: Answer) {
        match (batch.origin, answer) {
            (Origin::Local(_), Answer::NotApplied { leader }) => self.again.push((batch, leader)),
            (Origin::Local(ticket), Answer::Done(outcomes)) => self.effects.replies.push((ticket, Ok(outcomes))),
            (Origin::Local(ticket), Answer::Failed(error)) => self.effects.replies.push((ticket, Err(error))),
            (Origin::Remote { node, session, sequence }, answer) => {
                if self.sessions.get(&node) == Some(&session) {
                    let read_only = batch.is_read_only();
                    self.reply(node, batch.group, sequence, answer, read_only);
                }
            }
        }
    }

    fn reply(&mut self, node: NodeId, group: GroupId, sequence: u64, answer: Answer, read_only: bool) {
        let group = group.0;
        let bare = |status, reason| v1::ForwardReply { group, sequence, status, reason, ..Default::default() };
        let reply = match answer {
            Answer::Done(outcomes) => return self.reply_done(node, group, sequence, &outcomes, read_only),
            Answer::NotApplied { leader } => v1::ForwardReply {
                leader_node: leader.map_or(0, |node| node.0),
                ..bare(forward::NOT_APPLIED, String::new())
            },
            Answer::Failed(Error::OutcomeUnknown { reason, .. }) => bare(forward::UNKNOWN, reason),
            Answer::Failed(Error::Busy { .. }) => bare(forward::BUSY, String::new()),
            Answer::Failed(error) => bare(forward::UNAVAILABLE, error.to_string()),
        };
        self.push_reply(node, reply, 0);
    }

    /// Large outcomes go in several parts; all but the last say that more follows.
    fn reply_done(&mut self, node: NodeId, group: u32, sequence: u64, outcomes: &[Outcome], read_only: bool) {
        let empty = || v1::ForwardReply { group, sequence, status: forward::DONE, ..Default::default() };
        let mut part = empty();
        let mut bytes = 0;
        for outcome in outcomes {
            let outcome = match codec::encode_outcome_within(outcome, MAX_OUTCOME_BYTES) {
                Ok(outcome) => outcome,
                Err(bytes) => {
                    // It can't be said over a stream; better now than when the client's time is over.
                    let reason = format!("the answer has {bytes} bytes; {MAX_OUTCOME_BYTES} can be forwarded");
                    let status = if read_only { forward::UNAVAILABLE } else { forward::UNKNOWN };
                    let reply = v1::ForwardReply { status, reason, outcomes: Vec::new(), ..empty() };
                    return self.push_reply(node, reply, 0);
                }
            };
            if bytes > 0 && bytes + outcome.len() > REPLY_BYTES {
                part.more = true;
                self.push_reply(node, std::mem::replace(&mut part, empty()), bytes);
                bytes = 0;
            }
            bytes += outcome.len();
            part.outcomes.push(outcome);
        }
        self.push_reply(node, part, bytes);
    }

    fn push_reply(&mut self, node: NodeId, reply: v1::ForwardReply, bytes: usize) {
        if let Some(frame) = self.to(node, bytes + 32) {
            frame.forward_replies.push(reply);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.effects.events.push(event);
    }

    /// Answers whoever wanted a change of the map; the leader's own changes have no ticket.
    pub(super) fn governed(&mut self, asker: Option<Ticket>, result: Result<Arc<ClusterMap>, GovernError>) {
        if let Some(ticket) = asker {
            self.effects.governed.push((ticket, result));
        }
    }

    pub(super) fn map(&mut self, map: Arc<ClusterMap>) {
        self.effects.map = Some(map);
    }

    pub(super) fn report(&mut self, report: v1::NodeReport) {
        self.effects.reports.push(report);
    }

    pub(super) fn checkpoint(&mut self, piece: CheckpointPiece) {
        self.effects.checkpoints.push(piece);
    }

    pub(super) fn destroyed(&mut self, group: GroupId) {
        self.effects.destroyed.push(group);
    }

    pub(super) fn snapshot(&mut self, snapshot: SendSnapshot) {
        self.effects.snapshots.push(snapshot);
    }
}
