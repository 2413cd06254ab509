//! A node's disk: what is synced survives a crash, what is only written survives in part.
//!
//! Batches reach the disk in order. A crash leaves a prefix of those that were not synced: the torn one behind it is
//! dropped whole, as a log of checksummed records drops it. A checkpoint is there once it is published, or not at all.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    checkpoint,
    cluster::map::ClusterMap,
    consensus::{DiskLog, Persist, SnapshotPoint},
    faults::{Fault, Faults},
    machine::{Machine, model::ModelStore},
    multiraft::node::{CheckpointPiece, Found, PersistBatch, Piece, Restart, RestartedGroup, Restored},
    types::{Draw, GroupId, LogIndex, ReplicaId},
};

/// So many checkpoints of a replica are kept.
const KEPT: usize = 2;

/// One disk, in one life of its node.
#[derive(Debug)]
pub struct Disk {
    /// The map with which the life began.
    birth: Arc<ClusterMap>,
    /// The newest that was noted.
    map: Arc<ClusterMap>,
    logs: BTreeMap<GroupId, (ReplicaId, DiskLog)>,
    /// Of the replicas that have a log.
    generations: BTreeMap<GroupId, u64>,
    /// The highest replica that was ever here.
    held: BTreeMap<GroupId, ReplicaId>,
    /// The published ones, oldest first.
    checkpoints: BTreeMap<GroupId, Vec<(LogIndex, Vec<u8>)>>,
    /// Snapshots that came in and are not installed.
    received: BTreeMap<(GroupId, ReplicaId, u64), Vec<u8>>,
    /// Checkpoints that are not whole yet, or not published.
    making: BTreeMap<(GroupId, ReplicaId), (SnapshotPoint, Vec<u8>)>,
    unsynced: VecDeque<PersistBatch>,
    /// Groups whose log can't be read any more.
    damaged: BTreeSet<GroupId>,
    /// It takes nothing any more, until the process ends.
    is_failed: bool,
    faults: Faults,
}

impl Disk {
    /// An empty one, of a life that begins with this map.
    #[must_use]
    pub fn new(birth: Arc<ClusterMap>, faults: Faults) -> Self {
        Self {
            map: birth.clone(),
            birth,
            logs: BTreeMap::new(),
            generations: BTreeMap::new(),
            held: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            received: BTreeMap::new(),
            making: BTreeMap::new(),
            unsynced: VecDeque::new(),
            damaged: BTreeSet::new(),
            is_failed: false,
            faults,
        }
    }

    /// A committed map that the node acts by.
    pub fn note_map(&mut self, map: Arc<ClusterMap>) {
        self.map = map;
    }

    /// The newest map that it has.
    #[must_use]
    pub fn map(&self) -> Arc<ClusterMap> {
        self.map.clone()
    }

    /// A batch is written; a crash may still take it. Says whether it will be synced.
    pub fn write(&mut self, batch: PersistBatch) -> bool {
        if !self.is_failed {
            self.unsynced.push_back(batch);
        }
        !self.is_failed
    }

    /// From now on it takes nothing.
    pub fn fail(&mut self) {
        self.is_failed = true;
    }

    /// Whether it takes nothing any more.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// The log of a group, or a byte of its newest checkpoint, goes bad. Says whose it is, if there is something.
    pub fn damage(&mut self, group: GroupId, log: bool, draw: &mut Draw) -> Option<ReplicaId> {
        let (replica, _) = self.logs.get(&group)?;
        if log {
            self.damaged.insert(group);
        } else {
            let (_, bytes) = self.checkpoints.get_mut(&group)?.last_mut()?;
            let at = draw.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << draw.below(8);
        }
        Some(*replica)
    }

    /// Everything up to a batch is synced. Says whether it could be.
    pub fn sync(&mut self, number: u64) -> bool {
        if self.is_failed {
            return false;
        }
        while self.unsynced.front().is_some_and(|batch| batch.number <= number) {
            let Some(batch) = self.unsynced.pop_front() else { break };
            self.take_in(batch);
        }
        true
    }

    /// A snapshot came in, whole and synced under a name of its own.
    pub fn receive(&mut self, group: GroupId, replica: ReplicaId, index: u64, bytes: Vec<u8>) {
        self.received.insert((group, replica, index), bytes);
    }

    /// A part of a checkpoint. Says when one is whole.
    pub fn write_checkpoint(&mut self, piece: CheckpointPiece) -> Option<(GroupId, ReplicaId, SnapshotPoint)> {
        let CheckpointPiece { group, replica, point, piece } = piece;
        let id = (group, replica);
        match piece {
            Piece::Begin(bytes) => _ = self.making.insert(id, (point, bytes.to_vec())),
            Piece::Block(bytes) => self.making.get_mut(&id)?.1.extend_from_slice(&bytes),
            Piece::End(bytes) => {
                self.making.get_mut(&id)?.1.extend_from_slice(&bytes);
                return Some((group, replica, point));
            }
            Piece::Abandon => _ = self.making.remove(&id),
        }
        None
    }

    /// A whole checkpoint is in its place. Says whether it still was to be.
    pub fn publish(&mut self, group: GroupId, replica: ReplicaId, point: SnapshotPoint) -> bool {
        let id = (group, replica);
        // Meanwhile it may have been given up for another one.
        if self.making.get(&id).is_none_or(|(made, _)| *made != point) {
            return false;
        }
        let Some((_, bytes)) = self.making.remove(&id).filter(|_| !self.is_failed) else { return false };
        self.put(group, point.index, bytes);
        true
    }

    /// A whole checkpoint found no place. Says whether it still was to have one.
    pub fn give_up(&mut self, group: GroupId, replica: ReplicaId, point: SnapshotPoint) -> bool {
        let id = (group, replica);
        self.making.get(&id).is_some_and(|(made, _)| *made == point) && self.making.remove(&id).is_some()
    }

    /// The process is gone: of what was not synced a prefix is left.
    pub fn crash(&mut self, draw: &mut Draw) {
        let left = draw.below(self.unsynced.len() as u64 + 1) as usize;
        let mut lost: VecDeque<_> = std::mem::take(&mut self.unsynced);
        lost.drain(..left).collect::<Vec<_>>().into_iter().for_each(|batch| self.take_in(batch));
        // A snapshot may be published, and then came the crash, before the batch that goes on from it.
        let torn = lost.pop_front().filter(|_| draw.below(2) == 0);
        for persist in torn.iter().flat_map(|batch| &batch.writes) {
            let Some(base) = persist.reset else { continue };
            if let Some(bytes) = self.received.remove(&(persist.group, persist.replica, base.index)) {
                self.put(persist.group, base.index, bytes);
            }
        }
        self.received.clear();
        self.making.clear();
        self.is_failed = false;
    }

    /// What the next process finds.
    pub fn load(&self, make_store: impl Fn() -> ModelStore) -> Restart<ModelStore> {
        let load = |(group, (replica, log)): (&GroupId, &(ReplicaId, DiskLog))| {
            let found = match self.damaged.contains(group) {
                false => Found::Sound { log: log.clone(), checkpoint: self.newest(*group, &make_store) },
                true => Found::Damaged("a bit has flipped".to_owned()),
            };
            let generation = self.generations.get(group).copied().unwrap_or_default();
            (*group, RestartedGroup { replica: *replica, generation, found })
        };
        Restart { birth: self.birth.clone(), groups: self.logs.iter().map(load).collect(), held: self.held.clone() }
    }

    /// The newest checkpoint that is whole. Whether the log goes back that far the core will see.
    fn newest(&self, group: GroupId, make_store: impl Fn() -> ModelStore) -> Option<Box<Restored<ModelStore>>> {
        self.checkpoints.get(&group)?.iter().rev().find_map(|(_, bytes)| {
            let (head, entries) = checkpoint::decode_all(bytes).ok()?;
            let machine = group.shard().map(|_| Machine::restore(make_store(), &head.machine, entries.into_iter()));
            let machine = machine.transpose().ok()?;
            Some(Box::new(Restored { head, machine: machine.map(Box::new) }))
        })
    }

    fn put(&mut self, group: GroupId, index: u64, bytes: Vec<u8>) {
        let all = self.checkpoints.entry(group).or_default();
        all.retain(|(at, _)| at.0 != index);
        all.push((LogIndex(index), bytes));
        all.sort_unstable_by_key(|(at, _)| *at);
        all.drain(..all.len().saturating_sub(KEPT));
    }

    fn take_in(&mut self, batch: PersistBatch) {
        let PersistBatch { number: _, destroyed, writes } = batch;
        for (group, replica) in destroyed {
            self.hold(group, replica);
            if self.logs.get(&group).is_some_and(|(here, _)| *here == replica) {
                self.logs.remove(&group);
                self.checkpoints.remove(&group);
                self.damaged.remove(&group);
            }
            // A later one here may have got its first already.
            self.received.retain(|(of, whose, _), _| (*of, *whose) != (group, replica));
            self.making.remove(&(group, replica));
        }
        writes.into_iter().for_each(|persist| self.append(persist));
    }

    fn hold(&mut self, group: GroupId, replica: ReplicaId) {
        let held = self.held.entry(group).or_insert(replica);
        *held = replica.max(*held);
    }

    fn append(&mut self, persist: Persist) {
        let Persist { group, replica, generation, reset, entries, hard_state, truncate_to } = persist;
        self.hold(group, replica);
        self.generations.insert(group, generation);
        if let Some(base) = reset
            && let Some(bytes) = self.received.remove(&(group, replica, base.index))
        {
            self.put(group, base.index, bytes);
        }
        let (here, log) = self.logs.entry(group).or_insert_with(|| (replica, DiskLog::default()));
        *here = replica;
        if let Some(base) = reset {
            (log.base, log.entries) = (base, Vec::new());
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            // The planted bug leaves what lies behind the new end.
            let (from, to) = (first.index, last.index);
            let stale = self.faults.has(Fault::StaleLogTail);
            log.entries.retain(|entry| entry.index < from || stale && entry.index > to);
        }
        log.entries.extend(entries);
        log.entries.sort_by_key(|entry| entry.index);
        if hard_state.is_some() {
            log.hard_state = hard_state;
        }
        if let Some(upto) = truncate_to
            && let Some(last) = log.entries.iter().rfind(|entry| entry.index <= upto.0)
        {
            log.base = SnapshotPoint { index: last.index, term: last.term };
            log.entries.retain(|entry| entry.index > upto.0);
        }
    }
}
