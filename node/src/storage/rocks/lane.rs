//! One writer's way into the store: its batches are numbered, counted and marked.

use std::sync::{Arc, atomic::Ordering};

use rocksdb::WriteBatch;

use super::{
    Shared, options,
    record::{self, Kind},
    write::{self, Weight},
};
use crate::{
    consensus::Persist,
    storage::{Damage, Holding, LogStore, RecoveredLog, StoreError},
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
            written = written.and_then(|()| shared.mark(self.id, self.number));
        }
        if written.is_ok()
            && let Some(last) = shared.written.get(usize::from(self.id))
        {
            last.store(self.number, Ordering::SeqCst);
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
}

impl LogStore for RocksLane {
    fn commit(&mut self, destroyed: &[(GroupId, ReplicaId)], batch: &[Persist]) -> Result<(), StoreError> {
        self.shared.check_poison()?;
        // What does not fit is a bug, and some of it may be noted already: nothing can be trusted after it.
        let turn = self.shared.or_poison(write::turn(&self.shared, destroyed, batch))?;
        if turn.batch.is_empty() {
            return Ok(());
        }
        let sync = match turn.weight {
            Weight::CommitIndex => false,
            Weight::Log => self.shared.sync_writes,
            Weight::Life => true,
        };
        self.lane.commit(&self.shared, turn.batch, sync)
    }

    fn groups(&self) -> Vec<(GroupId, Holding)> {
        self.shared.groups()
    }

    fn holding(&self, group: GroupId) -> Option<Holding> {
        self.shared.holding(group)
    }

    fn load(&self, group: GroupId) -> Result<Option<RecoveredLog>, Damage> {
        self.shared.load(group)
    }
}
