//! Who takes part in a group: its configuration by applied entries, its peers by the map (PROTOCOL 11, 12).

use bytes::Bytes;
use crema_api::v1;

use super::{
    NodeConfig,
    group::{Env, Group},
};
use crate::{
    checkpoint::{self, Peer},
    cluster::map::{ClusterMap, ReplicaAt},
    consensus::{ConfChange, ConfStep},
    faults::Fault,
    machine::{Settings, store::EntryStore},
    types::{LogIndex, MigrationId, NodeId, ReplicaId, Term},
};

/// A configuration in the words of a checkpoint.
pub(super) fn conf_from_wire(conf: &v1::ConfState) -> checkpoint::ConfState {
    let ids = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
    checkpoint::ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
    }
}

/// The words of a peer's configuration for another node.
pub(super) fn conf_to_wire(conf: &checkpoint::ConfState) -> v1::ConfState {
    let ids = |ids: &[ReplicaId]| ids.iter().map(|id| id.0).collect();
    v1::ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.voters_outgoing),
        learners_next: ids(&conf.learners_next),
        auto_leave: conf.auto_leave,
    }
}

/// An entry that was proposed after a configuration was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    conf_version: u64,
    term: Term,
    index: LogIndex,
}

impl<S: EntryStore> Group<S> {
    /// Everybody in the configuration.
    pub(super) fn conf_members(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let checkpoint::ConfState { voters, learners, voters_outgoing, learners_next, auto_leave: _ } = &self.conf;
        voters.iter().chain(learners).chain(voters_outgoing).chain(learners_next).copied()
    }

    /// Takes over the configuration that Raft has now.
    pub(super) fn read_conf(&mut self) {
        self.conf = conf_from_wire(&self.replica.conf());
        let set = |ids: &[ReplicaId]| ids.iter().copied().collect();
        self.hashes.set_voters(set(&self.conf.voters), set(&self.conf.voters_outgoing));
    }

    /// Peers, settings and wishes as the map has them. Says whether anything is different now.
    pub(super) fn follow_map(&mut self, map: &ClusterMap, own_node: NodeId) -> bool {
        let Some(set) = map.groups.get(&self.id) else { return false };
        let (nodes, dead) = (std::mem::take(&mut self.nodes), std::mem::take(&mut self.dead));
        let by_map = set.replicas.iter().map(|at| (at.replica, at.node, at.incarnation));
        let by_conf = self.peer_table.iter().map(|peer| (peer.replica, peer.node, peer.incarnation));
        for (replica, node, incarnation) in by_conf.chain(by_map) {
            if map.incarnation_of(node) == Some(incarnation) {
                self.nodes.insert(replica, node);
            } else {
                self.dead.insert(replica);
            }
        }
        self.nodes.insert(self.own(), own_node);
        let wishes = (self.migrating, self.preferred, self.settings);
        self.migrating = map.migration_of(self.id).is_some();
        self.conf_version_in_map = set.conf_version;
        self.preferred = set.replicas.first().map(|at| at.replica);
        self.settings = Settings {
            capacity: map.settings.capacity,
            policy: map.settings.eviction,
            default_ttl_ms: map.settings.default_ttl_ms,
        };
        if self.settings != wishes.2 {
            self.settings_term = Term(0);
        }
        (nodes, dead) != (self.nodes.clone(), self.dead.clone())
            || wishes != (self.migrating, self.preferred, self.settings)
    }

    /// Puts a step into the log; it is done when it is applied, not when it is proposed (PROTOCOL 12).
    pub(super) fn propose_step(&mut self, migration: MigrationId, step: ConfStep, peers: Vec<Peer>) -> bool {
        let change = ConfChange { migration, expected_version: self.conf_version, step, peers };
        self.stir();
        let proposed = self.replica.propose_conf(&change).is_ok();
        tracing::info!(group = %self.id, %migration, ?step, proposed, "a change of the configuration");
        proposed
    }

    /// One committed change of the configuration. The error stops the replica.
    pub(super) fn apply_conf_change(
        &mut self,
        index: LogIndex,
        context: &Bytes,
        env: &mut Env<'_>,
    ) -> Result<(), String> {
        let change = ConfChange::decode(context)
            .map_err(|error| format!("{} entry {index} can't be applied and is not skipped: {error}", self.id))?;
        self.state.apply_empty(index);
        let ConfChange { migration, expected_version, step, peers } = change;
        if expected_version != self.conf_version && !env.config.faults.has(Fault::ConfChangeUnchecked) {
            tracing::debug!(group = %self.id, %migration, ?step, expected_version, "a stale change has no effect");
            return Ok(());
        }
        if let Err(reason) = self.replica.apply_conf(&step) {
            tracing::warn!(group = %self.id, %migration, ?step, reason, "a change of the configuration has no effect");
            return Ok(());
        }
        self.conf_version += 1;
        self.read_conf();
        self.peer_table.retain(|peer| peers.iter().all(|new| new.replica != peer.replica));
        self.peer_table.extend(peers);
        let members: Vec<ReplicaId> = self.conf_members().collect();
        self.peer_table.retain(|peer| members.contains(&peer.replica));
        self.on_new_conf(env);
        Ok(())
    }

    /// Sees to it that the configuration outlives a restart, before the map counts on it. That an entry is committed is
    /// synced only with the next one; without it a majority might come back with the configuration before, ask voters that
    /// the map has let go, and wait for ever. What is proposed now is synced with the commit of all that is applied here.
    pub(super) fn seal_conf(&mut self, config: &NodeConfig) {
        let is_begun = self.seal.is_some_and(|seal| self.holds(seal));
        if !self.needs_seal(config) || is_begun || !self.is_current_leader() {
            return;
        }
        if let Ok((index, term)) = self.replica.propose(Vec::new()) {
            self.seal = Some(Seal { conf_version: self.conf_version, term, index });
        }
    }

    fn needs_seal(&self, config: &NodeConfig) -> bool {
        config.durable && (self.migrating || self.conf_version != self.conf_version_in_map)
    }

    fn holds(&self, seal: Seal) -> bool {
        (seal.conf_version, seal.term) == (self.conf_version, self.replica.standing().term)
    }

    /// Whether a restart of all its replicas can't take the configuration back; where nobody waits for that, it may.
    pub(super) fn has_sealed_conf(&self, config: &NodeConfig) -> bool {
        let is_sealed = |seal: Seal| self.holds(seal) && seal.index <= self.applied();
        !self.needs_seal(config) || self.seal.is_some_and(is_sealed)
    }

    /// What follows from another configuration, applied or brought by a snapshot.
    pub(super) fn on_new_conf(&mut self, env: &mut Env<'_>) {
        self.follow_map(env.map, env.config.node);
        // What is on offer does not know the new members, who could not take it.
        self.offer_no_snapshot();
        self.stir();
        if !self.conf_members().any(|member| member == self.own()) {
            self.hand_back_reads(env);
        }
        self.tell_leader(env);
    }

    /// Learns where a replica lives that is newer than all this one knows of: it may have to vote for it before it has
    /// the entry, or the map, that names it. A replica whose life is over stays a stranger.
    pub(super) fn meet(&mut self, from: ReplicaId, node: NodeId) {
        let newest = self.nodes.keys().chain(&self.dead).max();
        if newest.is_none_or(|newest| from > *newest) {
            self.nodes.insert(from, node);
        }
    }
}

/// A replica of the map as a configuration's peer.
pub(super) fn peer_of(map: &ClusterMap, at: &ReplicaAt) -> Option<Peer> {
    let address = map.members.get(&at.node)?.address.clone();
    Some(Peer { replica: at.replica, node: at.node, incarnation: at.incarnation, address })
}
