//! The meta group's state machine: the cluster map, and whoever waits for a change of it.
//!
//! One entry of its log is one [`MetaCommand`]. A change is answered when its entry is applied, by (index, term) as the
//! batches of shards are (PROTOCOL 1): what was in a log and is not seen applied by its deadline is unknown.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    batch::Ticket,
    group::{Env, Group},
    out::Out,
};
use crate::{
    cluster::{
        command::{self, MetaCommand, MetaRecord, Refused, ShardReset},
        map::{ClusterMap, ReplicaAt},
    },
    faults::{Fault, Faults},
    machine::store::EntryStore,
    multiraft::govern::GovernError,
    types::{LogIndex, Term, Timestamp},
};

/// Entries of the meta group that are proposed and not committed yet.
const MAX_INFLIGHT_ENTRIES: u64 = 16;
/// Changes that wait for a leader that can propose them; more are answered at once.
const MAX_QUEUED: usize = 256;

/// Who is told what became of a change; `None` for the leader's own.
type Asker = Option<Ticket>;

/// A change that is in no log yet.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) asker: Asker,
    pub(super) command: MetaCommand,
    pub(super) expected_version: Option<u64>,
    pub(super) deadline_ms: u64,
}

/// A change in an entry of this replica's log.
#[derive(Debug)]
struct Pending {
    asker: Asker,
    deadline_ms: u64,
}

/// The map as of one position of the log.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) applied: LogIndex,
    /// The highest stamp so far.
    pub(super) log_time: Timestamp,
    pub(super) map: Arc<ClusterMap>,
    queue: VecDeque<Change>,
    pending: BTreeMap<(LogIndex, Term), Vec<Pending>>,
}

impl Meta {
    /// Nothing applied yet; `map` is what the log begins with, or what this node was told of until it has a snapshot.
    pub(super) fn new(map: Arc<ClusterMap>) -> Self {
        Self { applied: LogIndex(0), log_time: Timestamp(0), map, queue: VecDeque::new(), pending: BTreeMap::new() }
    }

    pub(super) fn apply_empty(&mut self, index: LogIndex) {
        assert_eq!(index, self.applied.next(), "an entry of the meta group was lost or doubled");
        self.applied = index;
    }

    /// A snapshot takes the state's place; who waits goes on waiting.
    pub(super) fn restore(&mut self, applied: LogIndex, log_time: Timestamp, map: ClusterMap) {
        (self.applied, self.log_time, self.map) = (applied, log_time, Arc::new(map));
    }

    /// Applies one committed entry; the outer error stops the replica (PROTOCOL 5).
    fn apply(
        &mut self,
        index: LogIndex,
        data: &Bytes,
        faults: Faults,
    ) -> Result<(Timestamp, Result<(), Refused>), String> {
        let record = command::decode(data)
            .map_err(|error| format!("meta group entry {index} can't be applied and is not skipped: {error}"))?;
        let MetaRecord { stamp, expected_version, command } = record;
        self.apply_empty(index);
        self.log_time = self.log_time.max(stamp);
        let mut map = ClusterMap::clone(&self.map);
        let done = command::apply(&mut map, self.log_time.0, expected_version, &command);
        if faults.has(Fault::LostShardKeepsSurvivor) && done.is_ok() {
            keep_survivors(&self.map, &mut map, &command);
        }
        match &done {
            Ok(()) if map.version != self.map.version => {
                tracing::info!(version = map.version, ?command, "the cluster map changed");
                self.map = Arc::new(map);
            }
            Ok(()) => {}
            Err(refused) => tracing::debug!(%refused, ?command, "a change of the cluster map was refused"),
        }
        Ok((stamp, done))
    }

    pub(super) fn submit(&mut self, change: Change, out: &mut Out) {
        if self.queue.len() >= MAX_QUEUED {
            let reason = "too many changes wait".to_owned();
            return out.governed(change.asker, Err(GovernError::Unavailable(reason)));
        }
        self.queue.push_back(change);
    }

    /// Whether a change that the leader made by itself is on its way.
    pub(super) fn has_own_changes(&self) -> bool {
        self.queue.iter().any(|change| change.asker.is_none())
            || self.pending.values().flatten().any(|pending| pending.asker.is_none())
    }

    /// Whether anybody waits for a change.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.pending.is_empty()
    }

    /// Answers whoever waited for this entry or for another one in its place.
    fn answer(&mut self, index: LogIndex, term: Term, done: Option<&Result<(), Refused>>, out: &mut Out) {
        let later = self.pending.split_off(&(index.next(), Term(0)));
        for ((_, proposed), pending) in std::mem::replace(&mut self.pending, later) {
            for Pending { asker, .. } in pending {
                let result = match done {
                    Some(Ok(())) if proposed == term => Ok(self.map.clone()),
                    Some(Err(refused)) if proposed == term => Err(refused.clone().into()),
                    // Another leader's entry stands there: this one is in no log any more.
                    _ => Err(GovernError::NotLeader(None)),
                };
                out.governed(asker, result);
            }
        }
    }

    fn expire(&mut self, now_ms: u64, out: &mut Out) {
        let is_late = |change: &Change| change.deadline_ms <= now_ms;
        let (late, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue).into_iter().partition(is_late);
        self.queue = rest.into();
        for change in late {
            let reason = "its leader could not propose the change in time".to_owned();
            out.governed(change.asker, Err(GovernError::Unavailable(reason)));
        }
        for pending in self.pending.values_mut() {
            for Pending { asker, .. } in pending.extract_if(.., |pending| pending.deadline_ms <= now_ms) {
                out.governed(asker, Err(GovernError::Unknown("no quorum confirmed it in time".to_owned())));
            }
        }
        self.pending.retain(|_, pending| !pending.is_empty());
    }

    fn unknown_up_to(&mut self, index: LogIndex, reason: &str, out: &mut Out) {
        let later = self.pending.split_off(&(index.next(), Term(0)));
        for Pending { asker, .. } in std::mem::replace(&mut self.pending, later).into_values().flatten() {
            out.governed(asker, Err(GovernError::Unknown(reason.to_owned())));
        }
    }
}

/// The planted bug: whoever is still there goes on as what it was, with its log, beside those that begin anew.
fn keep_survivors(before: &ClusterMap, map: &mut ClusterMap, command: &MetaCommand) {
    let MetaCommand::ResetShards { shards, .. } = command else { return };
    for ShardReset { group, .. } in shards {
        let (Some(old), Some(set)) = (before.groups.get(group), map.groups.get_mut(group)) else { continue };
        set.generation = old.generation;
        for at in set.replicas.iter_mut().chain(&mut set.founders) {
            let is_it = |was: &&ReplicaAt| (was.node, was.incarnation) == (at.node, at.incarnation);
            at.replica = old.replicas.iter().find(is_it).map_or(at.replica, |was| was.replica);
        }
    }
}

impl<S: EntryStore> Group<S> {
    /// Puts queued changes into the log.
    pub(super) fn propose_changes(&mut self, env: &mut Env<'_>) {
        while self.replica.takes_proposals() {
            let standing = self.replica.standing();
            if standing.last.0 - standing.commit.0 >= MAX_INFLIGHT_ENTRIES {
                return;
            }
            let Some(change) = self.meta_mut().and_then(|meta| meta.queue.pop_front()) else { return };
            let stamp = env.clock.stamp(self.last_stamp, env.now);
            let data = command::encode(stamp, change.expected_version, &change.command);
            let proposed = self.replica.propose(data);
            let Some(meta) = self.meta_mut() else { return };
            let Ok(place) = proposed else { return meta.queue.push_front(change) };
            let Change { asker, deadline_ms, .. } = change;
            meta.pending.entry(place).or_default().push(Pending { asker, deadline_ms });
            self.last_stamp = stamp;
            self.counters.entries_proposed += 1;
            self.counters.commands_proposed += 1;
            self.stir();
        }
    }

    /// One committed change of the map. The error stops the replica.
    pub(super) fn apply_change(
        &mut self,
        index: LogIndex,
        term: Term,
        data: &Bytes,
        env: &mut Env<'_>,
    ) -> Result<(), String> {
        let Some(meta) = self.meta_mut() else { return Err("a change of the map in a shard".to_owned()) };
        let (stamp, done) = meta.apply(index, data, env.config.faults)?;
        meta.answer(index, term, Some(&done), env.out);
        self.last_stamp = self.last_stamp.max(stamp);
        self.counters.commands_applied += 1;
        Ok(())
    }

    /// An entry of Raft's own has taken this position.
    pub(super) fn pass_changes(&mut self, index: LogIndex, term: Term, env: &mut Env<'_>) {
        if let Some(meta) = self.meta_mut() {
            meta.answer(index, term, None, env.out);
        }
    }

    /// Changes that are in no log go to whoever leads now.
    pub(super) fn hand_back_changes(&mut self, env: &mut Env<'_>) {
        let leader = self.leader_node().filter(|node| *node != env.config.node);
        let Some(meta) = self.meta_mut() else { return };
        for change in meta.queue.drain(..) {
            env.out.governed(change.asker, Err(GovernError::NotLeader(leader)));
        }
    }

    pub(super) fn expire_changes(&mut self, env: &mut Env<'_>) {
        let now_ms = env.now.mono_ms;
        if let Some(meta) = self.meta_mut() {
            meta.expire(now_ms, env.out);
        }
    }

    /// This replica answers nobody any more.
    pub(super) fn abandon_changes(&mut self, reason: &str, env: &mut Env<'_>) {
        self.hand_back_changes(env);
        self.lose_changes(LogIndex(u64::MAX - 1), reason, env);
    }

    /// What became of the changes up to an index can't be seen here.
    pub(super) fn lose_changes(&mut self, index: LogIndex, reason: &str, env: &mut Env<'_>) {
        if let Some(meta) = self.meta_mut() {
            meta.unknown_up_to(index, reason, env.out);
        }
    }
}
