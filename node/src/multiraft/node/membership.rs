//! Replicas come and go as the committed map says (PROTOCOL 11, 13).
//!
//! Only a map that the meta group has committed creates or destroys a replica. A replica id is never used twice here:
//! none is created at or below the highest that this node has held in its group.

use std::sync::Arc;

use crema_api::v1;

use super::{
    MakeStore, Node, NodeConfig,
    group::Group,
    out::Event,
    recover::{self, Maps, RestartedGroup},
    route::Route,
};
use crate::{
    cluster::map::{ClusterMap, Member, MemberState, ReplicaAt, ReplicaSet},
    faults::Fault,
    machine::store::EntryStore,
    types::{GroupId, NodeId, Now, ReplicaId},
};

/// The replica of a group that belongs here, in this life.
pub(super) fn placed<'a>(config: &NodeConfig, map: &'a ClusterMap, id: GroupId) -> Option<&'a ReplicaAt> {
    let at = map.groups.get(&id)?.on(config.node)?;
    (at.incarnation == config.incarnation && map.is_alive(at)).then_some(at)
}

/// A replica at the beginning of its life.
pub(super) fn create<S: EntryStore>(
    config: &NodeConfig,
    map: &Arc<ClusterMap>,
    id: GroupId,
    at: &ReplicaAt,
    make_store: &mut MakeStore<S>,
) -> Group<S> {
    Group::new(config, map, id, at.replica, recover::begin(map, id, at.replica, make_store(id)))
}

impl<S: EntryStore> Node<S> {
    /// Acts by a newer committed map.
    pub(super) fn on_map(&mut self, now: Now, map: Arc<ClusterMap>) {
        if map.uid != self.map.uid || map.version <= self.map.version {
            return;
        }
        let before = std::mem::replace(&mut self.map, map.clone());
        self.clock.set_cluster(living(&map), map.settings.max_clock_skew_ms);
        let own = map.members.get(&self.config.node);
        let removed = |own: &Member| own.incarnation == self.config.incarnation && own.state == MemberState::Removed;
        // Who was removed held nothing any more: it goes on to forward what its last clients send.
        if map.incarnation_of(self.config.node) != Some(self.config.incarnation) && !own.is_some_and(removed) {
            return self.end_superseded(now);
        }
        let others_live = |node: &NodeId| before.incarnation_of(*node) == map.incarnation_of(*node);
        let all = before.settings != map.settings || !map.members.keys().all(others_live);
        let changed = |id: &GroupId| {
            before.groups.get(id) != map.groups.get(id) || before.migration_of(*id) != map.migration_of(*id)
        };
        let lanes = self.config.lanes;
        for id in map.groups.keys().copied().filter(|id| lanes.owns(*id)) {
            if all || changed(&id) {
                self.follow_map(now, id, &map);
            }
        }
        self.tell_resets(&before, &map);
        if let Some(governor) = &mut self.governor {
            governor.forget_resets(&before, &map);
            governor.stir();
        }
        self.park_bounced();
    }

    /// Whoever reads the log of a node is to know that entries are gone.
    fn tell_resets(&self, before: &ClusterMap, map: &ClusterMap) {
        for (group, generation) in resets(before, map).filter(|(id, _)| self.config.lanes.owns(*id)) {
            tracing::error!(
                %group,
                generation,
                "ENTRIES ARE LOST: the majority of this shard's replicas is gone for good, and it was reset; it begins \
                 anew, empty"
            );
        }
    }

    /// Brings one group's replica, peers and way in line with the map.
    fn follow_map(&mut self, now: Now, id: GroupId, map: &Arc<ClusterMap>) {
        self.place_early(id, map);
        let placed = placed(&self.config, map, id).copied();
        if let Some(group) = self.groups.get(&id)
            && placed.is_none_or(|at| at.replica != group.own())
        {
            self.destroy(now, id, "its replica has left this node");
        }
        if let Some(set) = map.groups.get(&id) {
            self.routes.set_members(id, Route::members(self.config.node, map, set));
        }
        match (self.groups.get_mut(&id), placed) {
            (Some(group), _) => {
                let changed = group.follow_map(map, self.config.node);
                // A sleeping follower is woken by its leader, if there is a reason; by `settle`, if that is dead.
                if changed && group.replica.is_leader() {
                    group.stir();
                }
                self.dirty.insert(id);
            }
            (None, Some(at)) if self.held.get(&id).is_none_or(|held| at.replica > *held) => self.begin(id, map, &at),
            (None, _) => {}
        }
    }

    /// A replica of the disk whose generation the map did not know yet goes on, or is over.
    fn place_early(&mut self, id: GroupId, map: &Arc<ClusterMap>) {
        let is_known = |early: &RestartedGroup<S>| early.replica < map.next_replica;
        if !self.early.get(&id).is_some_and(is_known) {
            return;
        }
        let Some(early) = self.early.remove(&id) else { return };
        let replica = early.replica;
        if placed(&self.config, map, id).is_none_or(|at| at.replica != replica) {
            tracing::info!(group = %id, %replica, "a replica on the disk has left this node meanwhile");
            self.out.writes.destroy(id, replica);
            return self.out.destroyed(id);
        }
        tracing::info!(group = %id, %replica, "a replica on the disk goes on: the map has come up with it");
        let start = match self.failed.clone() {
            None => {
                let maps = Maps { birth: &self.birth, now: map };
                recover::resume(&self.config, maps, id, early, || (self.make_store)(id))
            }
            // It could keep nothing.
            Some(reason) => recover::empty(map, id, (self.make_store)(id), Some(reason)),
        };
        self.add(id, Group::new(&self.config, map, id, replica, start));
    }

    fn add(&mut self, id: GroupId, group: Group<S>) {
        self.out.event(Event::Health { group: id, health: group.health.clone() });
        self.groups.insert(id, group);
        self.dirty.insert(id);
    }

    fn begin(&mut self, id: GroupId, map: &Arc<ClusterMap>, at: &ReplicaAt) {
        tracing::info!(group = %id, replica = %at.replica, "a replica begins here");
        let group = match self.failed.clone() {
            None => create(&self.config, map, id, at, &mut self.make_store),
            // It could keep nothing.
            Some(reason) => {
                let start = recover::empty(map, id, (self.make_store)(id), Some(reason));
                Group::new(&self.config, map, id, at.replica, start)
            }
        };
        self.held.insert(id, at.replica);
        self.add(id, group);
    }

    /// Ends a replica. What waited for it goes elsewhere; of what is in its log nobody here will know.
    fn destroy(&mut self, now: Now, id: GroupId, reason: &str) {
        if self.config.faults.has(Fault::MovedReplicaServes) {
            return;
        }
        self.with_group(now, id, |group, env| group.give_everything_back(reason, env));
        let Some(mut group) = self.groups.remove(&id) else { return };
        tracing::info!(group = %id, replica = %group.own(), reason, "a replica ends here");
        group.offer_no_snapshot();
        let leader = group.leader_node().filter(|node| *node != self.config.node);
        if let Some(route) = self.routes.get_mut(id) {
            route.set_hint(leader);
        }
        self.report.forget(id, group.told);
        self.report.used_bytes -= group.told.bytes;
        self.capturing.remove(&id);
        self.paused.remove(&id);
        self.dirty.insert(id);
        let term = group.replica.standing().term;
        self.out.event(Event::Leader { group: id, leader, term, sole: false });
        if self.config.durable {
            self.out.writes.destroy(id, group.own());
        }
        self.out.destroyed(id);
    }

    /// This life of the node is over: another one has taken its place, or it was declared dead.
    fn end_superseded(&mut self, now: Now) {
        if std::mem::replace(&mut self.superseded, true) {
            return;
        }
        tracing::error!(
            "this node's life is over for the cluster: another one has its place, or it was declared dead"
        );
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            self.destroy(now, id, "this node's life is over for its cluster");
        }
        self.governor = None;
        self.out.event(Event::Superseded);
        self.park_bounced();
    }

    /// Says that a replica is not here, to whoever sent it something.
    pub(super) fn say_gone(&mut self, to: NodeId, message: &v1::RaftMessage) {
        if let Some(frame) = self.out.to(to, 24) {
            frame.gone.push(v1::Gone { group: message.group, generation: message.generation, replica: message.to });
        }
    }

    /// A peer does not have a replica. It may be ahead of this node's map or behind it: only the map decides, so a
    /// leader looks at what it wants, and doesn't sleep before that is so.
    pub(super) fn on_gone(&mut self, from: NodeId, gone: &v1::Gone) {
        let (id, replica) = (GroupId(gone.group), ReplicaId(gone.replica));
        let Some(group) = self.groups.get_mut(&id) else { return };
        if gone.generation == group.generation && group.nodes.get(&replica) == Some(&from) {
            tracing::debug!(group = %id, %replica, %from, "a replica is not there");
            if group.replica.is_leader() {
                group.stir();
                self.dirty.insert(id);
            }
        }
    }
}

/// The groups that have begun another generation, and which.
pub(super) fn resets<'a>(before: &'a ClusterMap, map: &'a ClusterMap) -> impl Iterator<Item = (GroupId, u64)> + 'a {
    let is_newer = move |(id, set): &(&GroupId, &ReplicaSet)| {
        before.groups.get(*id).is_some_and(|known| known.generation < set.generation)
    };
    map.groups.iter().filter(is_newer).map(|(id, set)| (*id, set.generation))
}

/// How many members there are whose clocks count.
pub(super) fn living(map: &ClusterMap) -> usize {
    map.members.keys().filter(|node| map.incarnation_of(**node).is_some()).count()
}
