//! What must not be forgotten between two passes, though neither Kubernetes nor the cache knows it. It lives in the status.
//!
//! It is a hint to be checked, never the authority: a status that was wiped, as a restore does, costs a wait, not data.

use super::{ClusterUid, Ordinal};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// How far the forming of the cluster is.
    pub formation: Formation,
    /// The rolling change that was begun last.
    pub roll: Option<RollMemory>,
    /// The pod whose member is being removed: the StatefulSet shrinks to this many replicas before anything else.
    pub shrink: Option<Ordinal>,
}

/// How far the forming of the cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Formation {
    /// Nothing is known: a new object, one that was made again, or a status that was wiped.
    #[default]
    Unknown,
    /// `Init` may have been sent, and may be repeated, with this id and no other.
    Forming {
        /// The cluster to be.
        id: ClusterUid,
        /// The cluster that it takes the place of: its last members are to be emptied.
        replaces: Option<ClusterUid>,
    },
    /// A majority of its meta group has confirmed it.
    Formed {
        /// The cluster.
        id: ClusterUid,
    },
}

/// A rolling change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollMemory {
    /// The revision that is being rolled out.
    pub revision: String,
    /// How far it is.
    pub step: Step,
}

/// The step of a rolling change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This pod is the one that is being replaced.
    At {
        /// The pod.
        ordinal: Ordinal,
        /// When its step began, Unix time.
        since_ms: u64,
    },
    /// This pod missed its deadline: nothing more is rolled until the spec changes.
    Failed {
        /// The pod.
        ordinal: Ordinal,
    },
}

impl Memory {
    /// The cluster's id, once it has one.
    #[must_use]
    pub fn cluster_uid(&self) -> Option<&ClusterUid> {
        match &self.formation {
            Formation::Unknown => None,
            Formation::Forming { id, .. } | Formation::Formed { id } => Some(id),
        }
    }

    /// This memory with another state of forming.
    #[must_use]
    pub fn with_formation(&self, formation: Formation) -> Self {
        Self { formation, ..self.clone() }
    }

    /// This memory with another step of a roll.
    #[must_use]
    pub fn with_roll(&self, roll: Option<RollMemory>) -> Self {
        Self { roll, ..self.clone() }
    }

    /// This memory with another shrinking.
    #[must_use]
    pub fn with_shrink(&self, shrink: Option<Ordinal>) -> Self {
        Self { shrink, ..self.clone() }
    }
}
