//! What is believed of whom: learning, objecting, and burying (pure).

use tracing::{debug, info, warn};

use super::{Life, Record, Swim, rumours};
use crate::types::NodeId;

/// Incarnations begin at a wall clock's milliseconds; one this high was made up, and could not be outbid.
pub(super) const MAX_INCARNATION: u64 = 1 << 60;

/// Nodes that one view holds; more is no cluster of ours, and would only fill the memory.
const MAX_MEMBERS: usize = 4_096;

/// Another node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) record: Record,
    /// Since when it has its present life, here.
    since_ms: u64,
}

impl Swim {
    /// Takes a record, if it is news.
    pub(super) fn learn(&mut self, record: Record, now_ms: u64) {
        if record.incarnation > MAX_INCARNATION {
            debug!(node = %record.node, "gossip with a made-up incarnation");
        } else if record.node == self.me.node {
            self.hear_of_myself(&record);
        } else {
            self.hear_of_another(record, now_ms);
        }
    }

    /// A suspicion is objected to; so is the memory of an earlier life with other addresses.
    fn hear_of_myself(&mut self, record: &Record) {
        let outdated = record.incarnation > self.me.incarnation;
        let accused = record.incarnation == self.me.incarnation && record.life > self.me.life;
        if self.me.life == Life::Left || !(outdated || accused) {
            return;
        }
        if outdated && record.raft != self.me.raft {
            self.contested += 1;
            // Once is an earlier life of this node.
            if self.contested == 3 {
                warn!(node = %self.me.node, other = record.raft, "another process gossips under this node's number");
            }
        }
        self.reassert(record.incarnation);
    }

    /// Raises the own incarnation above `heard`, and spreads it.
    pub(super) fn reassert(&mut self, heard: u64) {
        self.me.incarnation = heard.max(self.me.incarnation) + 1;
        self.rumours.add(self.me.node);
    }

    fn hear_of_another(&mut self, record: Record, now_ms: u64) {
        let node = record.node;
        let full = self.members.len() >= MAX_MEMBERS;
        match self.members.get_mut(&node) {
            None if record.life > Life::Suspect || full => return,
            None => {
                info!(%node, gossip = %record.gossip, "met by gossip");
                self.members.insert(node, Member { record, since_ms: now_ms });
            }
            Some(member) => {
                let known = &member.record;
                if (record.incarnation, record.life) <= (known.incarnation, known.life) {
                    return;
                }
                if record.life != known.life {
                    info!(%node, was = ?known.life, is = ?record.life, "gossip");
                    member.since_ms = now_ms;
                } else if record.incarnation > known.incarnation {
                    // A new suspicion: it may object to this one too.
                    member.since_ms = now_ms;
                }
                member.record = record;
            }
        }
        self.rumours.add(node);
        self.changed = true;
    }

    /// What this node has found out by itself about the present incarnation of another.
    pub(super) fn accuse(&mut self, node: NodeId, life: Life, now_ms: u64) {
        if let Some(member) = self.members.get(&node) {
            let record = Record { life, ..member.record.clone() };
            self.hear_of_another(record, now_ms);
        }
    }

    /// Suspects that did not object in time are dead; those dead for long are forgotten.
    pub(super) fn bury(&mut self, now_ms: u64) {
        let intervals = self.settings.suspicion_intervals * rumours::digits(self.members.len() + 1);
        let suspicion_ms = self.settings.probe_interval_ms * intervals;
        let overdue = self.members.values().filter(|member| {
            member.record.life == Life::Suspect && now_ms.saturating_sub(member.since_ms) >= suspicion_ms
        });
        for node in overdue.map(|member| member.record.node).collect::<Vec<_>>() {
            self.accuse(node, Life::Dead, now_ms);
        }
        let before = self.members.len();
        let reap_after_ms = self.settings.reap_after_ms;
        self.members.retain(|_, member| {
            member.record.life <= Life::Suspect || now_ms.saturating_sub(member.since_ms) < reap_after_ms
        });
        self.changed |= self.members.len() != before;
    }
}
