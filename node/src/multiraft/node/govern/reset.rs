//! What only the leader of the meta group can say of a reset: who lives at this moment (PROTOCOL 11).

use super::{Governor, Node};
use crate::{
    cluster::{
        command::{Life, Refused, ShardReset},
        map::ClusterMap,
    },
    machine::store::EntryStore,
    multiraft::{govern::GovernError, node::membership::resets},
    placement,
    types::{GroupId, NodeId},
};

impl Governor {
    /// What was heard of an earlier generation says nothing of a group that was reset: its terms begin anew, too.
    pub(in crate::multiraft::node) fn forget_resets(&mut self, before: &ClusterMap, map: &ClusterMap) {
        for (group, generation) in resets(before, map) {
            self.asked.remove(&group);
            // Its first leader may have reported before the map was here; it says nothing twice.
            if self.terms.get(&group).is_none_or(|(known, _)| *known < generation) {
                self.terms.remove(&group);
                self.governing.health.groups.remove(&group);
            }
        }
    }
}

impl<S: EntryStore> Node<S> {
    /// Whether shards may be reset, whoever wants it: that can't be taken back. Whoever is heard of now lives, whatever
    /// anybody has seen; and a shard that is led is not lost.
    pub(super) fn may_reset(&self, shards: &[ShardReset], dead: &[Life]) -> Result<(), GovernError> {
        // A repetition finds the shards whole; `apply` knows what to say to it.
        let is_past = |ShardReset { group, generation, .. }: &ShardReset| {
            self.map.groups.get(group).is_some_and(|set| set.generation > *generation)
        };
        if shards.iter().all(is_past) {
            return Ok(());
        }
        // A new leader may lack what was committed before: it would judge other lives than those that are named.
        let is_current = || {
            let meta = self.groups.get(&GroupId::META).filter(|group| group.is_current_leader());
            meta.and_then(|group| group.meta()).is_some_and(|meta| meta.map.version == self.map.version)
        };
        let Some(governor) = self.governor.as_ref().filter(|governor| !governor.is_listening && is_current()) else {
            let reason = "the meta group's leader has not heard from every node yet; ask again in a moment";
            return Err(GovernError::Unavailable(reason.to_owned()));
        };
        // Who was declared down may live on without knowing it.
        let is_present = |(node, life): &Life| self.map.members.get(node).is_some_and(|now| now.incarnation == *life);
        let lives = |life: &&Life| is_present(life) && self.is_heard_of(life.0);
        if let Some((node, life)) = dead.iter().find(lives) {
            let reason = format!("node {node} is heard of in its life {life}: it is not dead");
            return Err(Refused::Reason(reason).into());
        }
        let health = &governor.governing.health;
        for ShardReset { group, .. } in shards {
            if let Some(leader) = placement::leading(&self.map, health, *group, dead) {
                let reason = format!("{group} is not lost: node {leader} leads it");
                return Err(Refused::Reason(reason).into());
            }
        }
        Ok(())
    }

    /// Whether a node is connected, or was just now.
    fn is_heard_of(&self, node: NodeId) -> bool {
        let lease = self.config.timings.election_ticks as u64 * 2;
        let heard = self.peers.heard_tick(node);
        node == self.config.node || self.out.sessions.contains_key(&node) || (heard > 0 && self.tick < heard + lease)
    }
}

#[cfg(test)]
mod tests {
    use crema_api::v1;

    use super::*;
    use crate::{cluster::map::SharedSettings, multiraft::node::tests::map, types::Term};

    const SHARD: GroupId = GroupId(1);

    fn report(generation: u64, term: u64, conf_version: u64) -> v1::GroupReport {
        v1::GroupReport { group: SHARD.0, generation, term, conf_version, replica: generation, ..Default::default() }
    }

    /// A group that sleeps says who leads it only once.
    #[test]
    fn a_report_of_a_new_generation_may_come_before_its_map() {
        let before = map(3, SharedSettings::default());
        let mut after = before.clone();
        after.version += 1;
        after.groups.get_mut(&SHARD).expect("the shard").generation = 2;
        let mut governor = Governor::new(Term(1), 0);
        let leader = |governor: &Governor| governor.governing.health.groups.get(&SHARD).map(|known| known.leader.0);
        governor.hear_group(&before, report(1, 9, 5));
        assert_eq!(leader(&governor), Some(1));
        governor.hear_group(&before, report(2, 2, 0));
        governor.forget_resets(&before, &after);
        assert_eq!(leader(&governor), Some(2));
        governor.hear_group(&after, report(1, 10, 6));
        assert_eq!(leader(&governor), Some(2), "the old generation is over");

        let mut governor = Governor::new(Term(1), 0);
        governor.hear_group(&before, report(1, 9, 5));
        governor.forget_resets(&before, &after);
        assert_eq!(leader(&governor), None);
    }
}
