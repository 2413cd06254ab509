//! What can be seen of a node from outside: for `/status`, `/metrics`, `cremactl` and the simulator.

use super::{Node, group::Group, hashes::Health};
use crate::{
    consensus::Role,
    machine::store::EntryStore,
    types::{GroupId, LogIndex, NodeId, ReplicaId, Term},
};

/// Sums since the start; of one group, or of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Log entries proposed here.
    pub entries_proposed: u64,
    /// Commands in them.
    pub commands_proposed: u64,
    /// Commands applied here.
    pub commands_applied: u64,
    /// Linearizable reads that came to this replica.
    pub reads: u64,
    /// Evictions applied here.
    pub evictions: u64,
    /// Keys removed here because their time was over; begins anew when a snapshot takes the state's place.
    pub expirations: u64,
    /// How often this replica became leader.
    pub leader_changes: u64,
    /// Snapshots that other replicas got from here.
    pub snapshots_sent: u64,
    /// Snapshots that took this replica's state's place.
    pub snapshots_installed: u64,
}

/// One group as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The replica here.
    pub replica: ReplicaId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The node that leads.
    pub leader: Option<NodeId>,
    /// The highest committed index it knows.
    pub commit: LogIndex,
    /// What it has applied.
    pub applied: LogIndex,
    /// The end of its log.
    pub last: LogIndex,
    /// The log before this is gone.
    pub truncated: LogIndex,
    /// With a disk, the index of its newest checkpoint; where its log began, when there is none yet.
    pub checkpoint_index: LogIndex,
    /// Who votes.
    pub voters: Vec<ReplicaId>,
    /// Who learns.
    pub learners: Vec<ReplicaId>,
    /// On the leader, how far each replica's log matches.
    pub matches: Vec<(ReplicaId, NodeId, LogIndex)>,
    /// Whether it sleeps.
    pub asleep: bool,
    /// Keys here, expired ones that were not removed yet included.
    pub entries: u64,
    /// What they weigh.
    pub bytes: u64,
    /// The hash of the state at `applied`.
    pub state_hash: u128,
    /// Whether it serves.
    pub health: Health,
    /// What it did.
    pub counters: Counters,
}

impl<S: EntryStore> Node<S> {
    /// Every group of this worker that has a replica here.
    pub fn status(&self) -> impl Iterator<Item = GroupStatus> + '_ {
        self.groups.values().map(Group::status)
    }

    /// The groups with a replica here in which something has happened since the last call.
    pub fn take_changed_status(&mut self) -> Vec<GroupStatus> {
        let touched = std::mem::take(&mut self.touched);
        touched.iter().filter_map(|id| self.group_status(*id)).collect()
    }

    /// One group.
    #[must_use]
    pub fn group_status(&self, group: GroupId) -> Option<GroupStatus> {
        self.groups.get(&group).map(Group::status)
    }
}

impl<S: EntryStore> Group<S> {
    fn status(&self) -> GroupStatus {
        let standing = self.replica.standing();
        let conf = self.replica.conf();
        let ids = |ids: Vec<u64>| ids.into_iter().map(ReplicaId).collect();
        let at = |(replica, index)| Some((replica, *self.nodes.get(&replica)?, index));
        let matches = match standing.role {
            Role::Leader => self.replica.matches().into_iter().filter_map(at).collect(),
            Role::Follower | Role::Candidate => Vec::new(),
        };
        GroupStatus {
            group: self.id,
            replica: self.replica.config().replica,
            role: standing.role,
            term: standing.term,
            leader: self.leader_node(),
            commit: standing.commit,
            applied: self.applied(),
            last: standing.last,
            truncated: self.replica.truncated_to(),
            checkpoint_index: self.checkpoints.newest(),
            voters: ids(conf.voters),
            learners: ids(conf.learners),
            matches,
            asleep: self.is_asleep(),
            entries: self.machine().map_or(0, |machine| machine.len() as u64),
            bytes: self.machine().map_or(0, |machine| machine.weight_bytes()),
            state_hash: self.machine().map_or(0, |machine| machine.state_hash()),
            health: self.health.clone(),
            counters: Counters {
                expirations: self.machine().map_or(0, |machine| machine.expirations()),
                ..self.counters
            },
        }
    }
}
