//! The clients' calls: rounds of them, their answers, and those that none came to in time.

use super::{Event, Outcome, Phase, World};
use crate::{
    multiraft::node::{Input, Ticket},
    testing::{
        clients::Answered,
        clock::{MS, wall_ms},
        invariants::answers,
        net::Place,
        workload::Ask,
    },
};

impl World<'_> {
    pub(super) fn round(&mut self, client: u64) {
        if self.phase != Phase::Trouble || self.clients.asked() > self.plan.load.max_ops {
            return;
        }
        if let Some((from, until)) = self.plan.load.quiet
            && (from..until).contains(&self.now)
        {
            self.queue.set(until, Event::Round(client));
            return;
        }
        let live = self.live();
        if live.is_empty() {
            self.queue.set(self.now + 50 * MS, Event::Round(client));
            return;
        }
        let calls = 1 + self.draw.below(self.plan.load.pipeline);
        let place = live[self.draw.below(live.len() as u64) as usize];
        for _ in 0..calls {
            let ask = self.clients.workload.next(&mut self.draw, wall_ms(self.now));
            let timeout_ms = 1 + self.draw.below(self.plan.load.timeout_ms);
            self.call(Some(client), place, ask, timeout_ms);
        }
    }

    pub(super) fn call(&mut self, client: Option<u64>, place: Place, ask: Ask, timeout_ms: u64) {
        let ticket = self.clients.begin(client, place, &ask, wall_ms(self.now));
        trace!(self, "{place}: client {client:?} asks {} {:?}", ticket.0, ask);
        let deadline_mono_ms = self.hosts[place].clock.now(self.now).mono_ms + timeout_ms;
        let group = ask.group();
        self.queue.set(self.now + timeout_ms * MS + answers::GRACE, Event::Overdue(ticket));
        self.input(place, Input::Submit { ticket, group, ops: ask.ops, deadline_mono_ms });
    }

    pub(super) fn answered(&mut self, answered: &Answered) {
        let Answered { client: Some(client), idle: true } = *answered else { return };
        let at = self.now + self.draw.below(self.plan.load.think);
        self.queue.set(at, Event::Round(client));
    }

    pub(super) fn overdue(&mut self, ticket: Ticket) -> Outcome {
        let Some(open) = self.clients.open(ticket) else { return Ok(()) };
        let resumes = self.hosts[open.place].paused_until;
        if resumes + answers::GRACE > self.now {
            self.queue.set(resumes + answers::GRACE, Event::Overdue(ticket));
            return Ok(());
        }
        answers::overdue(ticket.0, &open.describe())
    }
}
