//! One object, ready for server-side apply.

use crema_crds::yaml;
use serde_json::{Value, json};

use super::{HASH, Identity};

/// A kind that the operator renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who the pods are.
    ServiceAccount,
    /// Settings, or the last accepted spec.
    ConfigMap,
    /// A name in the DNS.
    Service,
    /// The pods.
    StatefulSet,
    /// How many pods a drain of machines may take.
    PodDisruptionBudget,
    /// What Prometheus's operator is told.
    ServiceMonitor,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Service,
        Self::StatefulSet,
        Self::PodDisruptionBudget,
        Self::ServiceMonitor,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::StatefulSet => "StatefulSet",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::ServiceMonitor => "ServiceMonitor",
        }
    }

    /// In the paths of the API.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::ConfigMap => "configmaps",
            Self::Service => "services",
            Self::StatefulSet => "statefulsets",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::ServiceMonitor => "servicemonitors",
        }
    }

    /// Its group; empty for the core.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::ServiceAccount | Self::ConfigMap | Self::Service => "",
            Self::StatefulSet => "apps",
            Self::PodDisruptionBudget => "policy",
            Self::ServiceMonitor => "monitoring.coreos.com",
        }
    }

    /// The versions that what is rendered is right in, the best first: the first that the server has is taken.
    #[must_use]
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::PodDisruptionBudget => &["v1", "v1beta1"],
            Self::ServiceAccount | Self::ConfigMap | Self::Service | Self::StatefulSet | Self::ServiceMonitor => {
                &["v1"]
            }
        }
    }

    /// Whether a spec can ask for none of it: one that is there all the same is then deleted.
    #[must_use]
    pub fn is_optional(self) -> bool {
        match self {
            Self::PodDisruptionBudget | Self::ServiceMonitor => true,
            Self::ServiceAccount | Self::ConfigMap | Self::Service | Self::StatefulSet => false,
        }
    }
}

/// One object, ready for server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// All of it but `apiVersion`, which depends on the server, and `kind`.
    pub body: Value,
    /// Sums up the body as a spec alone gives it; in its annotation [`HASH`], too. What the methods below say is not in it.
    pub hash: String,
}

impl Rendered {
    /// An object of ours: `body` has whatever is not metadata, `metadata` the labels and annotations beyond those of all.
    pub(super) fn new(kind: Kind, name: String, identity: &Identity, metadata: &Value, mut body: Value) -> Self {
        let mut whole = json!({
            "name": name,
            "namespace": identity.namespace,
            "labels": identity.labels(),
            "ownerReferences": [identity.owner()],
        });
        put_over(&mut whole, metadata);
        body["metadata"] = whole;
        let hash = hash(&yaml::to_string(&body));
        body["metadata"]["annotations"][HASH] = hash.clone().into();
        Self { kind, name, body, hash }
    }

    /// The object as it is sent to a server that has this version of its kind.
    #[must_use]
    pub fn manifest(&self, version: &str) -> Value {
        let group = self.kind.group();
        let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let mut manifest = self.body.clone();
        manifest["apiVersion"] = version.into();
        manifest["kind"] = self.kind.name().into();
        manifest
    }

    /// The StatefulSet with so many pods, of which those from the partition on have the new template. With an update
    /// strategy that knows no partition only the number counts.
    #[must_use]
    pub fn with_scale(mut self, replicas: u32, partition: u32) -> Self {
        assert_eq!(self.kind, Kind::StatefulSet, "only a StatefulSet is scaled");
        self.body["spec"]["replicas"] = replicas.into();
        if let Some(rolling) = self.body.pointer_mut("/spec/updateStrategy/rollingUpdate") {
            rolling["partition"] = partition.into();
        }
        self
    }

    /// The StatefulSet with the claim size that the one which exists has, as that writes it: a claim template can't be
    /// changed, so a new pod template must not wait for the volumes to have grown.
    #[must_use]
    pub fn with_claim_size(mut self, size: &str) -> Self {
        assert_eq!(self.kind, Kind::StatefulSet, "only a StatefulSet has a claim template");
        if let Some(storage) = self.body.pointer_mut("/spec/volumeClaimTemplates/0/spec/resources/requests/storage") {
            *storage = size.into();
        }
        self
    }

    /// The PodDisruptionBudget that lets so many pods go.
    #[must_use]
    pub fn with_budget(mut self, max_unavailable: u32) -> Self {
        assert_eq!(self.kind, Kind::PodDisruptionBudget, "only a PodDisruptionBudget has a budget");
        self.body["spec"]["maxUnavailable"] = max_unavailable.into();
        self
    }
}

/// Puts one value over another: objects field by field, `null` takes a field away, everything else replaces.
pub(super) fn put_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                if value.is_null() {
                    below.remove(key);
                } else {
                    put_over(below.entry(key.clone()).or_insert_with(|| empty_like(value)), value);
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// What a value is put over where nothing is: an object's own nulls must not get in.
fn empty_like(value: &Value) -> Value {
    if value.is_object() { json!({}) } else { Value::Null }
}

/// A short sum of a text, for names and annotations; nothing is trusted to it.
pub(super) fn hash(text: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_over_wins_field_by_field() {
        let mut value = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [4] });
        put_over(&mut value, &json!({ "b": { "c": null, "f": 5 }, "e": [], "g": { "h": null, "i": 6 } }));
        assert_eq!(value, json!({ "a": 1, "b": { "d": 3, "f": 5 }, "e": [], "g": { "i": 6 } }));
    }
}
