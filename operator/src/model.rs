//! What the operator reasons about: plain types of what is wanted, what was seen, and what it must not forget.
//!
//! `observe` fills [`Observed`] and the planner reads it. Nothing here knows an API server or a socket, a clock or chance:
//! the time and the draw of a pass are fields.

mod cluster;
mod ids;
mod intent;
mod memory;
mod workload;

use crema_crds::{CremaClusterStatus, validate::Accepted};

pub use cluster::{
    Answer, ClusterView, GroupView, MapView, MemberState, MemberView, MigrationView, SettingsView, VoterView,
};
pub use ids::{ClusterUid, Group, Incarnation, Live, MapVersion, NodeId, Ordinal};
pub use intent::{Intent, Repair, Settings, Storage, Update, revision};
pub use memory::{Formation, Memory, RollMemory, Step};
pub use workload::{ClaimView, Control, NodeView, ObjectView, OwnedHash, PodState, PodView, StatefulSetView};

/// One look at a CremaCluster and all that belongs to it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The object itself.
    pub object: ObjectView,
    /// The last spec that was found valid, from the ConfigMap that keeps it.
    pub accepted: Option<Accepted>,
    /// The StatefulSet of the object's name, whoever controls it.
    pub sts: Option<StatefulSetView>,
    /// The pods that carry the selector's labels, whoever controls them.
    pub pods: Vec<PodView>,
    /// The volume claims of the StatefulSet's template, those of ordinals that are gone included.
    pub claims: Vec<ClaimView>,
    /// The nodes of Kubernetes; `None` when the operator may not read them.
    pub k8s_nodes: Option<Vec<NodeView>>,
    /// What the cache's own nodes say.
    pub cluster: ClusterView,
    /// Objects that carry the operator's label for this cluster, beside pods and claims.
    pub owned: Vec<OwnedHash>,
    /// Wall clock of this pass, Unix time.
    pub now_ms: u64,
    /// A fresh random cluster id, used only if this pass decides to form a cluster.
    pub draw: ClusterUid,
    /// What the status said.
    pub status: CremaClusterStatus,
    /// What the status remembers for the planner: [`Memory::read`] of it.
    pub memory: Memory,
}
