//! Between raft-rs's messages and ours. raft-rs's own protobuf never reads foreign bytes: what arrives was parsed
//! by prost, and is checked here.

use crema_api::v1;
use raft::eraftpb;

/// A message that raft-rs must not see, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("raft message with unknown {field} {value}")]
pub(super) struct BadMessage {
    field: &'static str,
    value: u32,
}

/// Our form of a message. The bytes of a snapshot stay behind: they travel on their own.
pub(super) fn to_wire(group: u32, generation: u64, message: eraftpb::Message) -> v1::RaftMessage {
    let eraftpb::Message { entries, snapshot, context, .. } = message;
    let snapshot = snapshot.into_option().filter(|snapshot| snapshot.get_metadata().index != 0);
    v1::RaftMessage {
        group,
        generation,
        r#type: message.msg_type as u32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: entries.into_vec().into_iter().map(entry_to_wire).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot: snapshot.map(|snapshot| v1::SnapshotMeta {
            index: snapshot.get_metadata().index,
            term: snapshot.get_metadata().term,
            conf: Some(conf_to_wire(snapshot.get_metadata().get_conf_state())),
        }),
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context,
        priority: message.priority,
        read_now_ms: 0,
    }
}

/// raft-rs's form of a message that a peer sent.
pub(super) fn from_wire(message: v1::RaftMessage) -> Result<eraftpb::Message, BadMessage> {
    let mut to = eraftpb::Message::default();
    to.set_msg_type(message_type(message.r#type)?);
    to.to = message.to;
    to.from = message.from;
    to.term = message.term;
    to.log_term = message.log_term;
    to.index = message.index;
    let entries: Result<Vec<_>, _> = message.entries.into_iter().map(entry_from_wire).collect();
    to.set_entries(entries?.into());
    to.commit = message.commit;
    to.commit_term = message.commit_term;
    if let Some(meta) = message.snapshot {
        let mut snapshot = eraftpb::Snapshot::default();
        snapshot.mut_metadata().index = meta.index;
        snapshot.mut_metadata().term = meta.term;
        snapshot.mut_metadata().set_conf_state(conf_from_wire(meta.conf.unwrap_or_default()));
        to.set_snapshot(snapshot);
    }
    to.request_snapshot = message.request_snapshot;
    to.reject = message.reject;
    to.reject_hint = message.reject_hint;
    to.context = message.context;
    to.priority = message.priority;
    Ok(to)
}

/// The types that may come from a peer: none of those that raft-rs sends only to itself.
fn message_type(value: u32) -> Result<eraftpb::MessageType, BadMessage> {
    use eraftpb::MessageType as T;
    let known = [
        T::MsgAppend,
        T::MsgAppendResponse,
        T::MsgRequestVote,
        T::MsgRequestVoteResponse,
        T::MsgSnapshot,
        T::MsgHeartbeat,
        T::MsgHeartbeatResponse,
        T::MsgTimeoutNow,
        T::MsgReadIndex,
        T::MsgReadIndexResp,
        T::MsgRequestPreVote,
        T::MsgRequestPreVoteResponse,
    ];
    known.into_iter().find(|t| *t as u32 == value).ok_or(BadMessage { field: "type", value })
}

fn entry_to_wire(entry: eraftpb::Entry) -> v1::LogEntry {
    v1::LogEntry {
        r#type: entry.entry_type as u32,
        term: entry.term,
        index: entry.index,
        data: entry.data,
        context: entry.context,
    }
}

fn entry_from_wire(entry: v1::LogEntry) -> Result<eraftpb::Entry, BadMessage> {
    let mut to = eraftpb::Entry::default();
    to.set_entry_type(match entry.r#type {
        0 => eraftpb::EntryType::EntryNormal,
        2 => eraftpb::EntryType::EntryConfChangeV2,
        value => return Err(BadMessage { field: "entry type", value }),
    });
    to.term = entry.term;
    to.index = entry.index;
    to.data = entry.data;
    to.context = entry.context;
    Ok(to)
}

/// Our form of a configuration.
pub(super) fn conf_to_wire(conf: &eraftpb::ConfState) -> v1::ConfState {
    v1::ConfState {
        voters: conf.voters.clone(),
        learners: conf.learners.clone(),
        voters_outgoing: conf.voters_outgoing.clone(),
        learners_next: conf.learners_next.clone(),
        auto_leave: conf.auto_leave,
    }
}

/// raft-rs's form of a configuration.
pub(super) fn conf_from_wire(conf: v1::ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: conf.voters,
        learners: conf.learners,
        voters_outgoing: conf.voters_outgoing,
        learners_next: conf.learners_next,
        auto_leave: conf.auto_leave,
        ..Default::default()
    }
}
