//! What the planner takes from a spec: the part of [`Validated`] that decides what is done, in the planner's own units.
//!
//! The rest of a spec is only rendered into objects. What of it is in the pods' template is summed up in a revision.

use std::time::Duration;

use crema_crds::{
    RESTARTED_AT, Validated,
    spec::{Eviction, QuorumLoss, Retain, UpdateKind},
    validated,
};
use serde_json::Value;

use super::ObjectView;

/// Parts of a spec, by JSON pointer, that reach a running cluster without a new pod. Everything else is in the template, a
/// field that is added to the spec later too, once somebody sets it.
const LIVE: &[&str] = &[
    "/replicas",
    "/replicationFactor",
    "/shards",
    "/storage",
    "/cache/maxEntries",
    "/cache/defaultTtl",
    "/cache/eviction",
    "/migration",
    "/update",
    "/repair",
    "/service",
    "/podDisruptionBudget",
    "/monitoring",
    "/quorumLoss",
    "/paused",
];

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Nodes.
    pub replicas: u32,
    /// Replicas of each shard.
    pub replication_factor: u32,
    /// Where the data is.
    pub storage: Storage,
    /// What all replicas are to agree on.
    pub settings: Settings,
    /// Whether no migration may begin or copy.
    pub migrations_paused: bool,
    /// How pods are replaced.
    pub update: Update,
    /// What is done about machines that are lost.
    pub repair: Repair,
    /// What is done about groups that lost their majority.
    pub quorum_loss: QuorumLoss,
    /// Nothing is to be done at all.
    pub paused: bool,
    /// Sums up what of the spec is in the pods: pods of another revision are replaced.
    pub revision: String,
}

/// Where the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the nodes' memory: a process that ends has lost it.
    Memory,
    /// On a volume of each node.
    Disk {
        /// The size of each.
        bytes: u64,
        /// Claims go with the object.
        delete_with_object: bool,
        /// Claims go with their pod when the cluster shrinks.
        delete_when_scaled: bool,
    },
}

/// What all replicas are to agree on; 0 is "no limit" or "for ever", as `Admin` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Entries of a shard.
    pub max_entries_per_shard: u64,
    /// Bytes of a shard, for each number of nodes that share them: what stands at `n - 1` is for `n` nodes.
    pub max_bytes_per_shard: Vec<u64>,
    /// The life of keys that are set without one.
    pub default_ttl_ms: u64,
    /// How a full shard chooses what goes.
    pub eviction: Eviction,
    /// Migrations at a time.
    pub migration_concurrency: u32,
    /// Their bandwidth.
    pub migration_bytes_per_s: u64,
}

/// How pods are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// By whom.
    pub kind: UpdateKind,
    /// How long one pod may take.
    pub progress_deadline_ms: u64,
    /// No step is begun.
    pub paused: bool,
}

/// What is done about machines that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// How long a machine may be lost; `None` waits for ever.
    pub after_ms: Option<u64>,
    /// A volume on a machine that is gone is given up.
    pub replace_volumes: bool,
}

impl Intent {
    /// The intent of a spec, and of the annotations that ask for something.
    #[must_use]
    pub fn of(spec: &Validated, object: &ObjectView) -> Self {
        let validated::Update { kind, progress_deadline, paused } = spec.update;
        let validated::Repair { after, replace_volumes } = spec.repair;
        Self {
            replicas: spec.replicas,
            replication_factor: spec.replication_factor,
            storage: storage(&spec.storage),
            settings: settings(spec),
            migrations_paused: spec.migration.paused,
            update: Update { kind, progress_deadline_ms: millis(progress_deadline), paused },
            repair: Repair { after_ms: after.map(millis), replace_volumes },
            quorum_loss: spec.quorum_loss,
            paused: spec.paused,
            revision: revision(spec, object),
        }
    }
}

impl Settings {
    /// The bytes of a shard when so many nodes share them.
    #[must_use]
    pub fn bytes_for(&self, nodes: u32) -> u64 {
        let at = (nodes.max(1) as usize).min(self.max_bytes_per_shard.len());
        self.max_bytes_per_shard.get(at.saturating_sub(1)).copied().unwrap_or(0)
    }
}

/// The revision of the pods that a spec asks for.
///
/// It is a hash of what the user wrote and of the restart annotation, never of what this operator makes of it: an upgrade of
/// the operator alone changes no revision.
#[must_use]
pub fn revision(spec: &Validated, object: &ObjectView) -> String {
    let mut written = serde_json::to_value(&spec.written).unwrap_or(Value::Null);
    for path in LIVE {
        let Some((parent, key)) = path.rsplit_once('/') else { continue };
        if let Some(Value::Object(fields)) = written.pointer_mut(parent) {
            fields.remove(key);
        }
    }
    let mut text = String::new();
    canonical(&written, &mut text);
    text.push('\n');
    text.push_str(object.annotations.get(RESTARTED_AT).map_or("", String::as_str));
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// JSON with its keys in order and without what says nothing, whatever order this build's maps have.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !says_nothing(value)).collect();
            fields.sort_by(|one, other| one.0.cmp(other.0));
            out.push('{');
            for (key, value) in fields {
                out.push_str(key);
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

/// A null says something: only users write one, to take away what would be there.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

fn storage(storage: &validated::Storage) -> Storage {
    match storage {
        validated::Storage::Memory => Storage::Memory,
        validated::Storage::RocksDb(volume) => Storage::Disk {
            bytes: volume.size_bytes,
            delete_with_object: goes(volume.when_deleted),
            delete_when_scaled: goes(volume.when_scaled),
        },
    }
}

fn goes(retain: Retain) -> bool {
    match retain {
        Retain::Delete => true,
        Retain::Retain => false,
    }
}

fn settings(spec: &Validated) -> Settings {
    Settings {
        max_entries_per_shard: spec.max_entries_per_shard(),
        max_bytes_per_shard: (1..=spec.replicas).map(|nodes| spec.max_bytes_per_shard(nodes)).collect(),
        default_ttl_ms: spec.cache.default_ttl.map_or(0, millis),
        eviction: spec.cache.eviction,
        migration_concurrency: spec.migration.concurrency,
        migration_bytes_per_s: spec.migration.bytes_per_s.unwrap_or(0),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crema_crds::CremaClusterSpec;
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_empty_parts_change_nothing() {
        let text = |value: Value| {
            let mut out = String::new();
            canonical(&value, &mut out);
            out
        };
        assert_eq!(text(json!({"b": 1, "a": {"x": {}}, "c": ["z", {}]})), "{b:1,c:[\"z\",{},],}");
        assert_eq!(text(json!({"a": {"x": null}})), "{a:{x:null,},}");
        assert_eq!(text(json!({"c": ["z", {}], "b": 1})), text(json!({"b": 1, "c": ["z", {}], "d": {}})));
        assert_ne!(text(json!({"image": "crema:1"})), text(json!({"image": "crema:2"})));
    }

    fn revision_of(fields: &Value, restarted: Option<&str>) -> String {
        let mut whole = json!({ "image": "crema:1" });
        for (key, value) in fields.as_object().expect("an object") {
            whole[key] = value.clone();
        }
        let spec: CremaClusterSpec = serde_json::from_value(whole).expect("a spec that the schema allows");
        let restarted = restarted.map(|at| (RESTARTED_AT.to_owned(), at.to_owned()));
        let object = ObjectView {
            name: "cart".to_owned(),
            namespace: "shop".to_owned(),
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            generation: 1,
            deleting: false,
            annotations: restarted.into_iter().collect(),
        };
        let spec = crema_crds::validate(&spec, None).unwrap_or_else(|problems| panic!("{problems:?}"));
        revision(&spec, &object)
    }

    #[test]
    fn only_what_is_in_the_pods_is_in_the_revision() {
        let plain = revision_of(&json!({}), None);
        for live in [
            json!({ "replicas": 5 }),
            json!({ "replicationFactor": 1 }),
            json!({ "cache": { "maxEntries": 9, "defaultTtl": "1h", "eviction": "Lru" } }),
            json!({ "migration": { "paused": true, "concurrency": 2 } }),
            json!({ "update": { "type": "Manual", "paused": true } }),
            json!({ "repair": { "after": "0s" } }),
            json!({ "service": { "type": "LoadBalancer" } }),
            json!({ "podDisruptionBudget": false, "quorumLoss": "wait", "paused": true }),
            json!({ "monitoring": { "enabled": true } }),
        ] {
            assert_eq!(revision_of(&live, None), plain, "{live}");
        }
        for rolling in [
            json!({ "image": "crema:2" }),
            json!({ "logLevel": "debug" }),
            json!({ "raft": { "tick": "100ms" } }),
            json!({ "cache": { "maxMemory": "1Gi" } }),
            json!({ "resources": { "limits": { "memory": "2Gi" } } }),
            json!({ "nodeSelector": { "disk": "fast" } }),
            json!({ "pod": { "labels": { "team": "shop" } } }),
        ] {
            assert_ne!(revision_of(&rolling, None), plain, "{rolling}");
        }
        let restarted = revision_of(&json!({}), Some("today"));
        assert_ne!(restarted, plain);
        assert_ne!(restarted, revision_of(&json!({}), Some("tomorrow")));
    }

    #[test]
    fn a_shard_has_the_bytes_of_its_number_of_nodes() {
        let settings = Settings {
            max_entries_per_shard: 0,
            max_bytes_per_shard: vec![10, 20, 30],
            default_ttl_ms: 0,
            eviction: Eviction::TinyLfu,
            migration_concurrency: 4,
            migration_bytes_per_s: 0,
        };
        assert_eq!([0, 1, 2, 3, 9].map(|nodes| settings.bytes_for(nodes)), [10, 10, 20, 30, 30]);
    }
}
