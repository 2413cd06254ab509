//! Copies of the whole state as of one index, made in steps while `apply` goes on (PROTOCOL 18).
//!
//! A cursor walks the entries in the order (scan hash, key). What lies before it has been handed out. Of what lies
//! behind it, the first change since the beginning leaves a *pre-image*: the entry as it was, or the fact that there
//! was none. A step hands out the live entries with the pre-images in the place of what has changed.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    machine::{
        Settings,
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
    pub(super) fn note(&mut self, key: &Key, before: Option<&Arc<Entry>>) {
        let hash = scan_hash(key);
        if hash >= self.cursor {
            self.pre_images.entry((hash, key.clone())).or_insert_with(|| before.cloned());
        }
    }

    /// The next entries, at most about twice `limit`, and whether they are the last.
    pub(super) fn step(&mut self, store: &impl EntryStore, limit: usize) -> (Vec<Arc<Entry>>, bool) {
        let limit = limit.max(1);
        let live = store.scan(self.cursor, limit);
        let live_end = match live.last() {
            Some(last) if live.len() >= limit => scan_hash(&last.key),
            _ => u64::MAX,
        };
        let (mut page, end) = self.saved(live_end, limit);
        for entry in live {
            let place = (scan_hash(&entry.key), entry.key.clone());
            if place.0 <= end && !self.pre_images.contains_key(&place) {
                page.push((place.0, entry));
            }
        }
        page.sort_unstable_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
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
