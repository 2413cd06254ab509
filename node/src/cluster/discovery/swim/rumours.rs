//! News on its way: what to put on the next packets (pure).

use std::collections::BTreeMap;

use super::{Packet, Record};
use crate::types::NodeId;

/// The decimal digits of a cluster's size, at least 1: how the time for news to spread grows with it.
pub(super) fn digits(nodes: usize) -> u64 {
    u64::from(nodes.max(1).ilog10()) + 1
}

/// How often each piece of news is sent by each node that has it.
pub(super) fn copies(nodes: usize) -> u32 {
    4 * digits(nodes) as u32
}

/// Nodes whose records are news, and how often each was sent. At most one entry for each node.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    sent: BTreeMap<NodeId, u32>,
}

impl Rumours {
    pub(super) fn add(&mut self, node: NodeId) {
        self.sent.insert(node, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Puts the least sent news on a packet until it is full, and drops what was sent often enough.
    pub(super) fn fill<'a>(&mut self, packet: &mut Packet, copies: u32, find: impl Fn(NodeId) -> Option<&'a Record>) {
        let mut waiting: Vec<_> = self.sent.iter().map(|(node, sent)| (*sent, *node)).collect();
        waiting.sort_unstable();
        for (sent, node) in waiting {
            let Some(record) = find(node) else {
                self.sent.remove(&node);
                continue;
            };
            if !packet.try_add(record) {
                continue;
            }
            if sent + 1 >= copies {
                self.sent.remove(&node);
            } else {
                self.sent.insert(node, sent + 1);
            }
        }
    }
}
