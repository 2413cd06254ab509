//! What happens, in a few words, for the trace.

use crate::multiraft::node::GroupStatus;
use crema_api::v1;

/// A replica in a few words.
pub(super) fn brief_status(s: &GroupStatus) -> String {
    let asleep = if s.asleep { " asleep" } else { "" };
    format!("g{}({:?} {} {}/{}/{}{asleep})", s.group.0, s.role, s.term, s.applied, s.commit, s.last)
}

/// A frame in a few words.
pub(super) fn brief(frame: &v1::Frame) -> String {
    let mut text = String::new();
    for m in &frame.raft {
        text.push_str(&format!(
            "raft(g{} type {} term {} index {} log_term {} commit {} entries {}{}) ",
            m.group,
            m.r#type,
            m.term,
            m.index,
            m.log_term,
            m.commit,
            m.entries.len(),
            if m.reject { " reject" } else { "" }
        ));
    }
    for (name, count) in [
        ("heartbeats", frame.heartbeats.len()),
        ("forwards", frame.forwards.len()),
        ("replies", frame.forward_replies.len()),
        ("beats", frame.beats.len()),
        ("sleeps", frame.sleeps.len()),
        ("hashes", frame.hashes.len()),
        ("stamps", frame.stamps.len()),
        ("reports", frame.reports.len()),
        ("gone", frame.gone.len()),
        ("maps", frame.maps.len()),
    ] {
        if count > 0 {
            text.push_str(&format!("{name}({count}) "));
        }
    }
    text
}
