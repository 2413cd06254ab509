//! The map for nodes that have no part in the meta group: those that have just joined, and those on their way out.
//!
//! They would never hear of a map that places their first replica, or that drops their last one. The leader of the meta
//! group sends them what it has applied, so it is as committed as what comes out of a log.

use std::{collections::BTreeSet, sync::Arc};

use crema_api::v1;

use super::{Node, report::Listener};
use crate::{
    cluster::map::ClusterMap,
    machine::store::EntryStore,
    types::{GroupId, LogIndex, NodeId, Now, ReplicaId, Term},
};

/// What a replica adds to the bytes of a map, about.
const REPLICA_BYTES: usize = 40;

impl<S: EntryStore> Node<S> {
    /// Sends the newest map to every peer outside the meta group, once for each version and session. A member that has
    /// never answered counts as outside: its node may not know yet that it has a replica. So does one that has stopped.
    pub(super) fn tell_outsiders(&mut self) {
        let Some(group) = self.groups.get(&GroupId::META) else { return };
        let Some(governor) = &mut self.governor else { return };
        if !group.is_current_leader() {
            return;
        }
        let health = &governor.governing.health;
        let takes_part =
            |(replica, matched): &(ReplicaId, LogIndex)| *matched > LogIndex(0) && !health.is_stopped(*replica);
        let reached = group.replica.matches().into_iter().filter(takes_part);
        let inside: BTreeSet<NodeId> =
            reached.filter_map(|(replica, _)| group.nodes.get(&replica).copied()).collect();
        let (version, term) = (self.map.version, group.replica.standing().term);
        let told = &mut governor.told;
        told.retain(|node, _| !inside.contains(node));
        let outside = self.out.sessions.iter().filter(|(node, _)| !inside.contains(node));
        let late = outside.filter(|(node, session)| told.get(node) != Some(&(**session, version)));
        let late: Vec<(NodeId, u64)> = late.map(|(node, session)| (*node, *session)).collect();
        if late.is_empty() {
            return;
        }
        let map = v1::ClusterMap::from(self.map.as_ref());
        let bytes = 1_024 + map.groups.iter().map(|set| set.replicas.len() * REPLICA_BYTES).sum::<usize>();
        for (node, session) in late {
            if let Some(frame) = self.out.to(node, bytes) {
                frame.maps.push(v1::MapNews { map: Some(map.clone()), term: term.0 });
                told.insert(node, (session, version));
            }
        }
    }

    /// The leader of the meta group says that this node has no part in it, and what the map is.
    pub(super) fn on_news(&mut self, now: Now, from: NodeId, session: u64, news: v1::MapNews) {
        let v1::MapNews { map, term } = news;
        let map = match map.map(ClusterMap::try_from) {
            Some(Ok(map)) => map,
            Some(Err(error)) => return tracing::warn!(%from, %error, "a map that contradicts itself; dropped"),
            None => return tracing::warn!(%from, "news without a map"),
        };
        let listener = Listener { node: from, session: Some(session), term: Term(term) };
        if self.report.news_from.is_none_or(|before| before.term <= listener.term) {
            self.report.news_from = Some(listener);
        }
        self.take_map(now, Arc::new(map));
    }

    /// A committed map that comes another way than out of this worker's log. The worker of the meta group spreads it.
    pub(super) fn take_map(&mut self, now: Now, map: Arc<ClusterMap>) {
        if map.uid != self.map.uid || map.version <= self.map.version {
            return;
        }
        if self.config.lanes.owns(GroupId::META) {
            self.out.map(map.clone());
        }
        self.on_map(now, map);
    }
}
