//! Who sleeps under whom, kept as the groups change: a beat then costs a look at each lane, not at each group.
//!
//! `Node` tells it what each group says of its rest after everything that happened to the group
//! ([`super::Node::settle`]); what the group said before is taken back first. So it follows groups whose leaders, terms
//! or replicas change, and those that come and go. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::lane_of;
use crate::types::{Draw, GroupId, NodeId, Term};

/// How a group's replica here sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bed {
    /// As the leader.
    Leads {
        term: Term,
        /// Where its other replicas sleep.
        peers: BTreeSet<NodeId>,
        /// Some of its keys have a deadline, for which it must wake.
        has_deadlines: bool,
    },
    /// As a follower that trusts the beats of its leader's node.
    Under { term: Term, leader: NodeId },
}

/// The groups of one lane that sleep between this node and another.
#[derive(Debug, Default, PartialEq, Eq)]
struct Room {
    digest: u64,
    groups: BTreeSet<GroupId>,
}

/// The rest of all groups of a node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beds {
    asleep: BTreeMap<GroupId, Bed>,
    /// What this node leads asleep, by the other replicas' node and lane.
    led: BTreeMap<(NodeId, u32), Room>,
    /// What sleeps here, by the leader's node and lane.
    under: BTreeMap<(NodeId, u32), Room>,
    with_deadlines: BTreeSet<GroupId>,
}

/// One group's part of a digest: the digests of a lane add up, in any order.
fn digest(group: GroupId, term: Term) -> u64 {
    Draw::new(u64::from(group.0) << 32 ^ term.0).next_u64()
}

impl Beds {
    /// How a group sleeps now; `None` if it does not, or is gone.
    pub(super) fn put(&mut self, group: GroupId, bed: Option<Bed>) {
        if self.asleep.get(&group) == bed.as_ref() {
            return;
        }
        if let Some(before) = self.asleep.remove(&group) {
            self.leave(group, &before);
        }
        if let Some(bed) = bed {
            self.enter(group, &bed);
            self.asleep.insert(group, bed);
        }
    }

    fn enter(&mut self, group: GroupId, bed: &Bed) {
        match bed {
            Bed::Leads { term, peers, has_deadlines } => {
                peers.iter().for_each(|peer| enter(&mut self.led, *peer, group, *term));
                if *has_deadlines {
                    self.with_deadlines.insert(group);
                }
            }
            Bed::Under { term, leader } => enter(&mut self.under, *leader, group, *term),
        }
    }

    fn leave(&mut self, group: GroupId, bed: &Bed) {
        match bed {
            Bed::Leads { term, peers, .. } => {
                peers.iter().for_each(|peer| leave(&mut self.led, *peer, group, *term));
                self.with_deadlines.remove(&group);
            }
            Bed::Under { term, leader } => leave(&mut self.under, *leader, group, *term),
        }
    }

    /// The digest of what this node leads asleep that has replicas on `peer`.
    pub(super) fn digest_led(&self, peer: NodeId, lane: u32) -> u64 {
        self.led.get(&(peer, lane)).map_or(0, |room| room.digest)
    }

    /// The digest of what sleeps here under `leader`.
    pub(super) fn digest_under(&self, leader: NodeId, lane: u32) -> u64 {
        self.under.get(&(leader, lane)).map_or(0, |room| room.digest)
    }

    /// Under which nodes something sleeps here, and in which lanes.
    pub(super) fn rooms_under(&self) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.under.keys().copied()
    }

    /// What sleeps here under `leader` in a lane.
    pub(super) fn sleepers_under(&self, leader: NodeId, lane: u32) -> Vec<GroupId> {
        self.under.get(&(leader, lane)).map_or_else(Vec::new, |room| room.groups.iter().copied().collect())
    }

    /// What this node leads asleep and must wake for a key's deadline some day.
    pub(super) fn with_deadlines(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.with_deadlines.iter().copied()
    }
}

fn enter(rooms: &mut BTreeMap<(NodeId, u32), Room>, node: NodeId, group: GroupId, term: Term) {
    let room = rooms.entry((node, lane_of(group))).or_default();
    room.digest = room.digest.wrapping_add(digest(group, term));
    room.groups.insert(group);
}

fn leave(rooms: &mut BTreeMap<(NodeId, u32), Room>, node: NodeId, group: GroupId, term: Term) {
    let key = (node, lane_of(group));
    let Some(room) = rooms.get_mut(&key) else { return };
    room.digest = room.digest.wrapping_sub(digest(group, term));
    room.groups.remove(&group);
    if room.groups.is_empty() {
        rooms.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beds(of: &BTreeMap<GroupId, Bed>) -> Beds {
        let mut beds = Beds::default();
        of.iter().for_each(|(group, bed)| beds.put(*group, Some(bed.clone())));
        beds
    }

    fn bed() -> impl Strategy<Value = Option<Bed>> {
        let peers = prop::collection::btree_set((1..4u64).prop_map(NodeId), 0..3);
        let leads = (0..3u64, peers, any::<bool>()).prop_map(|(term, peers, has_deadlines)| Bed::Leads {
            term: Term(term),
            peers,
            has_deadlines,
        });
        let under =
            (0..3u64, 1..4u64).prop_map(|(term, leader)| Bed::Under { term: Term(term), leader: NodeId(leader) });
        prop_oneof![Just(None), leads.prop_map(Some), under.prop_map(Some)]
    }

    proptest! {
        #[test]
        fn only_the_last_word_of_each_group_counts(said in prop::collection::vec((0..200u32, bed()), 0..200)) {
            let (mut kept, mut last) = (Beds::default(), BTreeMap::new());
            for (group, bed) in said {
                kept.put(GroupId(group), bed.clone());
                match bed {
                    Some(bed) => last.insert(GroupId(group), bed),
                    None => last.remove(&GroupId(group)),
                };
                prop_assert_eq!(&kept, &beds(&last));
            }
        }
    }

    #[test]
    fn both_ends_have_the_same_digest() {
        let group = GroupId(7);
        let peers = BTreeSet::from([NodeId(2), NodeId(3)]);
        let (mut leader, mut follower) = (Beds::default(), Beds::default());
        leader.put(group, Some(Bed::Leads { term: Term(4), peers, has_deadlines: false }));
        follower.put(group, Some(Bed::Under { term: Term(4), leader: NodeId(1) }));
        assert_ne!(leader.digest_led(NodeId(2), lane_of(group)), 0);
        assert_eq!(leader.digest_led(NodeId(2), lane_of(group)), follower.digest_under(NodeId(1), lane_of(group)));
        leader.put(group, None);
        assert_eq!(leader, Beds::default());
    }
}
