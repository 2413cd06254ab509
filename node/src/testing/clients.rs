//! The clients: each sends a round of calls to nodes, waits for all answers, thinks, and begins again.
//!
//! Keeps the history of every operation. What a client can know is all it uses: an answer, or that its connection
//! broke.

use std::collections::BTreeMap;

use crate::{
    Error,
    machine::command::{Op, Outcome},
    multiraft::node::Ticket,
    testing::{
        check::{CallId, End, Recorder},
        invariants::answers,
        net::Place,
        workload::{Ask, Workload},
    },
    types::ShardId,
};

/// A call that waits for its answer.
#[derive(Debug)]
pub struct Open {
    /// Who asked; `None`: the world itself, when the trouble is over.
    pub client: Option<u64>,
    /// The node asked.
    pub place: Place,
    ops: Vec<(Op, CallId)>,
}

/// All calls of a run.
pub struct Clients {
    /// Draws the operations.
    pub workload: Workload,
    recorder: Recorder,
    open: BTreeMap<Ticket, Open>,
    waiting: BTreeMap<u64, u64>,
    tickets: u64,
}

/// A call was answered.
#[derive(Debug)]
pub struct Answered {
    /// Whose call it was.
    pub client: Option<u64>,
    /// Whether that client has nothing open any more.
    pub idle: bool,
}

impl Clients {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        Self { workload, recorder: Recorder::new(), open: BTreeMap::new(), waiting: BTreeMap::new(), tickets: 0 }
    }

    /// Notes a call that is about to be sent.
    pub fn begin(&mut self, client: Option<u64>, place: Place, ask: &Ask, wall_ms: u64) -> Ticket {
        self.tickets += 1;
        let id = client.unwrap_or(u64::MAX);
        let begin = |op: &Op| (op.clone(), self.recorder.begin(id, self.tickets, ask.shard, op.clone(), wall_ms));
        let ops = ask.ops.iter().map(begin).collect();
        self.open.insert(Ticket(self.tickets), Open { client, place, ops });
        *self.waiting.entry(id).or_default() += 1;
        Ticket(self.tickets)
    }

    /// The answer to a call.
    ///
    /// # Errors
    /// Nobody waits for it, or it has not one outcome for each operation.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        answer: Result<Vec<Outcome>, Error>,
        wall_ms: u64,
    ) -> Result<Answered, (&'static str, String)> {
        let Some(open) = self.open.remove(&ticket) else {
            answers::not_open(ticket.0)?;
            return Ok(Answered { client: None, idle: false });
        };
        if let Ok(outcomes) = &answer {
            answers::complete(ticket.0, open.ops.len(), outcomes)?;
            open.ops.iter().zip(outcomes).for_each(|((op, _), outcome)| self.workload.learn(op, outcome));
        }
        for (i, (_, call)) in open.ops.iter().enumerate() {
            let end = End::of(answer.as_ref().map(|outcomes| outcomes[i].clone()).map_err(Clone::clone));
            self.recorder.end(*call, end, wall_ms);
        }
        Ok(self.closed(&open))
    }

    /// The node's process is gone: what was open there may or may not have happened.
    pub fn lose(&mut self, place: Place, wall_ms: u64) -> Vec<Answered> {
        let (lost, open) = std::mem::take(&mut self.open).into_iter().partition(|(_, open)| open.place == place);
        self.open = open;
        let lost: BTreeMap<Ticket, Open> = lost;
        for (_, call) in lost.values().flat_map(|open| &open.ops) {
            self.recorder.end(*call, End::Unknown, wall_ms);
        }
        lost.values().map(|open| self.closed(open)).collect()
    }

    /// Somebody asks for another generation of a shard, which begins empty.
    pub fn begin_reset(&mut self, shard: ShardId, generation: u64, wall_ms: u64) {
        self.recorder.begin_reset(shard, generation, wall_ms);
    }

    /// It has begun.
    pub fn end_reset(&mut self, shard: ShardId, generation: u64, wall_ms: u64) {
        self.recorder.end_reset(shard, generation, wall_ms);
    }

    /// A call that is still open.
    #[must_use]
    pub fn open(&self, ticket: Ticket) -> Option<&Open> {
        self.open.get(&ticket)
    }

    /// Whether nobody waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Operations asked so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.recorder.history().calls().len()
    }

    /// What was recorded.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn closed(&mut self, open: &Open) -> Answered {
        let waiting = self.waiting.entry(open.client.unwrap_or(u64::MAX)).or_default();
        *waiting -= 1;
        Answered { client: open.client, idle: *waiting == 0 }
    }
}

impl Open {
    /// What was asked, for a message.
    #[must_use]
    pub fn describe(&self) -> String {
        let ops: Vec<&Op> = self.ops.iter().map(|(op, _)| op).collect();
        format!("client {:?} at place {}: {ops:?}", self.client, self.place)
    }
}
