//! What clients asked and were told, in an order that real time agrees with.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment in the order of all clients. Taken before sending and after receiving.
pub type Moment = u64;

/// Hands out moments.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// The next moment; never 0, which is before everything.
    pub fn tick(&self) -> Moment {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What was asked, and what was told when there was a clear answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A value, different from every other one written to this key. Without `acknowledged` it may have happened or
    /// not, or happen later.
    Write {
        /// The value.
        value: u64,
        /// Whether the answer was `OK`.
        acknowledged: bool,
    },
    /// A read that was answered; one that was not tells nothing and is left out.
    Read {
        /// The value, or none.
        value: Option<u64>,
    },
    /// One was added to a counter; with the sum when it was answered.
    Increment {
        /// The new sum.
        sum: Option<u64>,
    },
}

/// One operation on one key.
#[derive(Clone, Debug)]
pub struct Call {
    /// The key's number.
    pub key: usize,
    /// Before it was sent.
    pub begin: Moment,
    /// After it was answered or given up.
    pub end: Moment,
    /// What and with which answer.
    pub event: Event,
}
