//! What must not be forgotten between two passes, though neither Kubernetes nor the cache knows it. It lives in the status.
//!
//! It is a hint to be checked, never the authority: a status that was wiped, as a restore does, costs a wait, not data.

use crema_crds::{
    CremaClusterStatus,
    status::{self, RollStatus},
};

use super::{ClusterUid, Ordinal};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// How far the forming of the cluster is.
    pub formation: Formation,
    /// The rolling change that was begun last.
    pub roll: Option<RollMemory>,
    /// Written before the member of this pod is removed: from then on the StatefulSet shrinks by this pod before it grows.
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
        /// When its step had begun, Unix time.
        since_ms: u64,
    },
}

impl Memory {
    /// What a status remembers. What can't be understood is as good as forgotten: the pods are asked again.
    #[must_use]
    pub fn read(status: &CremaClusterStatus) -> Self {
        let formation = status.formation.as_ref().map_or(Formation::Unknown, Formation::read);
        let shrink = status.shrink.and_then(|ordinal| u32::try_from(ordinal).ok()).map(Ordinal);
        Self { formation, roll: status.roll.as_ref().and_then(RollMemory::read), shrink }
    }

    /// Puts it into a status, whatever that remembered before.
    pub fn write(&self, status: &mut CremaClusterStatus) {
        let Self { formation, roll, shrink } = self;
        status.formation = formation.written();
        status.cluster_id = match formation {
            Formation::Unknown | Formation::Forming { .. } => None,
            Formation::Formed { id } => Some(id.0.clone()),
        };
        status.roll = roll.as_ref().map(RollMemory::written);
        status.shrink = shrink.map(|Ordinal(ordinal)| number(ordinal));
    }

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

impl Formation {
    fn read(written: &status::Formation) -> Self {
        let status::Formation { phase, id, replaces } = written;
        let id = ClusterUid(id.clone());
        match phase.as_str() {
            status::Formation::FORMING => Self::Forming { id, replaces: replaces.clone().map(ClusterUid) },
            status::Formation::FORMED => Self::Formed { id },
            _ => Self::Unknown,
        }
    }

    fn written(&self) -> Option<status::Formation> {
        let (phase, id, replaces) = match self {
            Self::Unknown => return None,
            Self::Forming { id, replaces } => (status::Formation::FORMING, id, replaces.as_ref()),
            Self::Formed { id } => (status::Formation::FORMED, id, None),
        };
        let replaces = replaces.map(|uid| uid.0.clone());
        Some(status::Formation { phase: phase.to_owned(), id: id.0.clone(), replaces })
    }
}

impl RollMemory {
    fn read(written: &RollStatus) -> Option<Self> {
        let RollStatus { revision, ordinal, since_ms, failed } = written;
        let (ordinal, since_ms) = (Ordinal(u32::try_from(*ordinal).ok()?), u64::try_from(*since_ms).ok()?);
        let step = if *failed { Step::Failed { ordinal, since_ms } } else { Step::At { ordinal, since_ms } };
        Some(Self { revision: revision.clone(), step })
    }

    fn written(&self) -> RollStatus {
        let (Ordinal(ordinal), since_ms, failed) = match self.step {
            Step::At { ordinal, since_ms } => (ordinal, since_ms, false),
            Step::Failed { ordinal, since_ms } => (ordinal, since_ms, true),
        };
        let since_ms = i64::try_from(since_ms).unwrap_or(i64::MAX);
        RollStatus { revision: self.revision.clone(), ordinal: number(ordinal), since_ms, failed }
    }
}

fn number(ordinal: u32) -> i32 {
    i32::try_from(ordinal).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let uid = |name: &str| ClusterUid(name.to_owned());
        let roll = |step| Some(RollMemory { revision: "r2".to_owned(), step });
        let at = Step::At { ordinal: Ordinal(2), since_ms: 7 };
        let failed = Step::Failed { ordinal: Ordinal(0), since_ms: 9 };
        let forming = Formation::Forming { id: uid("new"), replaces: Some(uid("old")) };
        for memory in [
            Memory::default(),
            Memory { formation: forming, roll: None, shrink: None },
            Memory { formation: Formation::Formed { id: uid("c") }, roll: roll(at), shrink: Some(Ordinal(4)) },
            Memory { formation: Formation::Unknown, roll: roll(failed), shrink: None },
        ] {
            // Whatever was there before is gone.
            let mut status = CremaClusterStatus { shrink: Some(1), ..CremaClusterStatus::default() };
            memory.write(&mut status);
            assert_eq!(Memory::read(&status), memory);
        }
    }

    #[test]
    fn a_phase_of_tomorrow_is_asked_about_again() {
        let formation = status::Formation { phase: "Waxing".to_owned(), id: "c".to_owned(), replaces: None };
        let status = CremaClusterStatus { formation: Some(formation), ..CremaClusterStatus::default() };
        assert_eq!(Memory::read(&status).formation, Formation::Unknown);
    }
}
