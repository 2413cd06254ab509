//! Who leads which shard, as far as anybody has said (pure).
//!
//! Kept by whoever routes (`MultiRaftCoordinator`) and spread by gossip as `shard:leader:epoch,…`. The epoch is the
//! Raft term of the leader, so that of two hints the higher epoch is right, in whatever order they arrive.

use std::{
    collections::{BTreeMap, btree_map},
    fmt::Write as _,
    ops::Bound,
};

use crate::{
    partitioning::SLOTS,
    types::{NodeId, ShardId},
};

/// A text longer than this is no metadata of ours; it is far above what one node is allowed to say.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// One shard's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaderHint {
    /// The shard.
    pub shard: ShardId,
    /// Who leads it.
    pub leader: NodeId,
    /// Since which term.
    pub epoch: u64,
}

/// The newest hint of each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderHints {
    shards: BTreeMap<ShardId, Known>,
}

/// What was last said. An invalidated leader stays here, unseen: a late repetition does not bring it back, and it
/// is itself again when its node turns out to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    leader: NodeId,
    epoch: u64,
    valid: bool,
}

impl Known {
    fn leader(self) -> Option<NodeId> {
        self.valid.then_some(self.leader)
    }
}

impl LeaderHints {
    /// Who leads a shard, if that is known.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.shards.get(&shard)?.leader()
    }

    /// The epoch of the last word about a shard; 0 when there was none.
    #[must_use]
    pub fn epoch(&self, shard: ShardId) -> u64 {
        self.shards.get(&shard).map_or(0, |known| known.epoch)
    }

    /// All shards that anything was said about, ascending; `None` for one whose leader was invalidated.
    pub fn iter(&self) -> impl Iterator<Item = (ShardId, Option<NodeId>)> {
        self.shards.iter().map(|(shard, known)| (*shard, known.leader()))
    }

    /// The shards with a known leader, ascending.
    pub fn known(&self) -> impl Iterator<Item = LeaderHint> {
        self.shards.iter().filter_map(|(shard, known)| hint(*shard, *known))
    }

    /// Sets a leader that the caller is sure of, whatever was said before. The epoch stays: the next term outranks it.
    pub fn set(&mut self, shard: ShardId, leader: NodeId) {
        let epoch = self.epoch(shard);
        self.shards.insert(shard, Known { leader, epoch, valid: true });
    }

    /// Takes a hint if its epoch is above all that were heard for its shard; says whether it was.
    pub fn set_if_newer(&mut self, hint: LeaderHint) -> bool {
        let LeaderHint { shard, leader, epoch } = hint;
        let new = Known { leader, epoch, valid: true };
        match self.shards.entry(shard) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(new);
                true
            }
            btree_map::Entry::Occupied(mut entry) if entry.get().epoch < epoch => {
                entry.insert(new);
                true
            }
            btree_map::Entry::Occupied(_) => false,
        }
    }

    /// A node has failed: it leads nothing any more. Returns the shards that it led, ascending.
    pub fn invalidate_node(&mut self, node: NodeId) -> Vec<ShardId> {
        self.set_valid(node, false)
    }

    /// A node that was taken for failed lives: what it led and nobody else was said to lead since, it leads. Returns
    /// those shards, ascending.
    pub fn revalidate_node(&mut self, node: NodeId) -> Vec<ShardId> {
        self.set_valid(node, true)
    }

    fn set_valid(&mut self, node: NodeId, valid: bool) -> Vec<ShardId> {
        let led = self.shards.iter_mut().filter(|(_, known)| known.leader == node && known.valid != valid);
        led.map(|(shard, known)| {
            known.valid = valid;
            *shard
        })
        .collect()
    }

    /// Nothing is known of a shard any more, not even its epoch.
    pub fn forget(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
    }

    /// The known leaders as `shard:leader:epoch,…`, at most `limit` bytes, from the first shard after `after` on.
    ///
    /// Returns where to go on next time when not all fitted, `None` when the end was reached.
    #[must_use]
    pub fn encode(&self, after: Option<ShardId>, limit: usize) -> (String, Option<ShardId>) {
        let mut text = String::new();
        let mut last = after;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for hint in self.shards.range((from, Bound::Unbounded)).filter_map(|(shard, known)| hint(*shard, *known)) {
            let before = text.len();
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a String can't fail.
            let _ = write!(text, "{comma}{}:{}:{}", hint.shard, hint.leader, hint.epoch);
            if text.len() > limit {
                text.truncate(before);
                return (text, last);
            }
            last = Some(hint.shard);
        }
        (text, None)
    }

    /// Reads [`Self::encode`], as it comes from other nodes: any text is either understood in full or refused.
    pub fn decode(text: &str) -> Result<Vec<LeaderHint>, HintError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(HintError::TooLong(text.len()));
        }
        if text.is_empty() {
            return Ok(Vec::new());
        }
        text.split(',').map(decode_one).collect()
    }
}

fn hint(shard: ShardId, known: Known) -> Option<LeaderHint> {
    Some(LeaderHint { shard, leader: known.leader()?, epoch: known.epoch })
}

fn decode_one(part: &str) -> Result<LeaderHint, HintError> {
    let malformed = || HintError::Malformed(part.chars().take(64).collect());
    let mut numbers = part.split(':');
    let mut next = || numbers.next().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let shard = next().and_then(|digits| digits.parse().ok()).filter(|shard| *shard < ShardId::from(SLOTS));
    let leader = next().and_then(|digits| digits.parse().ok()).filter(|leader| *leader > 0);
    let epoch = next().and_then(|digits| digits.parse().ok());
    match (shard, leader, epoch, numbers.next()) {
        (Some(shard), Some(leader), Some(epoch), None) => Ok(LeaderHint { shard, leader: NodeId(leader), epoch }),
        _ => Err(malformed()),
    }
}

/// Why a text holds no leader hints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// Longer than anything a node says.
    #[error("leader hints of {0} bytes; {MAX_TEXT_BYTES} are the most")]
    TooLong(usize),
    /// A part that is not `shard:leader:epoch`.
    #[error("{0:?} is not shard:leader:epoch")]
    Malformed(String),
}

#[cfg(test)]
mod tests {
    use super::{HintError, LeaderHint, LeaderHints};
    use crate::types::{NodeId, ShardId};

    fn hint(shard: ShardId, leader: u64, epoch: u64) -> LeaderHint {
        LeaderHint { shard, leader: NodeId(leader), epoch }
    }

    fn hints(of: &[LeaderHint]) -> LeaderHints {
        let mut hints = LeaderHints::default();
        for one in of {
            assert!(hints.set_if_newer(*one));
        }
        hints
    }

    #[test]
    fn the_higher_epoch_wins_in_any_order() {
        let mut hints = hints(&[hint(3, 1, 7)]);
        assert!(!hints.set_if_newer(hint(3, 2, 6)), "older");
        assert!(!hints.set_if_newer(hint(3, 2, 7)), "a term has one leader; the first word of it stays");
        assert_eq!((hints.leader(3), hints.epoch(3)), (Some(NodeId(1)), 7));
        assert!(hints.set_if_newer(hint(3, 2, 8)));
        assert_eq!((hints.leader(3), hints.epoch(3)), (Some(NodeId(2)), 8));
        assert_eq!((hints.leader(4), hints.epoch(4)), (None, 0));
    }

    #[test]
    fn what_is_certain_needs_no_epoch_and_the_next_term_outranks_it() {
        let mut hints = hints(&[hint(0, 1, 7)]);
        hints.set(0, NodeId(3));
        assert_eq!((hints.leader(0), hints.epoch(0)), (Some(NodeId(3)), 7));
        assert!(!hints.set_if_newer(hint(0, 1, 7)));
        assert!(hints.set_if_newer(hint(0, 1, 8)));
    }

    #[test]
    fn a_failed_node_leads_nothing_and_is_not_brought_back_by_a_late_word() {
        let mut hints = hints(&[hint(0, 1, 4), hint(1, 2, 5), hint(2, 1, 6)]);
        assert_eq!(hints.invalidate_node(NodeId(1)), [0, 2]);
        assert_eq!(hints.invalidate_node(NodeId(1)), [0; 0]);
        assert_eq!(hints.iter().collect::<Vec<_>>(), [(0, None), (1, Some(NodeId(2))), (2, None)]);
        assert!(!hints.set_if_newer(hint(0, 1, 4)), "said before it failed");
        assert!(hints.set_if_newer(hint(0, 1, 5)), "elected again");
        assert_eq!(hints.revalidate_node(NodeId(1)), [2], "it lived; shard 0 is known anyway");
        assert_eq!(hints.leader(2), Some(NodeId(1)));
        hints.forget(2);
        assert!(hints.set_if_newer(hint(2, 1, 1)));
    }

    #[test]
    fn texts_go_both_ways() {
        let all = [hint(0, 1, 1), hint(7, u64::MAX, u64::MAX), hint(16_383, 3, 0)];
        let (text, rest) = hints(&all).encode(None, 1_000);
        assert_eq!(text, format!("0:1:1,7:{max}:{max},16383:3:0", max = u64::MAX));
        assert_eq!(rest, None);
        assert_eq!(LeaderHints::decode(&text).as_deref(), Ok(&all[..]));
        assert_eq!(LeaderHints::decode(""), Ok(vec![]));
        let mut silent = hints(&all[..1]);
        silent.invalidate_node(NodeId(1));
        assert_eq!(silent.encode(None, 1_000), (String::new(), None), "no leader is no hint");
    }

    #[test]
    fn what_does_not_fit_comes_next_time() {
        let hints = hints(&(0..100).map(|shard| hint(shard, 1, 1)).collect::<Vec<_>>());
        let (mut after, mut seen) = (None, Vec::new());
        for _ in 0..100 {
            let (text, rest) = hints.encode(after, 64);
            assert!(text.len() <= 64 && !text.is_empty());
            seen.extend(LeaderHints::decode(&text).expect("our own text").iter().map(|hint| hint.shard));
            after = rest;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(hints.encode(Some(5), 3), (String::new(), Some(5)), "not one fits: no panic, no step");
    }

    #[test]
    fn foreign_texts_are_refused_as_a_whole() {
        let twenty_digits = format!("0:1:{}0", u64::MAX);
        for wrong in
            ["0", "0:1", "0:1:2:3", "a:1:1", "0:0:1", "16384:1:1", "-1:1:1", "+1:1:1", "0:1:1,", ",", &twenty_digits]
        {
            assert!(matches!(LeaderHints::decode(wrong), Err(HintError::Malformed(_))), "{wrong}");
        }
        assert_eq!(LeaderHints::decode(&"1".repeat(70_000)), Err(HintError::TooLong(70_000)));
    }
}
