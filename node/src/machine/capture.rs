//! Copies of the whole state as of one index, made in steps while `apply` goes on (PROTOCOL 18).
//!
//! A cursor walks the entries in the order (scan hash, key). What lies before it has been handed out. Of what lies
//! behind it, the first change since the beginning leaves a *pre-image*: the entry as it was, or the fact that there
//! was none. A step hands out the live entries with the pre-images in the place of what has changed.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    faults::Fault,
    machine::{
        Machine, Settings,
        store::{Entry, EntryStore, scan_hash},
    },
    types::{Key, LogIndex, Timestamp, Version},
};

/// Everything of a machine but its entries, as of one index. Stored in the head of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineHead {
    /// The last entry applied.
    pub applied: LogIndex,
    /// Log time: the highest stamp.
    pub log_time: Timestamp,
    /// The version of the last change.
    pub last_version: Version,
    /// How many entries there are, expired ones not yet removed included.
    pub entries: u64,
    /// Their weight.
    pub weight_bytes: u64,
    /// The state hash over them.
    pub hash: u128,
    /// The shared settings.
    pub settings: Settings,
}

/// What one step of a capture gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureStep {
    /// The next entries, perhaps none; there may be more.
    Entries(Vec<Arc<Entry>>),
    /// The last entries, perhaps none; the capture is over.
    Last(Vec<Arc<Entry>>),
    /// There is no capture: it is over, or was cancelled.
    Done,
}

/// Why entries and a head don't make a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// There are more or fewer than the head says (a doubled key counts once).
    #[error("restore the machine: {found} entries where its head says {expected}")]
    Entries {
        /// What the head says.
        expected: u64,
        /// How many there were.
        found: u64,
    },
    /// They weigh another sum.
    #[error("restore the machine: entries of {found} bytes where its head says {expected}")]
    Weight {
        /// What the head says.
        expected: u64,
        /// What they weigh.
        found: u64,
    },
    /// They have another hash.
    #[error("restore the machine: state hash {found:032x} where its head says {expected:032x}")]
    Hash {
        /// What the head says.
        expected: u128,
        /// What they hash to.
        found: u128,
    },
    /// An entry claims a version that has not been given out.
    #[error("restore the machine: an entry has version {found}, beyond the last, {last}")]
    Version {
        /// The last version by the head.
        last: Version,
        /// The entry's.
        found: Version,
    },
}

/// How many entries a flush saves for a capture in one go.
const FLUSH_PAGE: usize = 1_024;

impl<S: EntryStore> Machine<S> {
    /// Begins a capture of the state as it is now; one that runs is dropped.
    pub fn begin_capture(&mut self) -> MachineHead {
        self.capture = Some(Capture::new());
        self.head()
    }

    /// The next entries of the capture in the order (scan hash, key), at most about twice `max_entries`.
    pub fn capture_step(&mut self, max_entries: usize) -> CaptureStep {
        let Some(capture) = &mut self.capture else { return CaptureStep::Done };
        let (entries, last) = capture.step(&self.store, max_entries);
        if last {
            self.capture = None;
            return CaptureStep::Last(entries);
        }
        CaptureStep::Entries(entries)
    }

    /// Drops the capture that runs, if any.
    pub fn cancel_capture(&mut self) {
        self.capture = None;
    }

    /// The state that a capture took. What `store` held goes.
    ///
    /// # Errors
    /// If the entries are not those that `head` speaks of. The store is then of no use.
    pub fn restore(
        mut store: S,
        head: &MachineHead,
        entries: impl Iterator<Item = Entry>,
    ) -> Result<Self, RestoreError> {
        store.clear();
        let mut machine = Self::new(store);
        machine.configure(head.settings);
        for entry in entries {
            if entry.version() > head.last_version {
                return Err(RestoreError::Version { last: head.last_version, found: entry.version() });
            }
            machine.insert(Arc::new(entry));
        }
        machine.agrees(head)?;
        machine.applied = head.applied;
        machine.log_time = head.log_time;
        machine.last_version = head.last_version;
        machine.finish();
        Ok(machine)
    }

    /// Leaves a pre-image for the capture that runs.
    pub(super) fn note_before(&mut self, key: &[u8], before: Option<&Arc<Entry>>) {
        if self.faults.has(Fault::FuzzyCapture) {
            return;
        }
        if let Some(capture) = &mut self.capture {
            capture.note(key, before);
        }
    }

    pub(super) fn note_all_before(&mut self) {
        let Some(mut from) = self.capture.as_ref().map(Capture::cursor) else { return };
        loop {
            let page = self.store.scan(from, FLUSH_PAGE);
            for entry in &page {
                self.note_before(entry.key(), Some(entry));
            }
            match page.last().and_then(|last| scan_hash(last.key()).checked_add(1)) {
                Some(next) if page.len() >= FLUSH_PAGE => from = next,
                Some(_) | None => return,
            }
        }
    }

    fn agrees(&self, head: &MachineHead) -> Result<(), RestoreError> {
        let found = self.head();
        if found.entries != head.entries {
            return Err(RestoreError::Entries { expected: head.entries, found: found.entries });
        }
        if found.weight_bytes != head.weight_bytes {
            return Err(RestoreError::Weight { expected: head.weight_bytes, found: found.weight_bytes });
        }
        if found.hash != head.hash {
            return Err(RestoreError::Hash { expected: head.hash, found: found.hash });
        }
        Ok(())
    }
}

/// A capture that runs.
#[derive(Debug)]
pub(super) struct Capture {
    /// Every hash below it has been handed out.
    cursor: u64,
    /// By (scan hash, key), all at or behind the cursor; `None` where there was no entry.
    pre_images: BTreeMap<(u64, Key), Option<Arc<Entry>>>,
}

impl Capture {
    pub(super) fn new() -> Self {
        Self { cursor: 0, pre_images: BTreeMap::new() }
    }

    /// The first hash that has not been handed out.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// A key changes (or goes, or comes); `before` is what was there. Only the first change counts.
    pub(super) fn note(&mut self, key: &[u8], before: Option<&Arc<Entry>>) {
        let hash = scan_hash(key);
        if hash >= self.cursor {
            let key = before.map_or_else(|| Bytes::copy_from_slice(key), |entry| entry.key_bytes());
            self.pre_images.entry((hash, key)).or_insert_with(|| before.cloned());
        }
    }

    /// The next entries, at most about twice `limit`, and whether they are the last.
    pub(super) fn step(&mut self, store: &impl EntryStore, limit: usize) -> (Vec<Arc<Entry>>, bool) {
        let limit = limit.max(1);
        let live = store.scan(self.cursor, limit);
        let live_end = match live.last() {
            Some(last) if live.len() >= limit => scan_hash(last.key()),
            _ => u64::MAX,
        };
        let (mut page, end) = self.saved(live_end, limit);
        for entry in live {
            let place = (scan_hash(entry.key()), entry.key_bytes());
            if place.0 <= end && !self.pre_images.contains_key(&place) {
                page.push((place.0, entry));
            }
        }
        page.sort_unstable_by(|(a, x), (b, y)| (a, x.key()).cmp(&(b, y.key())));
        self.advance(end);
        (page.into_iter().map(|(_, entry)| entry).collect(), end == u64::MAX)
    }

    /// The saved entries up to the hash `end`, or fewer and a lower end when there are more than `limit` (a flush
    /// saves everything at once).
    fn saved(&self, end: u64, limit: usize) -> (Vec<(u64, Arc<Entry>)>, u64) {
        let mut page: Vec<(u64, Arc<Entry>)> = Vec::new();
        for ((hash, _), before) in &self.pre_images {
            if *hash > end {
                break;
            }
            let Some(before) = before else { continue };
            if page.len() >= limit
                && let Some((last, _)) = page.last()
                && last != hash
            {
                let end = *last;
                return (page, end);
            }
            page.push((*hash, before.clone()));
        }
        (page, end)
    }

    fn advance(&mut self, end: u64) {
        match end.checked_add(1) {
            Some(next) => {
                self.cursor = next;
                self.pre_images = self.pre_images.split_off(&(next, Bytes::new()));
            }
            None => self.pre_images.clear(),
        }
    }
}
