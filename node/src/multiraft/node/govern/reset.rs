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
    types::NodeId,
};

impl Governor {
    /// What was heard of an earlier generation says nothing of a group that was reset: its terms begin anew, too.
    pub(in crate::multiraft::node) fn forget_resets(&mut self, before: &ClusterMap, map: &ClusterMap) {
        for (group, _) in resets(before, map) {
            self.terms.remove(&group);
            self.governing.health.groups.remove(&group);
            self.asked.remove(&group);
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
        let Some(governor) = self.governor.as_ref().filter(|governor| !governor.is_listening) else {
            let reason = "the meta group's leader has not heard from every node yet; ask again in a moment";
            return Err(GovernError::Unavailable(reason.to_owned()));
        };
        let lives = |(node, life): &&Life| self.map.incarnation_of(*node) == Some(*life) && self.is_heard_of(*node);
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
