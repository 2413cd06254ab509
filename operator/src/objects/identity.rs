//! Whose objects these are, and every name that follows from it.

use crema_crds::{GROUP, KIND, VERSION, names};
use serde_json::{Value, json};

/// Who manages the objects, as their label says.
const MANAGER: &str = "crema-operator";

/// The CremaCluster that objects are rendered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, which every object names as its owner.
    pub uid: String,
    /// The revision of its pods, as the planner has it.
    pub revision: String,
}

impl Identity {
    /// The StatefulSet, the service for clients, the service account and the budget.
    #[must_use]
    pub fn main(&self) -> String {
        self.name.clone()
    }

    /// The headless service, by which the nodes find each other.
    #[must_use]
    pub fn headless(&self) -> String {
        format!("{}-nodes", self.name)
    }

    /// The headless service in the DNS.
    #[must_use]
    pub fn domain(&self) -> String {
        format!("{}.{}.svc", self.headless(), self.namespace)
    }

    /// The pod of an ordinal.
    #[must_use]
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// The gRPC port of the node in the pod of an ordinal, as the other nodes and the operator reach it.
    #[must_use]
    pub fn address(&self, ordinal: u32) -> String {
        format!("{}.{}:{}", self.pod(ordinal), self.domain(), names::PEER_PORT.1)
    }

    /// The volume claim of an ordinal.
    #[must_use]
    pub fn claim(&self, ordinal: u32) -> String {
        format!("{}-{}", names::DATA_VOLUME, self.pod(ordinal))
    }

    /// The ConfigMap that keeps the last accepted spec.
    #[must_use]
    pub fn accepted(&self) -> String {
        format!("{}-accepted", self.name)
    }

    /// The secret with the token of `Admin`. It is made once by the operator and never rendered: it holds a random text.
    #[must_use]
    pub fn token_secret(&self) -> String {
        format!("{}-token", self.name)
    }

    /// What selects the cache pods, and only those. The labels of volume claims, too: they are the same for life.
    #[must_use]
    pub fn selector(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "crema",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": "cache",
        })
    }

    /// The selector as text, for status and lists.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let name = &self.name;
        format!("app.kubernetes.io/component=cache,app.kubernetes.io/instance={name},app.kubernetes.io/name=crema")
    }

    /// The labels of every object.
    #[must_use]
    pub fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "crema",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": "cache",
            "app.kubernetes.io/managed-by": MANAGER,
        })
    }

    /// The owner of every object: it goes when the CremaCluster goes, and never keeps it from going.
    #[must_use]
    pub fn owner(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": true,
        })
    }
}
