//! The steps that a plan is made of. Each carries what must still hold when it is done, so that doing it twice, late, or by a
//! second operator changes nothing.

use std::fmt;

use crema_crds::{Amount, spec::Eviction};

use crate::model::{ClusterUid, Formation, Group, Incarnation, Live, MapVersion, Memory, NodeId, Step};

/// One idempotent step. `apply` does them in order. When one fails that [others rest on](Action::ends_pass), it does none
/// after it; when another fails, it says so and goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Server-side apply of everything but the StatefulSet: accounts, services, settings, budget, monitors.
    ApplyObjects {
        /// `maxUnavailable` of the disruption budget.
        max_unavailable: u32,
    },
    /// Creates the StatefulSet, with the partition at the replicas; refused when one exists.
    CreateStatefulSet {
        /// Its replicas.
        replicas: u32,
    },
    /// A new template; in the same patch the partition, so that no pod changes by this.
    ApplyTemplate {
        /// The StatefulSet, as it was read.
        sts: Live,
        /// The revision of the new template.
        revision: String,
        /// Its replicas, as they are: how many pods there should be is not for a template to say.
        replicas: u32,
        /// The partition, equal to the replicas.
        partition: u32,
    },
    /// Another number of pods; in the same patch the partition.
    PatchReplicas {
        /// The StatefulSet, as it was read.
        sts: Live,
        /// Its replicas from now on.
        replicas: u32,
        /// Its partition from now on.
        partition: u32,
    },
    /// Another partition: lower, and one more pod is replaced; higher, and none is.
    PatchPartition {
        /// The StatefulSet, as it was read.
        sts: Live,
        /// Its partition from now on.
        partition: u32,
    },
    /// Deletes the StatefulSet and leaves its pods: the next pass makes it anew with a larger claim template.
    OrphanStatefulSet {
        /// The StatefulSet, as it was read.
        sts: Live,
    },
    /// Writes into the status, against the object's version, what the steps after it rely on.
    Remember {
        /// Of the CremaCluster, as it was read.
        resource_version: String,
        /// What to remember.
        memory: Memory,
    },
    /// `Init` with this very id and these very lives. Harmless when repeated.
    Init {
        /// The cluster to be.
        uid: ClusterUid,
        /// Its first members.
        members: Vec<(NodeId, Incarnation)>,
    },
    /// `Drain`: moves every replica off these members.
    Drain {
        /// The members.
        nodes: Vec<NodeId>,
        /// The map that this was decided on.
        expected: MapVersion,
    },
    /// `Undrain`: a member stays after all.
    Undrain {
        /// The member.
        node: NodeId,
        /// The map that this was decided on.
        expected: MapVersion,
    },
    /// `Remove`: a member that holds nothing has left for good.
    Remove {
        /// The member.
        node: NodeId,
        /// The map that this was decided on.
        expected: MapVersion,
    },
    /// Commits that this life of a member is dead: it never votes again.
    MarkDown {
        /// The member.
        node: NodeId,
        /// The life.
        incarnation: Incarnation,
        /// The map that this was decided on.
        expected: MapVersion,
    },
    /// `TransferLeader` for each of these shards.
    TransferLeaders {
        /// The shards, each with who should lead it.
        moves: Vec<(u32, NodeId)>,
    },
    /// Shards that lost their majority for good return empty, with new replicas.
    ResetShards {
        /// The shards.
        shards: Vec<u32>,
        /// The lives that are proved dead.
        dead: Vec<(NodeId, Incarnation)>,
        /// The map that this was decided on.
        expected: MapVersion,
    },
    /// `UpdateSettings` with what differs.
    UpdateSettings {
        /// What to change.
        change: SettingsChange,
        /// The map that this was decided on.
        expected: MapVersion,
    },
    /// `PauseMigrations`.
    PauseMigrations,
    /// `ResumeMigrations`.
    ResumeMigrations,
    /// Deletes a pod.
    DeletePod {
        /// The pod, as it was read.
        pod: Live,
        /// Without waiting for it: its machine will not answer.
        at_once: bool,
    },
    /// Asks for a larger volume.
    GrowClaim {
        /// The claim, as it was read.
        claim: Live,
        /// The size.
        bytes: u64,
    },
    /// Makes the CremaCluster an owner of a claim, so that the claim goes with it; or takes that back.
    OwnClaim {
        /// The claim, as it was read.
        claim: Live,
        /// Whether it is to be an owner.
        owned: bool,
    },
    /// Deletes a claim, and with it a volume.
    DeleteClaim {
        /// The claim, as it was read.
        claim: Live,
    },
    /// Deletes process settings that no pod and no revision refers to.
    DeleteConfig {
        /// The ConfigMap, as it was read.
        config: Live,
    },
}

/// The shared settings to change; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Capacity of a shard, 0 for no limit.
    pub max_entries_per_shard: Option<u64>,
    /// Capacity of a shard, 0 for no limit.
    pub max_bytes_per_shard: Option<u64>,
    /// The life of keys that are set without one, 0 for ever.
    pub default_ttl_ms: Option<u64>,
    /// How a full shard chooses what goes.
    pub eviction: Option<Eviction>,
    /// Migrations at a time.
    pub migration_concurrency: Option<u32>,
    /// Their bandwidth, 0 for no limit.
    pub migration_bytes_per_s: Option<u64>,
    /// How long a node may be silent before the nodes themselves give it up, 0 for ever.
    pub repair_after_ms: Option<u64>,
    /// Replicas of each shard.
    pub replication_factor: Option<u32>,
}

impl Action {
    /// Whether somebody may be worse off while it takes effect: at most one of a plan.
    #[must_use]
    pub fn is_disruptive(&self) -> bool {
        match self {
            Self::OrphanStatefulSet { .. }
            | Self::Drain { .. }
            | Self::Remove { .. }
            | Self::MarkDown { .. }
            | Self::TransferLeaders { .. }
            | Self::ResetShards { .. }
            | Self::DeletePod { .. }
            | Self::DeleteClaim { .. }
            | Self::PatchReplicas { .. }
            | Self::PatchPartition { .. } => true,
            Self::ApplyObjects { .. }
            | Self::CreateStatefulSet { .. }
            | Self::ApplyTemplate { .. }
            | Self::Remember { .. }
            | Self::Init { .. }
            | Self::Undrain { .. }
            | Self::UpdateSettings { .. }
            | Self::PauseMigrations
            | Self::ResumeMigrations
            | Self::GrowClaim { .. }
            | Self::OwnClaim { .. }
            | Self::DeleteConfig { .. } => false,
        }
    }

    /// Whether it gives up a cluster for good: what it rests on is looked at twice, as before what disturbs somebody.
    #[must_use]
    pub fn gives_up(&self) -> bool {
        let Self::Remember { memory, .. } = self else { return false };
        matches!(&memory.formation, Formation::Forming { replaces: Some(_), .. })
    }

    /// Whether nothing after it may be done when it fails: those steps rest on what it writes, or it is the disruptive one.
    #[must_use]
    pub fn ends_pass(&self) -> bool {
        self.is_disruptive() || matches!(self, Self::Remember { .. } | Self::Init { .. })
    }

    /// Whether it changes the StatefulSet: a second change in one pass would meet another version of it.
    #[must_use]
    pub fn changes_stateful_set(&self) -> bool {
        match self {
            Self::CreateStatefulSet { .. }
            | Self::ApplyTemplate { .. }
            | Self::PatchReplicas { .. }
            | Self::PatchPartition { .. }
            | Self::OrphanStatefulSet { .. } => true,
            Self::ApplyObjects { .. }
            | Self::Remember { .. }
            | Self::Init { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Remove { .. }
            | Self::MarkDown { .. }
            | Self::TransferLeaders { .. }
            | Self::ResetShards { .. }
            | Self::UpdateSettings { .. }
            | Self::PauseMigrations
            | Self::ResumeMigrations
            | Self::DeletePod { .. }
            | Self::GrowClaim { .. }
            | Self::OwnClaim { .. }
            | Self::DeleteClaim { .. }
            | Self::DeleteConfig { .. } => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyObjects { max_unavailable } => write!(f, "apply objects, budget {max_unavailable}"),
            Self::CreateStatefulSet { replicas } => write!(f, "create the StatefulSet with {replicas} replicas"),
            Self::ApplyTemplate { revision, replicas, partition, .. } => {
                write!(f, "apply template {revision} with {replicas} replicas, partition {partition}")
            }
            Self::PatchReplicas { replicas, partition, .. } => {
                write!(f, "patch replicas to {replicas}, partition to {partition}")
            }
            Self::PatchPartition { partition, .. } => write!(f, "patch partition to {partition}"),
            Self::OrphanStatefulSet { .. } => f.write_str("delete the StatefulSet, leaving its pods"),
            Self::Remember { memory, .. } => remembered(f, memory),
            Self::Init { uid, members } => write!(f, "init {uid} with{}", lives(members)),
            Self::Drain { nodes, expected } => write!(f, "drain{} at map {expected}", spaced(nodes)),
            Self::Undrain { node, expected } => write!(f, "undrain {node} at map {expected}"),
            Self::Remove { node, expected } => write!(f, "remove {node} at map {expected}"),
            Self::MarkDown { node, incarnation, expected } => {
                write!(f, "mark {node} ({incarnation}) down at map {expected}")
            }
            Self::TransferLeaders { moves } => {
                f.write_str("transfer leaders:")?;
                moves.iter().try_for_each(|(shard, node)| write!(f, " {shard} to {node},"))
            }
            Self::ResetShards { shards, dead, expected } => {
                write!(f, "reset shards{} at map {expected}, dead:{}", spaced(shards), lives(dead))
            }
            Self::UpdateSettings { change, expected } => write!(f, "settings at map {expected}:{change}"),
            Self::PauseMigrations => f.write_str("pause migrations"),
            Self::ResumeMigrations => f.write_str("resume migrations"),
            Self::DeletePod { pod, at_once } => {
                write!(f, "delete pod {}{}", pod.name, if *at_once { " at once" } else { "" })
            }
            Self::GrowClaim { claim, bytes } => {
                write!(f, "grow claim {} to {}", claim.name, Amount::of_bytes(*bytes))
            }
            Self::OwnClaim { claim, owned: true } => write!(f, "own claim {}", claim.name),
            Self::OwnClaim { claim, owned: false } => write!(f, "disown claim {}", claim.name),
            Self::DeleteClaim { claim } => write!(f, "delete claim {}", claim.name),
            Self::DeleteConfig { config } => write!(f, "delete config {}", config.name),
        }
    }
}

impl fmt::Display for SettingsChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_entries_per_shard,
            max_bytes_per_shard,
            default_ttl_ms,
            eviction,
            migration_concurrency,
            migration_bytes_per_s,
            repair_after_ms,
            replication_factor,
        } = self;
        let numbers = [
            ("max_entries_per_shard", *max_entries_per_shard),
            ("max_bytes_per_shard", *max_bytes_per_shard),
            ("default_ttl_ms", *default_ttl_ms),
            ("migration_concurrency", migration_concurrency.map(u64::from)),
            ("migration_bytes_per_s", *migration_bytes_per_s),
            ("repair_after_ms", *repair_after_ms),
            ("replication_factor", replication_factor.map(u64::from)),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        eviction.map_or(Ok(()), |eviction| write!(f, " eviction={}", eviction_name(eviction)))
    }
}

/// The name of a policy in `admin.proto`.
#[must_use]
pub fn eviction_name(eviction: Eviction) -> &'static str {
    match eviction {
        Eviction::TinyLfu => "tiny-lfu",
        Eviction::Lru => "lru",
    }
}

fn remembered(f: &mut fmt::Formatter<'_>, memory: &Memory) -> fmt::Result {
    match &memory.formation {
        Formation::Unknown => f.write_str("remember: no cluster")?,
        Formation::Forming { id, replaces: None } => write!(f, "remember: forming {id}")?,
        Formation::Forming { id, replaces: Some(old) } => write!(f, "remember: forming {id} in place of {old}")?,
        Formation::Formed { id } => write!(f, "remember: formed {id}")?,
    }
    if let Some(roll) = &memory.roll {
        match roll.step {
            Step::At { ordinal, since_ms } => write!(f, ", roll {} at pod {ordinal} since {since_ms}", roll.revision),
            Step::Failed { ordinal, .. } => write!(f, ", roll {} failed at pod {ordinal}", roll.revision),
        }?;
    }
    memory.shrink.map_or(Ok(()), |to| write!(f, ", shrink to {to}"))
}

fn spaced<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!(" {item}")).collect()
}

fn lives(members: &[(NodeId, Incarnation)]) -> String {
    members.iter().map(|(node, life)| format!(" {node}={life}")).collect()
}

/// Names of groups for a person: the first few, and how many more.
pub(super) fn named(groups: &[Group]) -> String {
    const NAMED: usize = 5;
    let names: Vec<String> = groups.iter().take(NAMED).map(Group::to_string).collect();
    match groups.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
