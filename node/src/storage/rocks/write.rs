//! What a turn writes, births and ends of replicas included.

use raft::eraftpb::Entry;
use rocksdb::WriteBatch;

use super::{
    Live, Replica, Replicas, Shared, options,
    record::{self, Bounds, GroupRecord},
};
use crate::{
    consensus::{Persist, SnapshotPoint},
    storage::StoreError,
    types::{GroupId, ReplicaId},
};

/// So many overwritten entries are deleted one by one; a range that is deleted slows later reads.
const FEW: u64 = 64;

/// What is to be written at once.
pub(super) struct Turn {
    pub(super) batch: WriteBatch,
    pub(super) weight: Weight,
}

/// What would be lost without a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Commit indexes, which raft-rs finds again by itself.
    CommitIndex,
    /// Entries, terms, votes, and where logs begin and end.
    Log,
    /// That a replica is or was here: what keeps its id from being used again.
    Life,
}

/// The batch of a turn, or of several; the replicas are noted to be as it leaves them.
pub(super) fn turn(
    shared: &Shared,
    destroyed: &[(GroupId, ReplicaId)],
    persists: &[Persist],
) -> Result<Turn, StoreError> {
    let mut turn = Turn { batch: WriteBatch::default(), weight: Weight::CommitIndex };
    let mut replicas = shared.replicas.lock();
    for (group, replica) in destroyed {
        turn.end(shared, &mut replicas, *group, *replica);
    }
    let is_destroyed = |persist: &Persist| {
        destroyed.iter().any(|(group, replica)| *group == persist.group && *replica >= persist.replica)
    };
    for (at, persist) in persists.iter().enumerate().filter(|(_, persist)| !is_destroyed(persist)) {
        if let Some(base) = birth(&replicas, persist)? {
            turn.begin(shared, &mut replicas, persist, base);
        }
        let live = live(&mut replicas, persist)?;
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
        let Persist { group, replica, generation: _, reset, entries, hard_state, truncate_to } = persist;
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
            if live.vote != vote {
                self.weigh(Weight::Log);
            }
            live.vote = vote;
        }
        if let Some(index) = truncate_to.filter(|index| index.0 > live.bounds.base.index) {
            match shared.term_at(live, persist, index.0, so_far) {
                Ok(term) => {
                    delete_entries(shared, &mut self.batch, persist, live.bounds.base.index + 1, index.0);
                    live.bounds.base = SnapshotPoint { index: index.0, term };
                }
                // It concerns one replica: its log stays longer until the next time, or until a start finds the damage.
                Err(StoreError::Damage(damage)) => {
                    tracing::error!(%group, %replica, %damage, "a log is not cut");
                }
                Err(error) => return Err(error),
            }
        }
        if live.bounds != before || reset.is_some() {
            self.weigh(Weight::Log);
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
        self.weigh(Weight::Log);
        Ok(())
    }

    /// Begins the life of a replica, which may begin. Its bounds are written with its reset.
    fn begin(&mut self, shared: &Shared, replicas: &mut Replicas, persist: &Persist, base: SnapshotPoint) {
        let Persist { group, replica, generation, .. } = persist;
        let (replica, generation) = (*replica, *generation);
        self.put_group(shared, *group, GroupRecord::Live { replica, generation });
        let live = Live { replica, generation, bounds: Bounds { base, last: base }, vote: None };
        replicas.insert(*group, Replica::Live(live));
    }

    /// Ends a replica and leaves its tombstone, if there is anything to end.
    fn end(&mut self, shared: &Shared, replicas: &mut Replicas, group: GroupId, replica: ReplicaId) {
        let highest = match replicas.get(&group) {
            Some(Replica::Live(live)) if live.replica > replica => return,
            Some(Replica::Gone { highest }) if *highest >= replica => return,
            // Whose it was may be known although its log is lost.
            Some(Replica::Damaged(damage)) => damage.replica.map_or(replica, |known| known.max(replica)),
            Some(Replica::Live(_) | Replica::Gone { .. }) | None => replica,
        };
        let (from, to) = (group.0.to_be_bytes(), group_end(group));
        self.batch.delete_range_cf(&shared.family(options::LOG), from.to_vec(), to.clone());
        self.batch.delete_range_cf(&shared.family(options::HARD_STATE), from.to_vec(), to.clone());
        let bounds = |key: &[u8]| [b"b", key].concat();
        self.batch.delete_range_cf(&shared.family(options::META), bounds(&from), bounds(&to));
        self.put_group(shared, group, GroupRecord::Gone { highest });
        replicas.insert(group, Replica::Gone { highest });
    }

    fn put_group(&mut self, shared: &Shared, group: GroupId, says: GroupRecord) {
        let identity = shared.family(options::IDENTITY);
        self.batch.put_cf(&identity, record::group_key(group), record::group_record(group, says));
        self.weigh(Weight::Life);
    }

    fn weigh(&mut self, weight: Weight) {
        self.weight = self.weight.max(weight);
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
        let same = |other: &&Persist| (other.group, other.replica) == (persist.group, persist.replica);
        let same = so_far.iter().rev().filter(same);
        let here = same.flat_map(|other| &other.entries).find(|entry| entry.index == index);
        match here {
            Some(entry) => Ok(entry.term),
            None => Ok(self.read_entry(persist.group, persist.replica, index)?.term),
        }
    }
}

/// Where the log of a replica begins whose first request this is; `None` when it is here already.
fn birth(replicas: &Replicas, persist: &Persist) -> Result<Option<SnapshotPoint>, StoreError> {
    let Persist { group, replica, generation, reset, .. } = persist;
    let (group, replica) = (*group, *replica);
    let (held, highest) = match replicas.get(&group) {
        Some(Replica::Live(live)) if live.replica == replica && live.generation != *generation => {
            let what = format!("replica {replica} is of generation {}, not {generation}", live.generation);
            return Err(StoreError::Misfit { group, what });
        }
        Some(Replica::Live(live)) if live.replica == replica => return Ok(None),
        Some(Replica::Live(live)) => (Some(live.replica), Some(live.replica)),
        Some(Replica::Gone { highest }) => (None, Some(*highest)),
        Some(Replica::Damaged(damage)) => return Err(StoreError::Damage(damage.clone())),
        None => (None, None),
    };
    let Some(base) = reset else { return Err(StoreError::NotHeld { group, replica, held }) };
    match (held, highest) {
        (_, Some(highest)) if highest >= replica => Err(StoreError::Reused { group, replica, highest }),
        (Some(held), _) => {
            let what = format!("replica {replica} begins, and replica {held} was not destroyed");
            Err(StoreError::Misfit { group, what })
        }
        (None, _) => Ok(Some(*base)),
    }
}

/// The replica that a request is of, which is here.
fn live<'a>(replicas: &'a mut Replicas, persist: &Persist) -> Result<&'a mut Live, StoreError> {
    let Persist { group, replica, .. } = persist;
    match replicas.get_mut(group) {
        Some(Replica::Live(live)) if live.replica == *replica => Ok(live),
        Some(Replica::Live(_) | Replica::Gone { .. } | Replica::Damaged(_)) | None => {
            Err(StoreError::NotHeld { group: *group, replica: *replica, held: None })
        }
    }
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

/// The first key behind all of a group's.
fn group_end(group: GroupId) -> Vec<u8> {
    match group.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![u8::MAX; 32],
    }
}
