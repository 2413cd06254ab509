//! The gauges that are read when Prometheus asks: what `Introspect` says about the node and its shards.
//!
//! Built anew for each scrape, so that a shard that left this node leaves no series behind.

use prometheus::{IntGaugeVec, Opts, Registry, core::Collector, proto::MetricFamily};

use super::{MetricsRegistry, encode, node::MIGRATION_REASONS};
use crate::multiraft::introspect::{ClusterStatus, Introspect, NodeState, NodeStatus, ReplicaRole, ShardStatus};

/// Everything for one scrape, in the text format of Prometheus.
#[must_use]
pub fn render(registry: &MetricsRegistry, node: &impl Introspect) -> String {
    let mut families = registry.gather();
    families.extend(gauges(node));
    families.sort_by(|a, b| a.name().cmp(b.name()));
    encode(&families)
}

/// The gauges alone, by name.
pub(crate) fn gauges(node: &impl Introspect) -> Vec<MetricFamily> {
    let pulled = Registry::new();
    let shards = node.shards();
    node_gauges(&pulled, &node.status(), &shards);
    shard_gauges(&pulled, &shards);
    if let Some(cluster) = node.cluster() {
        cluster_gauges(&pulled, &cluster);
    }
    pulled.gather()
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
    let replicas = family(pulled, "crema_replicas", "Replicas of shards on this node", &["health"]);
    for health in ["serving", "corrupt", "stopped"] {
        replicas.set(&[health], shards.iter().filter(|shard| shard.health == health).count() as u64);
    }
    let peers = family(pulled, "crema_peer_connected", "1 when there is a stream to the peer", &["peer"]);
    for peer in &status.peers {
        peers.set(&[&peer.node.to_string()], peer.connected.into());
    }
}

/// What the map says; every node shows its copy.
fn cluster_gauges(pulled: &Registry, cluster: &ClusterStatus) {
    family(pulled, "crema_map_version", "The version of this node's copy of the cluster map", &[])
        .set(&[], cluster.map_version);
    let under = cluster.under_replicated.len() as u64;
    family(pulled, "crema_under_replicated_shards", "Shards with fewer living voters than they should have", &[])
        .set(&[], under);
    family(pulled, "crema_migrations_paused", "1 while migrations are paused", &[])
        .set(&[], cluster.migrations_paused.into());
    let members = family(pulled, "crema_members", "Members of the cluster", &["state"]);
    for state in ["joining", "up", "draining", "down", "removed"] {
        members.set(&[state], cluster.members.iter().filter(|member| member.state == state).count() as u64);
    }
    let active = family(pulled, "crema_migrations_active", "Migrations under way in the cluster", &["reason"]);
    for reason in MIGRATION_REASONS {
        active.set(&[reason], cluster.migrations.iter().filter(|found| found.reason == reason).count() as u64);
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
