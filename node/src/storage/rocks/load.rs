//! What a start reads, and how it is checked.

use std::collections::BTreeMap;

use raft::eraftpb::{Entry, HardState};
use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::{
    Live, Replica, Shared, is_damage, mark, options,
    record::{self, BadRecord, Bounds, GroupRecord, Kind},
};
use crate::{
    storage::{Damage, RecoveredLog, StoreError},
    types::{GroupId, ReplicaId},
};

impl Shared {
    /// Every lane has all batches that it was given, and all that were synced.
    pub(super) fn check_lanes(&self, synced_by: impl Fn(u16) -> u64) -> Result<(), StoreError> {
        for lane in 0..mark::LANES {
            let (number, synced) = (self.lane_number(lane)?, synced_by(lane));
            let count = self.read_number(Kind::LaneCount, lane)?;
            if number != count {
                let what = format!("of the {number} batches of lane {lane}, {count} are there");
                return Err(self.damaged(what));
            }
            if number < synced {
                let what = format!("{synced} batches of lane {lane} were synced, {number} are there");
                return Err(self.damaged(what));
            }
        }
        Ok(())
    }

    /// The number of a lane's last batch.
    pub(super) fn lane_number(&self, lane: u16) -> Result<u64, StoreError> {
        self.read_number(Kind::LaneNumber, lane)
    }

    fn read_number(&self, kind: Kind, lane: u16) -> Result<u64, StoreError> {
        let key = record::lane_key(kind, lane);
        match self.get(options::META, &key) {
            Ok(None) => Ok(0),
            Ok(Some(bytes)) => {
                let read = record::read_number(kind, &key, &bytes);
                read.map_err(|bad| self.bad(&format!("a record of lane {lane}"), bad))
            }
            Err(error) => Err(self.unread(&format!("a record of lane {lane}"), error)),
        }
    }

    /// One of the node's own records; `None` when it is not there.
    pub(super) fn read_own<T>(
        &self,
        key: &[u8],
        what: &str,
        read: impl FnOnce(&[u8]) -> Result<T, BadRecord>,
    ) -> Result<Option<T>, StoreError> {
        let bytes = self.get(options::IDENTITY, key).map_err(|error| self.unread(what, error))?;
        bytes.map(|bytes| read(&bytes)).transpose().map_err(|bad| self.bad(what, bad))
    }

    /// What of the node's own could not be read.
    fn unread(&self, what: &str, error: rocksdb::Error) -> StoreError {
        match is_damage(&error) {
            true => self.damaged(format!("{what}: {error}")),
            false => StoreError::io("read", &self.path, error),
        }
    }

    fn bad(&self, what: &str, bad: BadRecord) -> StoreError {
        match bad {
            BadRecord::Newer(found) => StoreError::Newer {
                what: format!("{what} in {}", self.path.display()),
                found: found.into(),
                supported: record::VERSION.into(),
            },
            BadRecord::Checksum | BadRecord::Nonsense => self.damaged(format!("{what}: {bad}")),
        }
    }

    /// Which replicas are or were here.
    pub(super) fn read_replicas(&self) -> Result<BTreeMap<GroupId, Replica>, StoreError> {
        let family = self.family(options::IDENTITY);
        let from = IteratorMode::From(&[record::GROUP_PREFIX], Direction::Forward);
        let mut replicas = BTreeMap::new();
        for item in self.db.iterator_cf(&family, from) {
            let (key, value) = item.map_err(|error| self.unread("the list of replicas", error))?;
            let group = match record::read_group_key(&key) {
                Some(group) => group,
                None if [record::NODE_KEY, record::BIRTH_KEY].contains(&&*key) => continue,
                None => return Err(self.damaged("a record of no known kind is in the list of replicas".to_owned())),
            };
            replicas.insert(group, self.read_replica(group, &value));
        }
        Ok(replicas)
    }

    fn read_replica(&self, group: GroupId, value: &[u8]) -> Replica {
        match record::read_group(group, value) {
            Ok(GroupRecord::Gone { highest }) => Replica::Gone { highest },
            Ok(GroupRecord::Live { replica, generation }) => match self.read_bounds(group, replica) {
                Ok(bounds) => Replica::Live(Live { replica, generation, bounds, vote: None }),
                Err(damage) => Replica::Damaged(damage),
            },
            Err(bad) => {
                Replica::Damaged(Damage { group, replica: None, what: format!("the record of its replica: {bad}") })
            }
        }
    }

    fn read_bounds(&self, group: GroupId, replica: ReplicaId) -> Result<Bounds, Damage> {
        let key = record::bounds_key(group, replica);
        let bytes = self.get_of(options::META, &key, "its bounds", group, replica)?;
        let damage = |what: String| Damage { group, replica: Some(replica), what };
        let bytes = bytes.ok_or_else(|| damage("its bounds are missing".to_owned()))?;
        record::read_bounds(&key, &bytes).map_err(|bad| damage(format!("its bounds: {bad}")))
    }

    /// One entry that must be there.
    pub(super) fn read_entry(&self, group: GroupId, replica: ReplicaId, index: u64) -> Result<Entry, Damage> {
        let key = record::entry_key(group, replica, index);
        let what = format!("entry {index}");
        let bytes = self.get_of(options::LOG, &key, &what, group, replica)?;
        let damage = |what: String| Damage { group, replica: Some(replica), what };
        let bytes = bytes.ok_or_else(|| damage(format!("{what} is missing")))?;
        record::read_entry(&key, &bytes).map_err(|bad| damage(format!("{what}: {bad}")))
    }

    fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        self.db.get_cf(&self.family(family), key)
    }

    fn get_of(
        &self,
        family: &str,
        key: &[u8],
        what: &str,
        group: GroupId,
        replica: ReplicaId,
    ) -> Result<Option<Vec<u8>>, Damage> {
        let damage = |error| Damage { group, replica: Some(replica), what: format!("{what}: {error}") };
        self.get(family, key).map_err(damage)
    }

    /// A replica's whole log, checked; from the first damage on the replica is damaged.
    pub(super) fn load(&self, group: GroupId) -> Result<Option<RecoveredLog>, Damage> {
        let live = match self.replicas.lock().get(&group) {
            Some(Replica::Live(live)) => *live,
            Some(Replica::Damaged(damage)) => return Err(damage.clone()),
            Some(Replica::Gone { .. }) | None => return Ok(None),
        };
        let loaded = self.load_live(group, &live);
        if let Err(damage) = &loaded {
            self.replicas.lock().insert(group, Replica::Damaged(damage.clone()));
        }
        loaded.map(Some)
    }

    fn load_live(&self, group: GroupId, live: &Live) -> Result<RecoveredLog, Damage> {
        let Live { replica, generation, bounds, vote: _ } = *live;
        let Bounds { base, last } = bounds;
        let damage = |what: String| Damage { group, replica: Some(replica), what };
        let mut entries: Vec<Entry> = Vec::new();
        let mut reading = ReadOptions::default();
        reading.set_iterate_upper_bound(record::entry_key(group, ReplicaId(replica.0.saturating_add(1)), 0));
        let start = record::entry_key(group, replica, base.index + 1);
        let from = IteratorMode::From(&start, Direction::Forward);
        let (mut next, mut term) = (base.index + 1, base.term);
        for item in self.db.iterator_cf_opt(&self.family(options::LOG), reading, from) {
            let (key, value) = item.map_err(|error| damage(format!("entries from {next} on: {error}")))?;
            match record::read_entry_index(&key) {
                Some(index) if index == next && index <= last.index => {}
                Some(index) if index > last.index => {
                    return Err(damage(format!("entry {index} lies behind the last, {}", last.index)));
                }
                Some(index) => return Err(damage(format!("entry {next} is missing, {index} follows"))),
                None => return Err(damage("the key of an entry can't be read".to_owned())),
            }
            let entry = record::read_entry(&key, &value).map_err(|bad| damage(format!("entry {next}: {bad}")))?;
            if entry.term < term {
                return Err(damage(format!("entry {next} has term {} after term {term}", entry.term)));
            }
            (next, term) = (next + 1, entry.term);
            entries.push(entry);
        }
        if (next - 1, term) != (last.index, last.term) {
            let (index, want) = (next - 1, last.index);
            return Err(damage(format!("it ends at entry {index} of term {term}, not at {want} of {}", last.term)));
        }
        let hard_state = self.load_hard_state(group, replica, bounds)?;
        Ok(RecoveredLog { replica, generation, base, entries, hard_state })
    }

    fn load_hard_state(&self, group: GroupId, replica: ReplicaId, bounds: Bounds) -> Result<HardState, Damage> {
        let key = record::replica_key(group, replica);
        let damage = |what: String| Damage { group, replica: Some(replica), what };
        let Bounds { base, last } = bounds;
        let hard_state = match self.get_of(options::HARD_STATE, &key, "its hard state", group, replica)? {
            Some(bytes) => {
                record::read_hard_state(&key, &bytes).map_err(|bad| damage(format!("its hard state: {bad}")))?
            }
            None => HardState { term: base.term, commit: base.index, ..Default::default() },
        };
        let HardState { term, commit, .. } = hard_state;
        if term < last.term {
            return Err(damage(format!("its hard state has term {term}, its last entry {}", last.term)));
        }
        if commit > last.index {
            return Err(damage(format!("its hard state commits {commit}, behind the last entry {}", last.index)));
        }
        Ok(hard_state)
    }
}
