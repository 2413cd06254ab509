//! The names of checkpoint files: whose they are and of which index, so that a listing is enough to choose (pure).

use std::fmt;

use crate::types::{GroupId, LogIndex, ReplicaId};

const SUFFIX: &str = ".mcrs";

/// One checkpoint: of which replica, at which index. In the order of these.
///
/// The replica, not just its group: a ReplicaId is never used again, so what a destroyed replica has left can't be taken
/// for the state of its successor, not even in another life of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId {
    /// The group.
    pub group: GroupId,
    /// Its replica on this node.
    pub replica: ReplicaId,
    /// The last entry whose effects it holds.
    pub index: LogIndex,
}

impl CheckpointId {
    /// What the name of a published checkpoint says; `None` for any other name.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        match FileName::parse(name)? {
            FileName::Published(id) => Some(id),
            FileName::Draft(..) | FileName::Damaged(_) => None,
        }
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, replica, index } = self;
        write!(f, "checkpoint of {group}, replica {replica}, at entry {index}")
    }
}

/// A file of ours in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileName {
    /// `g4-r17-i1000.mcrs`: whole and durable.
    Published(CheckpointId),
    /// `g4-r17-i1000.mcrs.9.tmp`: being written, or left by a crash.
    Draft(CheckpointId, u64),
    /// `g4-r17-i1000.mcrs.damaged`: was published, and is no longer what was written.
    Damaged(CheckpointId),
}

impl FileName {
    /// Reads what `to_string` gives, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (stem, rest) = text.split_once(SUFFIX)?;
        let mut numbers = stem.split('-');
        let id = CheckpointId {
            group: GroupId(numbers.next()?.strip_prefix('g')?.parse().ok()?),
            replica: ReplicaId(numbers.next()?.strip_prefix('r')?.parse().ok()?),
            index: LogIndex(numbers.next()?.strip_prefix('i')?.parse().ok()?),
        };
        let name = match rest {
            "" => Self::Published(id),
            ".damaged" => Self::Damaged(id),
            rest => Self::Draft(id, rest.strip_prefix('.')?.strip_suffix(".tmp")?.parse().ok()?),
        };
        // Neither `+1` nor `01`: each file has one name.
        (name.to_string() == text).then_some(name)
    }

    pub(super) fn id(&self) -> CheckpointId {
        match self {
            Self::Published(id) | Self::Draft(id, _) | Self::Damaged(id) => *id,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckpointId { group, replica, index } = self.id();
        write!(f, "g{}-r{replica}-i{index}{SUFFIX}", group.0)?;
        match self {
            Self::Published(_) => Ok(()),
            Self::Draft(_, number) => write!(f, ".{number}.tmp"),
            Self::Damaged(_) => f.write_str(".damaged"),
        }
    }
}

#[test]
fn names_are_read_back_and_others_are_not_ours() {
    let id = CheckpointId { group: GroupId(4), replica: ReplicaId(17), index: LogIndex(u64::MAX) };
    for name in [FileName::Published(id), FileName::Draft(id, 9), FileName::Damaged(id)] {
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
    }
    assert_eq!(CheckpointId::of_file_name(&FileName::Published(id).to_string()), Some(id));
    assert_eq!(CheckpointId::of_file_name(&FileName::Damaged(id).to_string()), None);
    assert_eq!(FileName::Draft(id, 9).to_string(), "g4-r17-i18446744073709551615.mcrs.9.tmp");
    for other in [
        "",
        "g4-r17-i1000",
        "g4-r17.mcrs",
        "g4-r17-i1-x.mcrs",
        "g04-r17-i1000.mcrs",
        "g+4-r17-i1000.mcrs",
        "g4-r17-i1000.mcrs.tmp",
        "g4-r17-i1000.mcrs.mcrs",
        "g4-r17-i99999999999999999999.mcrs",
        "LOCK",
    ] {
        assert_eq!(FileName::parse(other), None, "{other}");
    }
    // By number, not by text.
    assert!(CheckpointId { index: LogIndex(9), ..id } < CheckpointId { index: LogIndex(10), ..id });
}
