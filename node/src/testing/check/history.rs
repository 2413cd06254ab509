//! What clients asked and what they were told, in the order in which it happened.

use std::fmt;

use crate::{
    Error,
    machine::command::{Op, Outcome},
    types::ShardId,
};

/// A call's place in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub usize);

/// How a call ended, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It took effect between its begin and its end, with this outcome.
    Done(Outcome),
    /// It may have taken effect at any moment since it began, may do so later, or never.
    Unknown,
    /// It has not taken effect and never will.
    NotApplied,
}

impl End {
    /// What an answer of the cache says of the effect; only `OutcomeUnknown` leaves it open.
    #[must_use]
    pub fn of(answer: Result<Outcome, Error>) -> Self {
        match answer {
            Ok(outcome) => Self::Done(outcome),
            Err(Error::OutcomeUnknown { .. }) => Self::Unknown,
            Err(_) => Self::NotApplied,
        }
    }
}

/// A moment: `order` decides what was before what, `ms` is true time for the judgement of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Rises with every recorded begin and end.
    pub order: u64,
    /// Milliseconds since the epoch.
    pub ms: u64,
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asked.
    pub client: u64,
    /// Operations with the same ticket on the same shard take effect in the order of their recording; 0 is none.
    pub ticket: u64,
    /// The shard asked.
    pub shard: ShardId,
    /// What was asked.
    pub op: Op,
    /// When it was sent.
    pub begun: Moment,
    /// When the answer came, and which; `None` while it is open, which counts as [`End::Unknown`].
    pub ended: Option<(Moment, End)>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} [{}", self.client, self.begun.order)?;
        match &self.ended {
            Some((at, end)) => write!(f, "..{}] {:?} -> {end:?}", at.order, self.op),
            None => write!(f, "..] {:?} -> open", self.op),
        }
    }
}

/// A shard lost all that it held and began another generation, empty.
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    /// The shard.
    pub shard: ShardId,
    /// The generation that begins; the first one is 1.
    pub generation: u64,
    /// When somebody first asked for it.
    pub begun: Moment,
    /// When it was known to have happened; `None`: it may still, or never.
    pub ended: Option<Moment>,
}

/// All calls, in the order of their begin.
#[derive(Clone, Debug, Default)]
pub struct History {
    calls: Vec<Call>,
    resets: Vec<Reset>,
}

impl History {
    /// The calls in the order of their begin.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What became of whole shards, in the order of their begin.
    #[must_use]
    pub fn resets(&self) -> &[Reset] {
        &self.resets
    }
}

/// Writes a [`History`]. One writer; callers with threads put it behind a mutex, which also makes the order of
/// begins and ends a real-time order.
#[derive(Debug, Default)]
pub struct Recorder {
    history: History,
    order: u64,
}

impl Recorder {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a call is about to be sent; must happen before it can take effect.
    pub fn begin(&mut self, client: u64, ticket: u64, shard: ShardId, op: Op, now_ms: u64) -> CallId {
        let begun = self.moment(now_ms);
        self.history.calls.push(Call { client, ticket, shard, op, begun, ended: None });
        CallId(self.history.calls.len() - 1)
    }

    /// Notes how a call ended; must happen after its answer was received.
    ///
    /// # Panics
    /// When the call has ended before: a second answer is a bug of the caller or of the cache.
    pub fn end(&mut self, id: CallId, end: End, now_ms: u64) {
        let at = self.moment(now_ms);
        let call = &mut self.history.calls[id.0];
        assert!(call.ended.is_none(), "answered twice: {call}");
        call.ended = Some((at, end));
    }

    /// Notes that a shard is about to begin another generation; must happen before it can.
    pub fn begin_reset(&mut self, shard: ShardId, generation: u64, now_ms: u64) {
        if !self.history.resets.iter().any(|reset| (reset.shard, reset.generation) == (shard, generation)) {
            let begun = self.moment(now_ms);
            self.history.resets.push(Reset { shard, generation, begun, ended: None });
        }
    }

    /// Notes that it has; must happen before anything that follows from that is recorded.
    pub fn end_reset(&mut self, shard: ShardId, generation: u64, now_ms: u64) {
        let at = self.moment(now_ms);
        let is_it = |reset: &&mut Reset| (reset.shard, reset.generation) == (shard, generation);
        if let Some(reset) = self.history.resets.iter_mut().find(is_it) {
            reset.ended.get_or_insert(at);
        }
    }

    /// Whether this call has its answer.
    #[must_use]
    pub fn is_ended(&self, id: CallId) -> bool {
        self.history.calls[id.0].ended.is_some()
    }

    /// What was recorded so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The finished history.
    #[must_use]
    pub fn finish(self) -> History {
        self.history
    }

    fn moment(&mut self, ms: u64) -> Moment {
        self.order += 1;
        Moment { order: self.order, ms }
    }
}
