//! What Raft hands out: messages to send, entries to apply, and the clients who waited for them.

use crema_api::v1;

use super::{
    batch::{Answer, Batch},
    group::{Env, Group, State, Waiting},
};
use crate::{
    consensus::{Committed, CommittedKind, Output},
    machine::{codec, command::Outcome, store::EntryStore},
    types::{LogIndex, NodeId, ReplicaId, Term},
};

/// `eraftpb.MessageType`: the two that are coalesced.
const MSG_HEARTBEAT: u32 = 8;
const MSG_HEARTBEAT_RESPONSE: u32 = 9;

impl<S: EntryStore> Group<S> {
    /// Carries out one poll's output, in its order.
    pub(super) fn perform(&mut self, output: Output<Batch>, env: &mut Env<'_>) {
        let Output { persist, install, messages, committed, reads } = output;
        if let Some((number, persist)) = persist {
            env.out.writes.push(number, persist);
        }
        if let Some(point) = install {
            self.install(point, env);
        }
        for message in messages {
            self.send(message, env);
        }
        if let Some(last) = committed.last().map(|entry| entry.index) {
            for entry in committed {
                if self.health.is_stopped() {
                    return;
                }
                self.apply(entry, env);
            }
            self.replica.applied(last);
        }
        for answer in reads {
            self.reads.confirm(answer);
        }
        self.serve_reads(env);
    }

    /// Readers see the state that a snapshot brought only from here on.
    pub(super) fn publish(&mut self) {
        if let State::Shard(machine) = &mut self.state {
            let (applied, log_time) = (machine.applied(), machine.log_time());
            machine.store_mut().publish(applied, log_time);
        }
    }

    fn send(&mut self, message: v1::RaftMessage, env: &mut Env<'_>) {
        let to = ReplicaId(message.to);
        let Some(&node) = self.nodes.get(&to) else { return };
        if message.snapshot.is_some() {
            return self.send_snapshot(to, node, message, env);
        }
        let bytes = message.entries.iter().map(|entry| entry.data.len() + 32).sum::<usize>() + 64;
        let Some(frame) = env.out.to(node, bytes) else { return self.unreachable(to, &message) };
        let response = message.r#type == MSG_HEARTBEAT_RESPONSE;
        // One with a context belongs to a read and is never merged (PROTOCOL 15).
        if (response || message.r#type == MSG_HEARTBEAT) && message.context.is_empty() {
            frame.heartbeats.push(to_heartbeat(&message, response));
        } else {
            frame.raft.push(message);
        }
    }

    fn unreachable(&mut self, peer: ReplicaId, message: &v1::RaftMessage) {
        if self.replica.is_leader() && !message.entries.is_empty() {
            self.snapshots.unreachable.insert(peer);
        }
    }

    fn apply(&mut self, entry: Committed, env: &mut Env<'_>) {
        let Committed { index, term, kind } = entry;
        let outcomes = match (kind, &self.state) {
            (CommittedKind::Empty, _) => {
                self.state.apply_empty(index);
                Ok(Vec::new())
            }
            (CommittedKind::ConfChange { context }, _) => {
                self.apply_conf_change(index, &context, env).map(|()| Vec::new())
            }
            (CommittedKind::Normal(data), State::Shard(_)) => {
                self.checkpoints.count(data.len());
                self.apply_record(index, &data)
            }
            (CommittedKind::Normal(data), State::Meta(_)) => {
                self.checkpoints.count(data.len());
                self.apply_change(index, term, &data, env).map(|()| Vec::new())
            }
        };
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(reason) => return self.stop(reason, env),
        };
        self.pass_changes(index, term, env);
        self.answer_waiters(index, term, outcomes, env);
        self.report_hash(index, env);
    }

    fn apply_record(&mut self, index: LogIndex, data: &bytes::Bytes) -> Result<Vec<Outcome>, String> {
        let record = codec::decode_record(data)
            .map_err(|error| format!("{} entry {index} can't be applied and is not skipped: {error}", self.id))?;
        self.last_stamp = self.last_stamp.max(record.stamp);
        self.evictions.applied(&record.evictions);
        self.counters.commands_applied += record.commands.len() as u64;
        self.counters.evictions += record.evictions.len() as u64;
        let Some(machine) = self.machine_mut() else { return Err("a record in the meta group".to_owned()) };
        Ok(machine.apply(index, record))
    }

    /// Gives each batch in the entry its outcomes. Was the entry another's, ours is in no log any more.
    fn answer_waiters(&mut self, index: LogIndex, term: Term, outcomes: Vec<Outcome>, env: &mut Env<'_>) {
        let later = self.waiters.split_off(&(index.next(), Term(0)));
        let leader = self.leader_node();
        let mut outcomes = outcomes.into_iter();
        let mut taken = 0;
        for ((_, proposed), waiting) in std::mem::replace(&mut self.waiters, later) {
            for Waiting { batch, first } in waiting {
                if proposed != term {
                    env.out.answer(batch, Answer::NotApplied { leader });
                    continue;
                }
                if !self.health.is_serving() {
                    env.out.unknown(batch, index, "this replica's state is not to be trusted", env.config.faults);
                    continue;
                }
                let own: Vec<_> = outcomes.by_ref().skip(first - taken).take(batch.ops.len()).collect();
                taken = first + own.len();
                env.out.answer(batch, Answer::Done(own));
            }
        }
    }
}

fn to_heartbeat(message: &v1::RaftMessage, response: bool) -> v1::Heartbeat {
    v1::Heartbeat {
        group: message.group,
        generation: message.generation,
        to: message.to,
        from: message.from,
        term: message.term,
        commit: message.commit,
        response,
    }
}

/// The message that a coalesced heartbeat stands for.
pub(super) fn from_heartbeat(beat: v1::Heartbeat) -> v1::RaftMessage {
    v1::RaftMessage {
        group: beat.group,
        generation: beat.generation,
        r#type: if beat.response { MSG_HEARTBEAT_RESPONSE } else { MSG_HEARTBEAT },
        to: beat.to,
        from: beat.from,
        term: beat.term,
        commit: beat.commit,
        ..Default::default()
    }
}

/// Whether a message may reach raft: of this life of the group, for the replica that is here, from one that lives where
/// it comes from (PROTOCOL 11).
pub(super) fn is_fenced<S>(group: &Group<S>, from: NodeId, message: &v1::RaftMessage) -> bool {
    message.generation == group.generation
        && ReplicaId(message.to) == group.replica.config().replica
        && group.nodes.get(&ReplicaId(message.from)) == Some(&from)
}
