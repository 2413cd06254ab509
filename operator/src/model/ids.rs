//! Names and numbers that must not be mixed up.

use std::fmt;

/// The number at the end of a pod's name, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The member that runs in the pod of this ordinal.
    #[must_use]
    pub fn node(self) -> NodeId {
        NodeId(u64::from(self.0) + 1)
    }
}

/// A member of the cache, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The pod it runs in; `None` for a number that no pod of a StatefulSet can have.
    #[must_use]
    pub fn ordinal(self) -> Option<Ordinal> {
        u32::try_from(self.0.checked_sub(1)?).ok().map(Ordinal)
    }

    /// Whether it belongs to a pod that a StatefulSet of so many replicas doesn't have.
    #[must_use]
    pub fn is_beyond(self, replicas: u32) -> bool {
        self.0 > u64::from(replicas)
    }
}

/// One life of a member's data: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub String);

/// The identity of a formed cluster: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterUid(pub String);

/// The version of a cluster map; a change that expects another one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapVersion(pub u64);

/// One Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The one that holds the cluster map.
    Meta,
    /// The one of a shard.
    Shard(u32),
}

/// One object of the API server as it was when it was read: what a change of it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// Its uid: a namesake that was made later has another.
    pub uid: String,
    /// Its version: any later change gives another.
    pub resource_version: String,
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ClusterUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MapVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("the meta group"),
            Self::Shard(shard) => write!(f, "shard {shard}"),
        }
    }
}
