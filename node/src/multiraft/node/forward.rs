//! Batches on their way through another node (PROTOCOL 1).
//!
//! A forward is accepted once per session and never sent again: when its session breaks, a write's outcome is
//! unknown. Only what the other side says it did not apply goes on to the next node.

use std::collections::BTreeMap;

use bytes::Bytes;
use crema_api::v1;

use super::{
    Node,
    batch::{Answer, Batch, Origin},
    route::Route,
};
use crate::{
    error::Error,
    faults::{Fault, Faults},
    machine::{
        codec,
        command::{Op, Outcome},
        store::EntryStore,
    },
    types::{GroupId, LogIndex, NodeId, Now},
};

/// `ForwardReply.status`: the outcomes are there.
pub(super) const DONE: u32 = 0;
/// It is in no log; try elsewhere.
pub(super) const NOT_APPLIED: u32 = 1;
/// It may have been applied.
pub(super) const UNKNOWN: u32 = 2;
/// Not applied: a queue or the shard is full.
pub(super) const BUSY: u32 = 3;
/// Not applied, and trying again won't help in time.
pub(super) const UNAVAILABLE: u32 = 4;

/// Operations of one forward: the router's own bound, so that with evictions they still fit an entry.
const MAX_FORWARD_BYTES: usize = 10 << 20;

struct Sent {
    batch: Batch,
    to: NodeId,
    session: u64,
    outcomes: Vec<Outcome>,
}

/// Local batches that another node has.
#[derive(Default)]
pub(super) struct Forwards {
    last_sequence: u64,
    sent: BTreeMap<u64, Sent>,
}

impl Forwards {
    /// Takes out what was sent on a session.
    fn of_session(&mut self, to: NodeId, session: u64) -> Vec<Sent> {
        let lost = |_: &u64, sent: &mut Sent| sent.to == to && sent.session == session;
        self.sent.extract_if(.., lost).map(|(_, sent)| sent).collect()
    }

    fn late(&mut self, now_ms: u64) -> Vec<Sent> {
        self.sent.extract_if(.., |_, sent| sent.batch.deadline_ms <= now_ms).map(|(_, sent)| sent).collect()
    }
}

impl super::out::Out {
    /// A batch that may or may not be in a log: its client must look (PROTOCOL 1).
    pub(super) fn unknown(&mut self, batch: Batch, index: LogIndex, reason: &str, faults: Faults) {
        if faults.has(Fault::RetryAmbiguousPut) {
            self.again.push((Batch { deadline_ms: batch.deadline_ms + 2_000, ..batch }, None));
            return;
        }
        let index = (index.0 > 0).then_some(index);
        self.answer(batch, Answer::Failed(Error::OutcomeUnknown { reason: reason.to_owned(), index }));
    }
}

/// What another node's router should have refused is refused here (PROTOCOL 5).
fn may_be_proposed(ops: &[Op]) -> bool {
    let bytes: usize = ops.iter().map(codec::op_size).sum();
    bytes <= MAX_FORWARD_BYTES && ops.iter().all(|op| codec::check_op(op).is_ok())
}

impl<S: EntryStore> Node<S> {
    /// Sends a local batch to the node that leads its group.
    pub(super) fn forward(&mut self, now: Now, to: NodeId, batch: Batch) {
        let Some(&session) = self.out.sessions.get(&to) else { return self.out.again.push((batch, None)) };
        let ops: Vec<Bytes> = batch.ops.iter().map(codec::encode_op).collect();
        let bytes = ops.iter().map(|op| op.len() + 8).sum::<usize>() + 32;
        self.forwards.last_sequence += 1;
        let sequence = self.forwards.last_sequence;
        if let Some(frame) = self.out.to(to, bytes) {
            let timeout_ms = batch.deadline_ms.saturating_sub(now.mono_ms);
            frame.forwards.push(v1::Forward { group: batch.group.0, sequence, ops, timeout_ms });
        }
        self.forwards.sent.insert(sequence, Sent { batch, to, session, outcomes: Vec::new() });
    }

    pub(super) fn on_forward(&mut self, now: Now, from: NodeId, session: u64, forward: v1::Forward) {
        // A sequence that was seen is a duplicate: its answer is under way already.
        let group = GroupId(forward.group);
        if !self.peers.accept_sequence(from, group, forward.sequence) {
            return;
        }
        let origin = Origin::Remote { node: from, session, sequence: forward.sequence };
        let deadline_ms = now.mono_ms.saturating_add(forward.timeout_ms);
        let ops: Result<Vec<_>, _> = forward.ops.iter().map(codec::decode_op).collect();
        match (ops, self.routes.get(group).map(Route::is_full)) {
            (Ok(ops), _) if !may_be_proposed(&ops) => {
                let batch = Batch { origin, group, ops: Vec::new(), deadline_ms, hold_until_tick: 0 };
                let reason = format!("node {from} sent operations that must not reach a log");
                self.out.answer(batch, Answer::Failed(Error::Unavailable { reason }));
            }
            (Ok(ops), Some(true)) => {
                let batch = Batch { origin, group, ops, deadline_ms, hold_until_tick: 0 };
                self.out.answer(batch, Answer::Failed(Error::Busy { what: "the shard's leader" }));
            }
            (Ok(ops), Some(false)) => {
                self.routes.park(Batch { origin, group, ops, deadline_ms, hold_until_tick: 0 });
                self.dirty.insert(group);
            }
            (Ok(_), None) => {
                let batch = Batch { origin, group, ops: Vec::new(), deadline_ms, hold_until_tick: 0 };
                self.out.answer(batch, Answer::NotApplied { leader: None });
            }
            (Err(error), _) => {
                let reason = format!("{from} sent an operation that this node can't read: {error}");
                let batch = Batch { origin, group, ops: Vec::new(), deadline_ms, hold_until_tick: 0 };
                self.out.answer(batch, Answer::Failed(Error::Unavailable { reason }));
            }
        }
    }

    pub(super) fn on_forward_reply(&mut self, from: NodeId, session: u64, reply: v1::ForwardReply) {
        let Some(sent) = self.forwards.sent.get_mut(&reply.sequence) else { return };
        if (sent.to, sent.session) != (from, session) {
            return;
        }
        let outcomes: Result<Vec<_>, _> = reply.outcomes.iter().map(codec::decode_outcome).collect();
        let readable = outcomes.is_ok();
        sent.outcomes.extend(outcomes.unwrap_or_default());
        if readable && reply.more {
            return;
        }
        let Some(Sent { batch, outcomes, .. }) = self.forwards.sent.remove(&reply.sequence) else { return };
        let complete = readable && outcomes.len() == batch.ops.len();
        let leader = (reply.leader_node != 0).then_some(NodeId(reply.leader_node));
        let answer = match reply.status {
            DONE if complete => Answer::Done(outcomes),
            NOT_APPLIED => Answer::NotApplied { leader },
            BUSY => Answer::Failed(Error::Busy { what: "the shard's leader" }),
            UNAVAILABLE => Answer::Failed(Error::Unavailable { reason: reply.reason }),
            _ => {
                let reason = format!("node {from} could not say ({})", reply.reason);
                return self.out.unknown(batch, LogIndex(0), &reason, self.config.faults);
            }
        };
        self.out.answer(batch, answer);
    }

    /// Forwards that never left are in no log, and go another way. Raft repeats its messages by itself; a reply that
    /// can't be given leaves its client to a time-out.
    pub(super) fn on_undelivered(&mut self, to: NodeId, frame: v1::Frame) {
        for forward in frame.forwards {
            if let Some(Sent { batch, .. }) = self.forwards.sent.remove(&forward.sequence) {
                self.out.answer(batch, Answer::NotApplied { leader: None });
            }
        }
        if !frame.reports.is_empty() {
            self.report.begin_again();
        }
        if !frame.maps.is_empty()
            && let Some(governor) = &mut self.governor
        {
            governor.forget_news(to);
        }
        for (id, group) in &mut self.groups {
            let lost = frame.raft.iter().any(|message| message.group == id.0);
            let replica = group.others().find(|(_, node)| lost && *node == to).map(|(replica, _)| replica);
            group.snapshots.unreachable.extend(replica);
        }
        self.park_bounced();
    }

    /// The stream is gone, and with it the answers: reads go again, writes are unknown.
    pub(super) fn lose_forwards(&mut self, peer: NodeId, session: u64) {
        for sent in self.forwards.of_session(peer, session) {
            if sent.batch.is_read_only() {
                self.out.again.push((sent.batch, None));
            } else {
                let reason = format!("the connection to node {peer} broke");
                self.out.unknown(sent.batch, LogIndex(0), &reason, self.config.faults);
            }
        }
    }

    pub(super) fn expire_forwards(&mut self, now: Now) {
        for Sent { batch, to, .. } in self.forwards.late(now.mono_ms) {
            if batch.is_read_only() {
                let answer = batch.too_late("the leader did not answer in time");
                self.out.answer(batch, answer);
            } else {
                let reason = format!("node {to} did not answer in time");
                self.out.unknown(batch, LogIndex(0), &reason, self.config.faults);
            }
        }
    }
}
