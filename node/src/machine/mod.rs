//! The state machine of one shard: a pure function of (state, log entry).
//!
//! [`Machine`] owns the authoritative map and changes it only in [`Machine::apply`], called once for each
//! committed entry, in order, by `multiraft::node`. It never asks a clock, draws no random number and depends on
//! no iteration order, so replicas at the same index are byte-identical (PROTOCOL 2, 4, 5, 8, 9).

mod apply;
pub mod capture;
pub mod codec;
pub mod command;
pub mod hash;
pub mod model;
pub mod number;
pub mod read;
pub mod store;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::{
    capture::{Capture, MachineHead},
    command::{Command, Outcome, Query},
    hash::{RecentHashes, StateHash},
    read::{Deadlines, NeedsStamp, View},
    store::{Capacity, Entry, EntryStore, EvictionPolicy, weight},
};
use crate::{
    faults::Faults,
    types::{Key, LogIndex, Timestamp, Version},
};

/// What all replicas of a shard must agree on; changed by a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the shard may hold.
    pub capacity: Capacity,
    /// How the tier chooses what goes.
    pub policy: EvictionPolicy,
    /// How long a key lives that comes without a deadline; `None` (or 0) is for ever.
    pub default_ttl_ms: Option<u64>,
}

/// One log entry's payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    /// The leader's clock, never lower than the stamp before (PROTOCOL 3).
    pub stamp: Timestamp,
    /// In the order in which they take effect.
    pub commands: Vec<Command>,
    /// Keys that go, after the commands, unless they have changed since (PROTOCOL 8).
    pub evictions: Vec<(Key, Version)>,
    /// New settings, in force before the commands.
    pub settings: Option<Settings>,
}

/// By how much a shard is over its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excess {
    /// Entries too many.
    pub entries: u64,
    /// Bytes too many.
    pub bytes: u64,
}

impl Excess {
    /// Whether the shard is within its capacity.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The most expired keys that one log entry removes: it bounds the pause when many expire at once.
pub const MAX_EXPIRED_PER_ENTRY: usize = 1_000;

/// Versions that a generation of a shard may use: at 100,000 changes a second, enough for a lifetime.
const VERSIONS_PER_GENERATION: u64 = 1 << 48;

/// The last generation of a shard that has versions of its own.
pub const MAX_GENERATION: u64 = u64::MAX / VERSIONS_PER_GENERATION + 1;

/// How far apart the indexes are whose hashes are kept, unless set.
pub const DEFAULT_HASH_INTERVAL: u64 = 1_024;

/// One shard's state.
pub struct Machine<S> {
    store: S,
    applied: LogIndex,
    /// L of PROTOCOL 2: the highest stamp so far.
    log_time: Timestamp,
    last_version: Version,
    weight_bytes: u64,
    hash: StateHash,
    settings: Settings,
    /// One for each entry with a deadline.
    deadlines: Deadlines,
    recent: RecentHashes,
    capture: Option<Capture>,
    faults: Faults,
    /// Keys removed because their time was over; of this replica's life, not part of the state.
    expirations: u64,
    #[cfg(feature = "planted-faults")]
    local_clock: Timestamp,
}

impl<S: EntryStore> Machine<S> {
    /// The state before the first log entry. `store` must be empty.
    ///
    /// # Panics
    /// If it is not: its entries would be unknown to the hash.
    #[must_use]
    pub fn new(mut store: S) -> Self {
        assert!(store.is_empty(), "a machine begins with an empty store");
        let settings = Settings::default();
        store.configure(settings.capacity, settings.policy);
        Self {
            store,
            applied: LogIndex(0),
            log_time: Timestamp(0),
            last_version: Version(0),
            weight_bytes: 0,
            hash: StateHash::default(),
            settings,
            deadlines: Deadlines::new(),
            recent: RecentHashes::new(DEFAULT_HASH_INTERVAL),
            capture: None,
            faults: Faults::none(),
            expirations: 0,
            #[cfg(feature = "planted-faults")]
            local_clock: Timestamp(0),
        }
    }

    /// The state before the first log entry of a generation, the first one being 1. What a client has seen of an earlier
    /// generation must not pass for a version of this one: each has its own range of them.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn of_generation(store: S, generation: u64) -> Self {
        let before = generation.saturating_sub(1).saturating_mul(VERSIONS_PER_GENERATION);
        Self { last_version: Version(before), ..Self::new(store) }
    }

    /// Applies one committed entry; one outcome for each command, in their order.
    ///
    /// # Panics
    /// If `index` does not follow [`Self::applied`]: an entry was lost or doubled.
    pub fn apply(&mut self, index: LogIndex, record: LogRecord) -> Vec<Outcome> {
        let LogRecord { stamp, commands, evictions, settings } = record;
        self.begin(index);
        self.log_time = self.log_time.max(stamp);
        if let Some(settings) = settings {
            self.configure(settings);
        }
        let outcomes = commands.into_iter().map(|command| self.run(command)).collect();
        for (key, version) in evictions {
            self.evict(&key, version);
        }
        self.remove_expired();
        self.finish();
        outcomes
    }

    /// Applies a committed entry that is Raft's own (empty, or a conf change): it has no stamp.
    ///
    /// # Panics
    /// If `index` does not follow [`Self::applied`].
    pub fn apply_empty(&mut self, index: LogIndex) {
        self.begin(index);
        self.finish();
    }

    /// Answers a linearizable read at the applied index. `now` is what the leader's next stamp would be.
    ///
    /// # Errors
    /// [`NeedsStamp`] if the read depends on a key whose deadline lies in (log time, `now`] (PROTOCOL 2).
    pub fn read(&self, query: &Query, now: Timestamp) -> Result<Outcome, NeedsStamp> {
        let mut view = self.view(self.log_time, now);
        let outcome = view.answer(query);
        view.needs().map_or(Ok(outcome), Err)
    }

    /// Tells the tier which keys a read has touched; for the caller of [`Self::read`], when it is not in a hurry.
    pub fn note_access(&mut self, query: &Query) {
        match query {
            Query::Get { key } | Query::GetRange { key, .. } => self.store.touch(key),
            Query::Multi(queries) => queries.iter().for_each(|query| match query {
                Query::Multi(_) => (),
                query => self.note_access(query),
            }),
            Query::Strlen { .. }
            | Query::Exists { .. }
            | Query::Meta { .. }
            | Query::Scan { .. }
            | Query::Size
            | Query::Expiring
            | Query::RandomKey { .. } => (),
        }
    }

    /// Everything but the entries, as of now.
    #[must_use]
    pub fn head(&self) -> MachineHead {
        MachineHead {
            applied: self.applied,
            log_time: self.log_time,
            last_version: self.last_version,
            entries: self.len() as u64,
            weight_bytes: self.weight_bytes,
            hash: self.hash.0,
            settings: self.settings,
        }
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The highest stamp so far: "now" for everything that the log decides.
    #[must_use]
    pub fn log_time(&self) -> Timestamp {
        self.log_time
    }

    /// How many entries there are, expired ones not yet removed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// What the entries weigh, as [`store::weight`] counts.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// The shared settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The version of the last change.
    #[must_use]
    pub fn last_version(&self) -> Version {
        self.last_version
    }

    /// The hash over all entries.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        self.hash.0
    }

    /// The state hash at a recent index that is a multiple of the interval.
    #[must_use]
    pub fn hash_at(&self, index: LogIndex) -> Option<u128> {
        self.recent.at(index)
    }

    /// The recent hashes that are kept, oldest first.
    pub fn recent_hashes(&self) -> impl DoubleEndedIterator<Item = (LogIndex, u128)> + '_ {
        self.recent.iter()
    }

    /// Keeps hashes at multiples of `interval` from now on, and forgets the others.
    pub fn set_hash_interval(&mut self, interval: u64) {
        self.recent = RecentHashes::new(interval);
    }

    /// Keys that this replica has removed because their time was over, since it was made.
    #[must_use]
    pub fn expirations(&self) -> u64 {
        self.expirations
    }

    /// The soonest deadline of an entry that is still in the map; it may have passed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// By how much the shard is over its capacity.
    #[must_use]
    pub fn excess(&self) -> Excess {
        let over = |have: u64, max: u64| if max == 0 { 0 } else { have.saturating_sub(max) };
        let Capacity { max_entries, max_bytes } = self.settings.capacity;
        Excess { entries: over(self.len() as u64, max_entries), bytes: over(self.weight_bytes, max_bytes) }
    }

    /// The map.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The map, for what concerns its tier (nominations, hints). Its entries must not be changed.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Plants faults (tests only; without the feature there are none to plant).
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// An entry is there that no command has made: the state is wrong, and its hash is that of the wrong state.
    #[cfg(any(feature = "planted-faults", feature = "testing"))]
    pub fn damage(&mut self, entry: Entry) {
        self.insert(entry.into());
    }

    /// The clock of [`crate::faults::Fault::ExpiryByLocalClock`].
    #[cfg(feature = "planted-faults")]
    pub fn set_local_clock(&mut self, clock: Timestamp) {
        self.local_clock = clock;
    }

    fn begin(&mut self, index: LogIndex) {
        assert_eq!(index, self.applied.next(), "a gap in the log: applied {}", self.applied);
        self.applied = index;
    }

    fn finish(&mut self) {
        self.recent.record(self.applied, self.hash.0);
        // Readers rely on the index from here on, so it comes after the last change (PROTOCOL 7).
        self.store.publish(self.applied, self.log_time);
    }

    fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        self.store.configure(settings.capacity, settings.policy);
    }

    /// What deadlines are judged by.
    fn clock(&self) -> Timestamp {
        #[cfg(feature = "planted-faults")]
        if self.faults.has(crate::faults::Fault::ExpiryByLocalClock) {
            return self.local_clock;
        }
        self.log_time
    }

    fn view(&self, log_time: Timestamp, now: Timestamp) -> View<'_, S> {
        View { store: &self.store, deadlines: &self.deadlines, log_time, now, undecided: false }
    }

    fn next_version(&mut self) -> Version {
        self.last_version = Version(self.last_version.0 + 1);
        self.last_version
    }

    /// Puts an entry into the map. With [`Self::remove`] and [`Self::clear`] the only way in which it changes.
    fn insert(&mut self, entry: Arc<Entry>) {
        let old = self.store.insert(entry.clone());
        self.note_before(entry.key(), old.as_ref());
        if let Some(old) = old {
            self.discount(&old);
        }
        self.hash.add(&entry);
        self.weight_bytes += weight(&entry);
        if let Some(at) = entry.expires_at() {
            self.deadlines.insert((at, entry.key_bytes()));
        }
    }

    /// Removes an entry from the map, expired or not.
    fn remove(&mut self, key: &[u8]) {
        if let Some(old) = self.store.remove(key) {
            self.note_before(old.key(), Some(&old));
            self.discount(&old);
        }
    }

    /// Removes every entry; how many were visible.
    fn clear(&mut self) -> u64 {
        let visible = read::visible(&self.store, &self.deadlines, self.clock());
        self.note_all_before();
        self.store.clear();
        self.deadlines.clear();
        self.hash = StateHash::default();
        self.weight_bytes = 0;
        visible
    }

    fn discount(&mut self, old: &Entry) {
        self.hash.subtract(old);
        self.weight_bytes -= weight(old);
        if let Some(at) = old.expires_at() {
            self.deadlines.remove(&(at, old.key_bytes()));
        }
    }

    /// Drops a key that is still as it was when it was nominated.
    fn evict(&mut self, key: &[u8], version: Version) {
        if self.store.get(key).is_some_and(|entry| entry.version() == version) {
            self.remove(key);
        }
    }

    /// Removes what has expired, soonest deadline first, so many at a time.
    fn remove_expired(&mut self) {
        for key in read::due(&self.deadlines, self.clock(), MAX_EXPIRED_PER_ENTRY) {
            self.remove(&key);
            self.expirations += 1;
        }
    }
}
