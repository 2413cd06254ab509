//! A batch: operations of one client call on one group, which take effect in their order.

use crate::{
    error::Error,
    machine::command::{Command, Op, Outcome},
    types::{GroupId, NodeId},
};

/// Names a local client's call; chosen by the caller of [`super::Node::input`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Whom the answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Local(Ticket),
    /// Another node forwarded it on this session, under this sequence number.
    Remote {
        node: NodeId,
        session: u64,
        sequence: u64,
    },
}

/// Operations on one group, and who waits for them.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) origin: Origin,
    pub(super) group: GroupId,
    pub(super) ops: Vec<Op>,
    /// On this process's monotonic clock.
    pub(super) deadline_ms: u64,
    /// Not to be tried again before this tick: the last try just bounced.
    pub(super) hold_until_tick: u64,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Answer {
    Done(Vec<Outcome>),
    /// It is in no log and never will be: it may be tried elsewhere.
    NotApplied {
        leader: Option<NodeId>,
    },
    Failed(Error),
}

impl Batch {
    /// Whether it can be answered without the log.
    pub(super) fn is_read_only(&self) -> bool {
        self.ops.iter().all(|op| matches!(op, Op::Read(_)))
    }

    /// Whether it may make the shard larger (PROTOCOL 8: such writes are held back in a shard that is too full).
    pub(super) fn may_grow(&self) -> bool {
        self.ops.iter().any(|op| match op {
            Op::Read(_) => false,
            Op::Write(command) => grows(command),
        })
    }

    /// Its operations as commands of a log entry: reads among writes are judged at the same position.
    pub(super) fn commands(&self) -> impl Iterator<Item = Command> + '_ {
        self.ops.iter().map(|op| match op {
            Op::Read(query) => Command::Read(query.clone()),
            Op::Write(command) => command.clone(),
        })
    }

    /// What its client is told when its time runs out while it is in no log.
    pub(super) fn too_late(&self, why: &str) -> Answer {
        Answer::Failed(Error::Unavailable { reason: format!("{}: {why}", self.group) })
    }
}

fn grows(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::Increment { .. }
        | Command::IncrementFloat { .. }
        | Command::Append { .. }
        | Command::SetRange { .. } => true,
        Command::Copy { remove_source, .. } => !remove_source,
        Command::Delete { .. }
        | Command::Take { .. }
        | Command::Expire { .. }
        | Command::Touch { .. }
        | Command::Flush
        | Command::Read(_) => false,
        Command::Guarded { commands: parts, .. } | Command::Batch(parts) => parts.iter().any(grows),
    }
}
