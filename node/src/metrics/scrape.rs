//! The gauges that are read when Prometheus asks: what `Introspect` says about the node and its shards.
//!
//! Built anew for each scrape, so that a shard that left this node leaves no series behind.

use prometheus::{IntGaugeVec, Opts, Registry, core::Collector};

use super::{MetricsRegistry, encode};
use crate::multiraft::introspect::{Introspect, NodeState, NodeStatus, ReplicaRole, ShardStatus};

/// Everything for one scrape, in the text format of Prometheus.
#[must_use]
pub fn render(registry: &MetricsRegistry, node: &impl Introspect) -> String {
    let pulled = Registry::new();
    let shards = node.shards();
    node_gauges(&pulled, &node.status(), &shards);
    shard_gauges(&pulled, &shards);
    let mut families = registry.gather();
    families.extend(pulled.gather());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    encode(&families)
}

fn node_gauges(pulled: &Registry, status: &NodeStatus, shards: &[ShardStatus]) {
    let single = |name, help, value| family(pulled, name, help, &[]).set(&[], value);
    single("cache_entries", "Keys held by this node", shards.iter().map(|s| s.entries).sum());
    single("cache_size_bytes", "Weight of the keys held by this node", shards.iter().map(|s| s.bytes).sum());
    single("crema_joined", "1 when the node is a member", u64::from(status.state == NodeState::Joined));
    single("crema_feature_level", "The committed feature level", status.feature_level.into());
    let totals = family(pulled, "crema_shards", "Shards as this node sees them", &["state"]);
    for (state, count) in [
        ("total", status.shards.total),
        ("local", status.shards.local),
        ("led", status.shards.led),
        ("leaderless", status.shards.leaderless),
    ] {
        totals.set(&[state], count.into());
    }
    let peers = family(pulled, "crema_peer_connected", "1 when there is a stream to the peer", &["peer"]);
    for peer in &status.peers {
        peers.set(&[&peer.node.to_string()], peer.connected.into());
    }
}

fn shard_gauges(pulled: &Registry, shards: &[ShardStatus]) {
    let of_shard = |name, help| family(pulled, name, help, &["shard"]);
    let entries = of_shard("shard_entries", "Keys held by the local replica");
    let bytes = of_shard("crema_shard_bytes", "Weight of the keys held by the local replica");
    let leader = of_shard("crema_shard_leader", "1 when this node leads the shard");
    let term = of_shard("crema_shard_term", "The term of the local replica");
    let commit = of_shard("crema_shard_commit_index", "What is known to be committed");
    let applied = of_shard("crema_shard_applied_index", "What is applied by the local replica");
    let last = of_shard("crema_shard_last_index", "The end of the local log");
    let asleep = of_shard("crema_shard_asleep", "1 when the local replica hibernates");
    let lag = family(pulled, "crema_shard_lag_entries", "How far a follower is behind", &["shard", "follower"]);
    for shard in shards.iter().filter(|s| s.role != ReplicaRole::None) {
        let label = shard.shard.to_string();
        for (family, value) in [
            (&entries, shard.entries),
            (&bytes, shard.bytes),
            (&leader, u64::from(shard.role == ReplicaRole::Leader)),
            (&term, shard.term),
            (&commit, shard.commit),
            (&applied, shard.applied),
            (&last, shard.last),
            (&asleep, u64::from(shard.asleep)),
        ] {
            family.set(&[&label], value);
        }
        for follower in &shard.followers {
            lag.set(&[&label, &follower.node.to_string()], follower.lag_entries);
        }
    }
}

struct Gauges(IntGaugeVec);

impl Gauges {
    fn set(&self, labels: &[&str], value: u64) {
        self.0.with_label_values(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

fn family(pulled: &Registry, name: &str, help: &str, labels: &[&str]) -> Gauges {
    let family = IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels here are valid");
    let collector: Box<dyn Collector> = Box::new(family.clone());
    pulled.register(collector).expect("each name appears once here");
    Gauges(family)
}
