//! Leader hints by gossip: what others say comes in, what this node leads goes out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::MultiRaftCoordinator;
use crate::{
    cluster::discovery::{ClusterDiscovery, LeaderHints},
    multiraft::introspect::{Introspect as _, ReplicaRole},
    types::ShardId,
};

/// How often this node's own leaderships are looked at; the gossip gathers changes for some time, too.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl MultiRaftCoordinator {
    /// Follows the leader hints of a discovery that gossips, and tells it what this node leads, for as long as the
    /// discovery lives. Does nothing for one that doesn't gossip, or when there is one already. Call within a tokio
    /// runtime.
    pub fn follow_gossip(&self, discovery: Arc<dyn ClusterDiscovery>) {
        if discovery.leader_gossip().is_some() && self.0.discovery.set(discovery.clone()).is_ok() {
            let inner = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                let Some(gossip) = discovery.leader_gossip() else { return };
                let mut heard = gossip.hints();
                let mut interval = tokio::time::interval(LOOK_EVERY);
                let mut told = BTreeSet::new();
                loop {
                    let changed = tokio::select! {
                        changed = heard.changed() => changed.is_ok(),
                        _ = interval.tick() => true,
                    };
                    // The coordinator must not be kept alive by the task that serves it.
                    let Some(coordinator) = inner.upgrade().filter(|_| changed).map(Self) else { return };
                    coordinator.take_hints(&heard.borrow_and_update().clone());
                    told = coordinator.tell(told);
                }
            });
        }
    }

    /// Takes what is newer than what is known; says of how many shards that was.
    pub fn take_hints(&self, hints: &LeaderHints) -> usize {
        let newer = |hint: &crate::cluster::discovery::LeaderHint| {
            self.set_shard_leader_if_newer(hint.shard, hint.leader.0, hint.epoch)
        };
        hints.known().filter(newer).count()
    }

    /// Tells the gossip what this node leads now; `told` is what it led at the last look.
    fn tell(&self, told: BTreeSet<(ShardId, u64)>) -> BTreeSet<(ShardId, u64)> {
        let Some(gossip) = self.0.discovery.get().and_then(|discovery| discovery.leader_gossip()) else {
            return told;
        };
        let led = self.0.view.shards().into_iter().filter(|status| status.role == ReplicaRole::Leader);
        let led: BTreeSet<_> = led.map(|status| (status.shard, status.term)).collect();
        for (shard, _) in told.difference(&led).filter(|(shard, _)| !led.iter().any(|(other, _)| other == shard)) {
            gossip.unset_local_shard_leader(*shard);
        }
        for (shard, term) in led.difference(&told) {
            gossip.set_local_shard_leader(*shard, *term);
        }
        led
    }
}
