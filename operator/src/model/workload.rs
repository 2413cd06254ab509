//! What Kubernetes says: the object, its StatefulSet, pods, claims, and the machines below.

use std::collections::BTreeMap;

use crema_crds::spec::UpdateKind;

use super::{Live, Ordinal};

/// The CremaCluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectView {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid: what it controls names this one.
    pub uid: String,
    /// Its version; what must be remembered before an act is written against it.
    pub resource_version: String,
    /// Rises with each change of the spec.
    pub generation: i64,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Who controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// This CremaCluster, or for a pod its StatefulSet.
    Ours,
    /// Nobody: it was orphaned, and may be adopted.
    Nobody,
    /// Something else, by its uid: it is never touched.
    Other(String),
}

/// The StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulSetView {
    /// What changes of it are bound to.
    pub live: Live,
    /// Who controls it.
    pub control: Control,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Who replaces pods, by `spec.updateStrategy.type`: `Manual` is `OnDelete`, which knows no partition.
    pub update: UpdateKind,
    /// `spec.updateStrategy.rollingUpdate.partition`; 0 without one.
    pub partition: u32,
    /// [`Intent::revision`](super::Intent::revision) of its template, from the template's annotation.
    pub revision: String,
    /// [`Intent::revision`](super::Intent::revision) of what pods below the partition are made from; `None` when not known.
    pub current: Option<String>,
    /// Its controller has seen this generation, and a pod below the partition would be made from this very template.
    pub settled: bool,
    /// What its claim template asks for; `None` without one.
    pub claim_bytes: Option<u64>,
}

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It has no machine, or its containers can't start, and why.
    Pending(String),
    /// It runs and is not ready.
    Starting,
    /// It runs and is ready.
    Ready,
    /// The node's container has terminated: its process is gone, and may be started again.
    Stopped(String),
    /// It has a deletion timestamp.
    Terminating,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// What changes of it are bound to.
    pub live: Live,
    /// Who controls it.
    pub control: Control,
    /// Which one it is.
    pub ordinal: Ordinal,
    /// How it is.
    pub state: PodState,
    /// Since when it is ready or not, Unix time.
    pub since_ms: u64,
    /// The machine it is bound to.
    pub machine: Option<String>,
    /// [`Intent::revision`](super::Intent::revision) of the template that it was made from.
    pub revision: String,
    /// The ConfigMap with its process settings.
    pub config: Option<String>,
}

/// A volume claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimView {
    /// What changes of it are bound to.
    pub live: Live,
    /// Whose it is.
    pub ordinal: Ordinal,
    /// The CremaCluster is among its owners: it goes when the object goes.
    pub owned: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// `spec.resources.requests.storage`.
    pub requested_bytes: u64,
    /// `status.capacity.storage`; 0 until it is bound.
    pub capacity_bytes: u64,
    /// Its storage class allows volumes to grow.
    pub growable: bool,
    /// The one machine that its volume can be used on.
    pub pinned_to: Option<String>,
}

/// A machine that runs pods, a `Node` of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its Ready condition is True.
    pub ready: bool,
    /// Since when that is so, Unix time.
    pub since_ms: u64,
    /// Its zone label.
    pub zone: Option<String>,
}

/// Another object with the operator's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedHash {
    /// Its kind, such as `ConfigMap`.
    pub kind: String,
    /// What changes of it are bound to.
    pub live: Live,
    /// Who controls it.
    pub control: Control,
    /// The hash of what was applied last, from its annotation; empty without one.
    pub hash: String,
    /// It is a ConfigMap with process settings, named by their hash.
    pub is_process_config: bool,
    /// A pod, the StatefulSet's template or one of its revisions refers to it.
    pub referred: bool,
}
