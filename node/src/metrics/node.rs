//! The handles that the runtime and the doors raise, resolved once.
//!
//! Names without the prefix `crema_` are those of the library's reference.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Counter, Gauge, Histogram, MetricsRegistry};
use crate::types::ShardId;

/// Upper bounds in seconds: from an empty shard to one of many gigabytes behind a limit.
const MIGRATION_BUCKETS: [f64; 12] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 7_200.0];

/// Why migrations are begun, as `cluster::map::Reason` names it.
pub(super) const MIGRATION_REASONS: [&str; 5] = ["repair", "drain", "balance", "asked", "meta"];

/// What a node counts as a whole.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    /// Where the series are.
    pub registry: MetricsRegistry,
    /// Reads that found their key.
    pub cache_hits: Counter,
    /// Reads that did not.
    pub cache_misses: Counter,
    /// Entries proposed to Raft by this node's leaders (an entry may hold many commands).
    pub raft_proposals: Counter,
    /// From the proposal of a command to its answer.
    pub raft_proposal_latency: Histogram,
    /// Changes of leader seen by this node's replicas.
    pub raft_leader_changes: Counter,
    /// Keys that left because a shard was full.
    pub evictions: Counter,
    /// Keys that left because their time was over.
    pub expirations: Counter,
    /// Frames that the workers gave to peer streams.
    pub peer_frames_sent: Counter,
    /// Frames that the workers got from peer streams.
    pub peer_frames_received: Counter,
    /// Snapshots that reached a lagging replica.
    pub snapshots_sent: Counter,
    /// Snapshots that a replica here was restored from.
    pub snapshots_received: Counter,
    /// Synced writes of logs.
    pub log_syncs: Counter,
    /// Worker turns that those have made durable.
    pub log_turns: Counter,
    /// How long they took in sum.
    pub log_sync_micros: Counter,
    /// Checkpoints of this node's own.
    pub checkpoints: Counter,
    /// Their bytes.
    pub checkpoint_bytes: Counter,
    /// 1 once the disk has failed.
    pub storage_failed: Gauge,
    /// Nodes that discovery sees alive, this one apart.
    pub memberlist_nodes: Gauge,
}

impl NodeMetrics {
    /// Resolves the handles; every series exists from now on, at 0.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        let counter = |name, help| registry.counter(name, help, &[]);
        let peer = |name, help, way| registry.counter(name, help, &[("direction", way)]);
        let (frames, frames_help) = ("crema_peer_frames_total", "Frames on peer streams");
        let (snapshots, snapshots_help) = ("crema_snapshots_total", "Snapshots sent to and received from peers");
        let metrics = Self {
            registry: registry.clone(),
            cache_hits: counter("cache_hits_total", "Reads that found their key"),
            cache_misses: counter("cache_misses_total", "Reads that did not find their key"),
            raft_proposals: counter("raft_proposals_total", "Log entries proposed by the leaders on this node"),
            raft_proposal_latency: registry.histogram(
                "raft_proposal_latency_seconds",
                "From the proposal of a command to its answer",
                &[],
            ),
            raft_leader_changes: counter("raft_leader_changes_total", "Changes of leader seen by this node"),
            evictions: counter("crema_evictions_total", "Keys that left because a shard was full"),
            expirations: counter("crema_expirations_total", "Keys that left because their time was over"),
            peer_frames_sent: peer(frames, frames_help, "sent"),
            peer_frames_received: peer(frames, frames_help, "received"),
            snapshots_sent: peer(snapshots, snapshots_help, "sent"),
            snapshots_received: peer(snapshots, snapshots_help, "received"),
            log_syncs: counter("crema_log_syncs_total", "Synced writes of the logs on disk"),
            log_turns: counter("crema_log_turns_total", "Worker turns that those writes have made durable"),
            log_sync_micros: counter("crema_log_sync_microseconds_total", "What those writes took in sum"),
            checkpoints: counter("crema_checkpoints_total", "Checkpoints written"),
            checkpoint_bytes: counter("crema_checkpoint_bytes_total", "Bytes of the checkpoints written"),
            storage_failed: registry.gauge("crema_storage_failed", "1 once the disk has failed", &[]),
            memberlist_nodes: registry.gauge(
                "memberlist_nodes",
                "Nodes that discovery sees alive, this one apart",
                &[],
            ),
        };
        for reason in MIGRATION_REASONS {
            metrics.migration_duration(reason);
            metrics.migration_bytes(reason);
            for outcome in ["done", "cancelled"] {
                metrics.migrations(reason, outcome);
            }
        }
        metrics
    }

    /// A migration is over. Counted on the meta leader only.
    pub fn migrated(&self, reason: &'static str, outcome: &'static str, took: Duration, bytes: u64) {
        self.migration_duration(reason).observe(took);
        self.migrations(reason, outcome).inc();
        self.migration_bytes(reason).inc_by(bytes);
    }

    fn migration_duration(&self, reason: &'static str) -> Histogram {
        let help = "From the committed start of a migration to its end; counted by the meta leader";
        self.registry.histogram_in("migration_duration_seconds", help, &[("reason", reason)], &MIGRATION_BUCKETS)
    }

    fn migrations(&self, reason: &'static str, outcome: &'static str) -> Counter {
        let labels = [("reason", reason), ("outcome", outcome)];
        self.registry.counter("crema_migrations_total", "Migrations that ended; counted by the meta leader", &labels)
    }

    fn migration_bytes(&self, reason: &'static str) -> Counter {
        let help = "Bytes of the state that migrations have copied; counted by the meta leader";
        self.registry.counter("crema_migration_bytes_total", help, &[("reason", reason)])
    }

    /// The handles of one shard, for its replica to keep.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> ShardMetrics {
        let label = shard.to_string();
        let counter = |name, help| self.registry.counter(name, help, &[("shard", &label)]);
        ShardMetrics {
            all_proposals: self.raft_proposals.clone(),
            all_leader_changes: self.raft_leader_changes.clone(),
            proposals: counter("crema_shard_proposals_total", "Log entries proposed for the shard by this node"),
            reads: counter("crema_shard_reads_total", "Linearizable reads answered for the shard by this node"),
            leader_changes: counter("shard_leader_changes_total", "Changes of the shard's leader seen here"),
        }
    }

    /// The handles of one door, for these commands (lower case); all others share the label `other`.
    #[must_use]
    pub fn door(&self, door: &'static str, commands: &[&'static str]) -> DoorMetrics {
        DoorMetrics::new(&self.registry, door, commands)
    }
}

/// What one replica counts. Each call counts for the shard and for the node.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    all_proposals: Counter,
    all_leader_changes: Counter,
    proposals: Counter,
    reads: Counter,
    leader_changes: Counter,
}

impl ShardMetrics {
    /// `entries` log entries were proposed.
    pub fn proposed(&self, entries: u64) {
        self.proposals.inc_by(entries);
        self.all_proposals.inc_by(entries);
    }

    /// `reads` linearizable reads were answered.
    pub fn read(&self, reads: u64) {
        self.reads.inc_by(reads);
    }

    /// The shard has a new leader.
    pub fn leader_changed(&self) {
        self.leader_changes.inc();
        self.all_leader_changes.inc();
    }
}

/// What one door counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DoorMetrics {
    /// Connections open now.
    pub connections: Gauge,
    /// Connections closed at once because there were too many.
    pub connections_refused: Counter,
    commands: Arc<HashMap<&'static str, CommandMetrics>>,
    other: CommandMetrics,
}

impl DoorMetrics {
    fn new(registry: &MetricsRegistry, door: &'static str, commands: &[&'static str]) -> Self {
        let labels = [("door", door)];
        let command = |name| CommandMetrics::new(registry, door, name);
        Self {
            connections: registry.gauge("crema_connections", "Connections open now", &labels),
            connections_refused: registry.counter(
                "crema_connections_refused_total",
                "Connections closed at once because there were too many",
                &labels,
            ),
            commands: Arc::new(commands.iter().map(|name| (*name, command(name))).collect()),
            other: command("other"),
        }
    }

    /// The handles of one command by its lower-case name. Better asked once than for each call.
    #[must_use]
    pub fn command(&self, name: &str) -> &CommandMetrics {
        self.commands.get(name).unwrap_or(&self.other)
    }
}

/// What is counted for one command at one door.
#[derive(Clone, Debug)]
pub struct CommandMetrics {
    calls: Counter,
    errors: Counter,
    latency: Histogram,
}

impl CommandMetrics {
    fn new(registry: &MetricsRegistry, door: &'static str, command: &'static str) -> Self {
        let labels = [("door", door), ("command", command)];
        Self {
            calls: registry.counter("crema_command_calls_total", "Commands answered", &labels),
            errors: registry.counter("crema_command_errors_total", "Commands answered with an error", &labels),
            latency: registry.histogram("crema_command_latency_seconds", "From a command to its answer", &labels),
        }
    }

    /// So many calls were answered together.
    pub fn record_run(&self, calls: u64, elapsed: Duration) {
        self.calls.inc_by(calls);
        self.latency.observe(elapsed);
    }

    /// So many of the calls that were recorded as a run were answered with an error.
    pub fn record_errors(&self, errors: u64) {
        self.errors.inc_by(errors);
    }

    /// One command was answered.
    pub fn record(&self, elapsed: Duration, ok: bool) {
        self.calls.inc();
        if !ok {
            self.errors.inc();
        }
        self.latency.observe(elapsed);
    }
}
