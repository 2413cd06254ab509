//! Snapshots that come in: checked, built beside the state that is here, and put in its place when raft-rs says so
//! (PROTOCOL 13, 17). With a disk that is once the log that goes on from it is synced.

use crema_api::v1;

use super::{
    Node,
    checkpoints::Checkpoints,
    conf::conf_from_wire,
    group::{Env, Group, State, Waiting},
};
use crate::{
    checkpoint,
    cluster::map::ClusterMap,
    consensus::SnapshotPoint,
    machine::{
        Machine,
        store::{Entry, EntryStore},
    },
    types::{GroupId, LogIndex, NodeId, ReplicaId, Term, Timestamp},
};

/// A snapshot that came in.
#[derive(Debug)]
pub struct ReceivedSnapshot {
    /// Who sent it.
    pub from: NodeId,
    /// The message that announced it.
    pub message: v1::RaftMessage,
    /// What its head says.
    pub head: checkpoint::Head,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// A whole state that came in, with the configuration as of it.
pub(super) struct Staged<S> {
    point: SnapshotPoint,
    state: StagedState<S>,
    conf_version: u64,
    peers: Vec<checkpoint::Peer>,
}

enum StagedState<S> {
    Shard(Box<Machine<S>>),
    Meta { map: Box<ClusterMap>, log_time: Timestamp },
}

impl<S: EntryStore> Node<S> {
    pub(super) fn on_snapshot(&mut self, snapshot: ReceivedSnapshot) {
        let ReceivedSnapshot { from, message, head, entries } = snapshot;
        let id = GroupId(message.group);
        let Some(group) = self.groups.get_mut(&id).filter(|group| group.own() == ReplicaId(message.to)) else {
            return self.say_gone(from, &message);
        };
        group.meet(ReplicaId(message.from), from);
        if group.health.is_stopped()
            || !super::apply::is_fenced(group, from, &message)
            || !group.expects(&head, &message)
        {
            return;
        }
        // One at a time goes to the disk; who sent this one is told how far this replica is when that is there.
        if group.replica.is_installing() {
            return;
        }
        // What raft would not take is not built. It answers with how far this replica is.
        if head.machine.applied <= group.applied() {
            return self.step_snapshot(id, from, message);
        }
        let staged = match self.stage(&self.groups[&id], head, entries) {
            Ok(staged) => staged,
            Err(error) => {
                tracing::error!(group = %id, %from, error, "a snapshot is not what its head says; dropped");
                return;
            }
        };
        let Some(group) = self.groups.get_mut(&id) else { return };
        let point = staged.point;
        let before = group.snapshots.staged.replace(staged);
        self.step_snapshot(id, from, message);
        // Only what raft has taken stays: another one may be waiting for it already.
        if let Some(group) = self.groups.get_mut(&id)
            && group.replica.pending_snapshot() != Some(point)
        {
            group.snapshots.staged = before;
        }
    }

    /// Builds the state that a snapshot brings, beside the one that is here.
    fn stage(&self, group: &Group<S>, head: checkpoint::Head, entries: Vec<Entry>) -> Result<Staged<S>, String> {
        let point = SnapshotPoint { index: head.machine.applied.0, term: head.term.0 };
        let state = match (&group.state, head.map) {
            (State::Shard(machine), None) => {
                let mut restored = Machine::restore(machine.store().fresh(), &head.machine, entries.into_iter())
                    .map_err(|error| error.to_string())?;
                restored.set_faults(self.config.faults);
                restored.set_hash_interval(self.config.limits.hash_interval);
                StagedState::Shard(Box::new(restored))
            }
            (State::Meta(_), Some(map)) if entries.is_empty() => {
                let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
                if map.uid != group.uid {
                    return Err(format!("its map is of cluster {}", map.uid));
                }
                StagedState::Meta { map: Box::new(map), log_time: head.machine.log_time }
            }
            (State::Shard(_), Some(_)) => return Err("a shard with a cluster map".to_owned()),
            (State::Meta(_), _) => return Err("a meta group with entries or without a map".to_owned()),
        };
        Ok(Staged { point, state, conf_version: head.conf_version, peers: head.peers })
    }

    fn step_snapshot(&mut self, id: GroupId, from: NodeId, message: v1::RaftMessage) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.note_message(ReplicaId(message.from));
        if let Err(reason) = group.replica.step(message) {
            tracing::debug!(group = %id, %from, reason, "raft did not take a snapshot");
        }
        self.dirty.insert(id);
    }
}

impl<S: EntryStore> Group<S> {
    /// raft-rs took the staged snapshot: it is the state now. Waiters at or below it can't know what they did.
    pub(super) fn install(&mut self, point: SnapshotPoint, env: &mut Env<'_>) {
        let Some(staged) = self.snapshots.staged.take().filter(|staged| staged.point == point) else {
            let reason = format!("{}: the snapshot at entry {} was not staged", self.id, point.index);
            return self.stop(reason, env);
        };
        let Staged { point: _, state, conf_version, peers } = staged;
        self.abandon_checkpoint(env);
        self.offer_no_snapshot();
        self.checkpoints = Checkpoints::new(LogIndex(point.index), LogIndex(point.index));
        match (state, &mut self.state) {
            (StagedState::Shard(machine), state) => {
                self.last_stamp = self.last_stamp.max(machine.log_time());
                *state = State::Shard(machine);
            }
            (StagedState::Meta { map, log_time }, State::Meta(meta)) => {
                self.last_stamp = self.last_stamp.max(log_time);
                meta.restore(LogIndex(point.index), log_time, *map);
            }
            (StagedState::Meta { .. }, State::Shard(_)) => {
                return self.stop(format!("{}: a snapshot of the meta group", self.id), env);
            }
        }
        self.counters.snapshots_installed += 1;
        self.publish();
        self.replica.applied(self.applied());
        (self.conf_version, self.peer_table) = (conf_version, peers);
        self.read_conf();
        self.on_new_conf(env);
        self.lose_changes(self.applied(), "a snapshot took the place of the log entry", env);
        let later = self.waiters.split_off(&(self.applied().next(), Term(0)));
        for ((index, _), waiting) in std::mem::replace(&mut self.waiters, later) {
            for Waiting { batch, .. } in waiting {
                env.out.unknown(batch, index, "a snapshot took the place of the log entry", env.config.faults);
            }
        }
    }

    /// Whether a snapshot is of this group's life and is the one that the message announces.
    fn expects(&self, head: &checkpoint::Head, message: &v1::RaftMessage) -> bool {
        let Some(meta) = &message.snapshot else { return false };
        head.cluster == self.uid
            && head.group == self.id
            && head.generation == self.generation
            && head.machine.applied.0 == meta.index
            && head.term.0 == meta.term
            // Raft takes the one, the group's state the other.
            && meta.conf.as_ref().is_some_and(|conf| same_members(&conf_from_wire(conf), &head.conf))
    }
}

/// Whether two configurations are the same, whatever the order in which they name their members.
fn same_members(one: &checkpoint::ConfState, other: &checkpoint::ConfState) -> bool {
    let sorted = |conf: &checkpoint::ConfState| {
        let mut conf = conf.clone();
        let lists = [&mut conf.voters, &mut conf.learners, &mut conf.voters_outgoing, &mut conf.learners_next];
        lists.into_iter().for_each(|list| list.sort_unstable());
        conf
    };
    sorted(one) == sorted(other)
}
