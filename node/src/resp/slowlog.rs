//! The last requests that took long (`SLOWLOG`).
//!
//! The commands of a pipeline run together, so its time is that of all of them: it is noted once, under its first
//! command that asked a shard.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;

use super::args::Args;

/// Redis's default, `slowlog-log-slower-than`.
pub(super) const SLOWER_THAN: Duration = Duration::from_millis(10);
/// Redis's default, `slowlog-max-len`.
pub(super) const LENGTH: usize = 128;
const SHOWN_WORDS: usize = 32;
const SHOWN_BYTES: usize = 128;

/// The newest entries, bounded.
#[derive(Default)]
pub(super) struct SlowLog(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// Newest first.
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// One slow request.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// Unix time when it ended.
    pub(super) at_s: u64,
    pub(super) took: Duration,
    /// Its words, the long ones cut and the last ones of many left out.
    pub(super) words: Vec<Bytes>,
    pub(super) peer: SocketAddr,
    pub(super) name: Bytes,
}

impl SlowLog {
    /// Notes a request. Its oldest neighbour goes when there are too many.
    pub(super) fn note(&self, args: &Args, took: Duration, at_s: u64, peer: SocketAddr, name: Bytes) {
        let words = shown(args);
        let mut log = self.0.lock();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(Entry { id, at_s, took, words, peer, name });
        log.entries.truncate(LENGTH);
    }

    /// The newest ones.
    pub(super) fn newest(&self, count: usize) -> Vec<Entry> {
        self.0.lock().entries.iter().take(count).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().entries.len()
    }

    /// Forgets all; the numbers go on.
    pub(super) fn clear(&self) {
        self.0.lock().entries.clear();
    }
}

/// As Redis cuts them.
fn shown(args: &Args) -> Vec<Bytes> {
    let count = args.len();
    let whole = if count > SHOWN_WORDS { SHOWN_WORDS - 1 } else { count };
    let cut = |index| {
        let word: &[u8] = args.word(index);
        match word.get(..SHOWN_BYTES) {
            Some(begin) if word.len() > SHOWN_BYTES => {
                let more = format!("... ({} more bytes)", word.len() - SHOWN_BYTES);
                Bytes::from([begin, more.as_bytes()].concat())
            }
            _ => Bytes::copy_from_slice(word),
        }
    };
    let mut words: Vec<Bytes> = (0..whole).map(cut).collect();
    if count > whole {
        words.push(Bytes::from(format!("... ({} more arguments)", count - whole)));
    }
    words
}
