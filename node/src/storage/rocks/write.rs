//! What a turn, a birth and an end write.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::Entry;
use rocksdb::WriteBatch;

use super::{
    Live, Replica, Shared, options,
    record::{self, Bounds, GroupRecord},
};
use crate::{
    consensus::{Persist, SnapshotPoint},
    storage::{Birth, StoreError},
    types::{GroupId, ReplicaId},
};

/// So many overwritten entries are deleted one by one; a range that is deleted slows later reads.
const FEW: u64 = 64;

/// A turn's batch.
pub(super) struct Turn {
    pub(super) batch: WriteBatch,
    /// Whether there is more in it than commit indexes, which raft-rs finds again by itself.
    pub(super) must_sync: bool,
}

/// The batch of a turn; the replicas are noted to be as it leaves them.
pub(super) fn turn(shared: &Shared, persists: &[Persist]) -> Result<Turn, StoreError> {
    let mut turn = Turn { batch: WriteBatch::default(), must_sync: false };
    let mut replicas = shared.replicas.lock();
    for (at, persist) in persists.iter().enumerate() {
        let live = live(&mut replicas, persist.group, persist.replica)?;
        turn.add(shared, live, persist, &persists[..=at])?;
    }
    Ok(turn)
}

impl Turn {
    /// Adds one replica's; `so_far` is what the batch holds, `persist` included.
    fn add(
        &mut self,
        shared: &Shared,
        live: &mut Live,
        persist: &Persist,
        so_far: &[Persist],
    ) -> Result<(), StoreError> {
        let Persist { group, replica, reset, entries, hard_state, truncate_to } = persist;
        let before = live.bounds;
        if let Some(point) = reset {
            delete_entries(shared, &mut self.batch, persist, live.bounds.base.index + 1, live.bounds.last.index);
            live.bounds = Bounds { base: *point, last: *point };
        }
        self.append(shared, live, persist, entries)?;
        if let Some(hard_state) = hard_state {
            let key = record::replica_key(*group, *replica);
            let value = record::hard_state_record(&key, hard_state);
            self.batch.put_cf(&shared.family(options::HARD_STATE), key, value);
            let vote = Some((hard_state.term, hard_state.vote));
            self.must_sync |= live.vote != vote;
            live.vote = vote;
        }
        if let Some(index) = truncate_to.filter(|index| index.0 > live.bounds.base.index) {
            let term = shared.term_at(live, persist, index.0, so_far)?;
            delete_entries(shared, &mut self.batch, persist, live.bounds.base.index + 1, index.0);
            live.bounds.base = SnapshotPoint { index: index.0, term };
        }
        if live.bounds != before || reset.is_some() {
            self.must_sync = true;
            put_bounds(shared, &mut self.batch, *group, live);
        }
        Ok(())
    }

    fn append(
        &mut self,
        shared: &Shared,
        live: &mut Live,
        persist: &Persist,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let Bounds { base, last: old } = live.bounds;
        let follows = entries.windows(2).all(|pair| pair[0].index.checked_add(1) == Some(pair[1].index));
        if first.index <= base.index || first.index > old.index + 1 || !follows {
            let what = format!("entries {} to {}, onto {} to {}", first.index, last.index, base.index + 1, old.index);
            return Err(StoreError::Misfit { group: persist.group, what });
        }
        let log = shared.family(options::LOG);
        for entry in entries {
            let key = record::entry_key(persist.group, persist.replica, entry.index);
            let value = record::entry_record(&key, entry);
            self.batch.put_cf(&log, key, value);
        }
        // An older, longer tail must not come back (PROTOCOL 19).
        delete_entries(shared, &mut self.batch, persist, last.index + 1, old.index);
        live.bounds.last = SnapshotPoint { index: last.index, term: last.term };
        // The same bounds may stand for other entries.
        self.must_sync = true;
        Ok(())
    }
}

impl Shared {
    /// The term of an entry in the log as the batch will leave it.
    fn term_at(&self, live: &Live, persist: &Persist, index: u64, so_far: &[Persist]) -> Result<u64, StoreError> {
        let Bounds { last, .. } = live.bounds;
        if index == last.index {
            return Ok(last.term);
        }
        if index > last.index {
            let what = format!("a truncation to {index}, behind its last entry {}", last.index);
            return Err(StoreError::Misfit { group: persist.group, what });
        }
        let same = so_far.iter().rev().filter(|other| other.group == persist.group);
        let here = same.flat_map(|other| &other.entries).find(|entry| entry.index == index);
        match here {
            Some(entry) => Ok(entry.term),
            None => Ok(self.read_entry(persist.group, persist.replica, index)?.term),
        }
    }
}

fn live(
    replicas: &mut BTreeMap<GroupId, Replica>,
    group: GroupId,
    replica: ReplicaId,
) -> Result<&mut Live, StoreError> {
    let held = match replicas.get_mut(&group) {
        Some(Replica::Live(live)) if live.replica != replica => Some(live.replica),
        Some(Replica::Live(live)) => return Ok(live),
        Some(Replica::Damaged(damage)) => return Err(StoreError::Damage(damage.clone())),
        Some(Replica::Gone { .. }) | None => None,
    };
    Err(StoreError::NotHeld { group, replica, held })
}

/// Deletes the entries from `from` up to and including `to`.
fn delete_entries(shared: &Shared, batch: &mut WriteBatch, persist: &Persist, from: u64, to: u64) {
    let log = shared.family(options::LOG);
    let key = |index| record::entry_key(persist.group, persist.replica, index);
    if to.saturating_sub(from) < FEW {
        (from..=to).for_each(|index| batch.delete_cf(&log, key(index)));
    } else {
        batch.delete_range_cf(&log, key(from), key(to + 1));
    }
}

fn put_bounds(shared: &Shared, batch: &mut WriteBatch, group: GroupId, live: &Live) {
    let key = record::bounds_key(group, live.replica);
    let value = record::bounds_record(&key, live.bounds);
    batch.put_cf(&shared.family(options::META), key, value);
}

fn put_group(shared: &Shared, batch: &mut WriteBatch, group: GroupId, says: GroupRecord) {
    let identity = shared.family(options::IDENTITY);
    batch.put_cf(&identity, record::group_key(group), record::group_record(group, says));
}

/// Whether all of these may begin.
pub(super) fn check_births(shared: &Shared, births: &[Birth]) -> Result<(), StoreError> {
    let replicas = shared.replicas.lock();
    let mut seen = BTreeSet::new();
    for Birth { group, replica, .. } in births {
        let refused = match replicas.get(group) {
            None if seen.insert(*group) => continue,
            Some(Replica::Gone { highest }) if highest < replica && seen.insert(*group) => continue,
            Some(Replica::Gone { highest }) => {
                StoreError::Reused { group: *group, replica: *replica, highest: *highest }
            }
            Some(Replica::Live(live)) if live.replica < *replica => {
                StoreError::NotHeld { group: *group, replica: *replica, held: Some(live.replica) }
            }
            Some(Replica::Live(live)) => {
                StoreError::Reused { group: *group, replica: *replica, highest: live.replica }
            }
            Some(Replica::Damaged(damage)) => StoreError::Damage(damage.clone()),
            None => StoreError::NotHeld { group: *group, replica: *replica, held: None },
        };
        return Err(refused);
    }
    Ok(())
}

/// The batch that begins these replicas, which may begin.
pub(super) fn births(shared: &Shared, births: &[Birth]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let mut replicas = shared.replicas.lock();
    for Birth { group, generation, replica, base } in births {
        let bounds = Bounds { base: *base, last: *base };
        let live = Live { replica: *replica, generation: *generation, bounds, vote: None };
        let says = GroupRecord::Live { replica: *replica, generation: *generation };
        put_group(shared, &mut batch, *group, says);
        put_bounds(shared, &mut batch, *group, &live);
        replicas.insert(*group, Replica::Live(live));
    }
    batch
}

/// The batch that ends a replica and leaves its tombstone; `None` when there is nothing to end.
pub(super) fn end(shared: &Shared, group: GroupId, replica: ReplicaId) -> Option<WriteBatch> {
    let mut replicas = shared.replicas.lock();
    let highest = match replicas.get(&group) {
        Some(Replica::Live(live)) if live.replica > replica => return None,
        Some(Replica::Gone { highest }) if *highest >= replica => return None,
        // Whose it was may be known although its log is lost.
        Some(Replica::Damaged(damage)) => damage.replica.map_or(replica, |known| known.max(replica)),
        Some(Replica::Live(_) | Replica::Gone { .. }) | None => replica,
    };
    let mut batch = WriteBatch::default();
    let (from, to) = (group.0.to_be_bytes(), group_end(group));
    batch.delete_range_cf(&shared.family(options::LOG), from.to_vec(), to.clone());
    batch.delete_range_cf(&shared.family(options::HARD_STATE), from.to_vec(), to.clone());
    let bounds = |key: &[u8]| [b"b", key].concat();
    batch.delete_range_cf(&shared.family(options::META), bounds(&from), bounds(&to));
    put_group(shared, &mut batch, group, GroupRecord::Gone { highest });
    replicas.insert(group, Replica::Gone { highest });
    Some(batch)
}

/// The first key behind all of a group's.
fn group_end(group: GroupId) -> Vec<u8> {
    match group.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![u8::MAX; 32],
    }
}
