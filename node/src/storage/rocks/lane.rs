//! One writer's way into the store: its batches are numbered, counted and marked.

use std::sync::Arc;

use rocksdb::WriteBatch;

use super::{
    Replica, Shared, options,
    record::{self, Kind},
    write,
};
use crate::{
    consensus::Persist,
    storage::{Birth, Damage, Holding, LogStore, RecoveredLog, StoreError},
    types::{GroupId, ReplicaId},
};

/// The number of a lane's last batch.
pub(super) struct Lane {
    id: u16,
    pub(super) number: u64,
}

impl Lane {
    pub(super) fn new(id: u16, number: u64) -> Self {
        Self { id, number }
    }

    /// Writes a batch; any failure poisons the store.
    pub(super) fn commit(&mut self, shared: &Shared, mut batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        shared.check_poison()?;
        let meta = shared.family(options::META);
        self.number += 1;
        let (number, count) =
            (record::lane_key(Kind::LaneNumber, self.id), record::lane_key(Kind::LaneCount, self.id));
        batch.put_cf(&meta, &number, record::number_record(Kind::LaneNumber, &number, self.number));
        batch.merge_cf(&meta, &count, record::number_record(Kind::LaneCount, &count, 1));
        let mut written = shared.write(batch, sync);
        if sync {
            written = written.and_then(|()| shared.mark.set(self.id, self.number));
        }
        shared.or_poison(written)
    }
}

/// The store as one writer has it. Groups may change lanes from one start to the next, not in between.
pub struct RocksLane {
    shared: Arc<Shared>,
    lane: Lane,
}

impl RocksLane {
    pub(super) fn new(shared: Arc<Shared>, lane: Lane) -> Self {
        Self { shared, lane }
    }

    #[cfg(test)]
    pub(super) fn lane_mut(&mut self) -> &mut Lane {
        &mut self.lane
    }

    fn refuse_unless(&self, fits: Result<(), StoreError>) -> Result<(), StoreError> {
        self.shared.check_poison()?;
        fits
    }
}

impl LogStore for RocksLane {
    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        self.shared.check_poison()?;
        if batch.is_empty() {
            return Ok(());
        }
        // What does not fit is a bug, and some of it may be noted already: nothing can be trusted after it.
        let turn = self.shared.or_poison(write::turn(&self.shared, batch))?;
        let sync = self.shared.sync_writes && turn.must_sync;
        self.lane.commit(&self.shared, turn.batch, sync)
    }

    fn create(&mut self, births: &[Birth]) -> Result<(), StoreError> {
        self.refuse_unless(write::check_births(&self.shared, births))?;
        let batch = write::births(&self.shared, births);
        self.lane.commit(&self.shared, batch, true)
    }

    fn destroy(&mut self, group: GroupId, replica: ReplicaId) -> Result<(), StoreError> {
        self.shared.check_poison()?;
        match write::end(&self.shared, group, replica) {
            Some(batch) => self.lane.commit(&self.shared, batch, true),
            None => Ok(()),
        }
    }

    fn groups(&self) -> Vec<(GroupId, Holding)> {
        self.shared.replicas.lock().iter().map(|(group, replica)| (*group, replica.holding())).collect()
    }

    fn holding(&self, group: GroupId) -> Option<Holding> {
        self.shared.replicas.lock().get(&group).map(Replica::holding)
    }

    fn load(&self, group: GroupId) -> Result<Option<RecoveredLog>, Damage> {
        self.shared.load(group)
    }
}
