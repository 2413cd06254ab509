//! One thread, its share of the shards, and the loop that feeds the core and carries out what it says.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crema_api::v1;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Stores,
    disk::Journal,
    mailbox::{Mail, Petition, Submission},
    outlets::Outlets,
};
use crate::{
    cluster::map::ClusterMap,
    error::Error,
    machine::command::Outcome,
    multiraft::{
        govern::GovernError,
        node::{Effects, Event, Input, Node, SendSnapshot, Ticket},
    },
    types::{GroupId, NodeId, Now},
};

/// Mail taken in before a turn: enough for any batch, little enough that replies don't wait for it.
const MAIL_PER_TURN: usize = 1_024;
/// Ticks between two publications of all status.
const STATUS_TICKS: u64 = 10;
/// Low bits of a ticket: the position within its submission.
const TICKET_BITS: u32 = 16;

/// The results of one submission's calls; the sender gives them back together.
struct Gather {
    results: Vec<Option<Result<Vec<Outcome>, Error>>>,
    left: usize,
    reply: oneshot::Sender<Vec<Result<Vec<Outcome>, Error>>>,
    /// Held until here, so that what a worker has to do stays bounded.
    _permit: OwnedSemaphorePermit,
}

pub(super) struct Worker<T: Stores> {
    number: u32,
    node: Node<T::Store>,
    inbox: Receiver<Mail>,
    outlets: Arc<Outlets<T>>,
    tick: Duration,
    ticks: u64,
    gathers: HashMap<u64, Gather>,
    petitions: HashMap<Ticket, Waiting>,
    last_ticket: u64,
    /// The sessions as the core knows them: what it says belongs to these.
    sessions: HashMap<NodeId, u64>,
    /// With a disk.
    journal: Option<Journal>,
    stopping: bool,
}

/// Who waits for a change of the map.
struct Waiting {
    reply: oneshot::Sender<Result<Arc<ClusterMap>, GovernError>>,
    _permit: OwnedSemaphorePermit,
}

impl<T: Stores> Worker<T> {
    pub(super) fn new(
        number: u32,
        node: Node<T::Store>,
        inbox: Receiver<Mail>,
        outlets: Arc<Outlets<T>>,
        journal: Option<Journal>,
    ) -> Self {
        let tick = Duration::from_millis(node.timings().tick_ms);
        Self {
            number,
            node,
            inbox,
            outlets,
            tick,
            ticks: 0,
            gathers: HashMap::new(),
            petitions: HashMap::new(),
            last_ticket: 0,
            sessions: HashMap::new(),
            journal,
            stopping: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now() + self.tick;
        let mut more = false;
        while !self.stopping {
            let now = self.take_mail(next_tick, more);
            if Instant::now() >= next_tick {
                self.on_tick(now);
                // After a pause (a suspended process) the missed ticks are not made up for: nobody may look late
                // only because we were.
                next_tick = (next_tick + self.tick).max(Instant::now());
            }
            if let Some(journal) = &self.journal {
                self.node.set_checkpoint_room(journal.has_room());
            }
            let effects = self.node.turn(now);
            more = effects.more;
            self.perform(now, effects);
            self.outlets.board.count_turn(self.number);
        }
        self.abandon();
        if let Some(journal) = self.journal.take() {
            journal.close();
        }
    }

    /// Takes in what has come; waits for it until the next tick, unless there is more to do anyway.
    fn take_mail(&mut self, next_tick: Instant, more: bool) -> Now {
        let first = if more { self.inbox.try_recv().ok() } else { self.wait(next_tick) };
        let now = self.outlets.clock.now();
        let rest = self.inbox.try_iter().take(MAIL_PER_TURN).collect::<Vec<_>>();
        for mail in first.into_iter().chain(rest) {
            self.take_in(now, mail);
        }
        now
    }

    fn wait(&mut self, next_tick: Instant) -> Option<Mail> {
        match self.inbox.recv_deadline(next_tick) {
            Ok(mail) => Some(mail),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.stopping = true;
                None
            }
        }
    }

    fn take_in(&mut self, now: Now, mail: Mail) {
        let input = match mail {
            Mail::Submit(submission) => return self.submit(now, submission),
            Mail::Stop => {
                self.stopping = true;
                return;
            }
            Mail::SessionUp { peer, session } => {
                self.sessions.insert(peer, session);
                Input::SessionUp { peer, session }
            }
            Mail::SessionDown { peer, session } => {
                if self.sessions.get(&peer) == Some(&session) {
                    self.sessions.remove(&peer);
                }
                Input::SessionDown { peer, session }
            }
            Mail::Frame { from, session, frame, permit } => {
                drop(permit);
                self.outlets.board.count_frames(self.number, 0, 1);
                Input::Frame { from, session, frame: *frame }
            }
            Mail::Snapshot(snapshot) => Input::Snapshot(snapshot),
            Mail::SnapshotSent { group, to, ok } => Input::SnapshotSent { group, to, ok },
            Mail::Transfer { group, to } => Input::TransferLeader { group, to },
            Mail::Hint { group, leader } => Input::LeaderHint { group, leader },
            Mail::Resign => Input::Resign,
            Mail::Map(map) => Input::Map(map),
            Mail::Report(report) => Input::Report(report),
            Mail::Persisted { number } => Input::Persisted { number },
            Mail::PersistFailed { reason } => Input::PersistFailed { reason },
            Mail::Checkpointed { group, replica, index } => Input::Checkpointed { group, replica, index },
            Mail::CheckpointFailed { group, replica, index } => Input::CheckpointFailed { group, replica, index },
            Mail::Govern(petition) => self.petition(petition),
        };
        self.node.input(now, input);
    }

    fn submit(&mut self, now: Now, submission: Submission) {
        let Submission { calls, deadline_mono_ms, reply, permit } = submission;
        let gather = self.next_ticket();
        self.gathers
            .insert(gather, Gather { results: vec![None; calls.len()], left: calls.len(), reply, _permit: permit });
        for (position, (group, ops)) in calls.into_iter().enumerate() {
            let ticket = Ticket(gather << TICKET_BITS | position as u64);
            self.node.input(now, Input::Submit { ticket, group, ops, deadline_mono_ms });
        }
    }

    fn petition(&mut self, petition: Petition) -> Input {
        let Petition { command, expected_version, deadline_mono_ms, reply, permit } = petition;
        let ticket = Ticket(self.next_ticket());
        self.petitions.insert(ticket, Waiting { reply, _permit: permit });
        Input::Govern { ticket, command, expected_version, deadline_mono_ms }
    }

    fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn on_tick(&mut self, now: Now) {
        self.ticks += 1;
        self.node.input(now, Input::Tick);
        if self.ticks.is_multiple_of(STATUS_TICKS) {
            self.publish();
        }
    }

    /// Tells what has changed; sleeping groups cost nothing.
    fn publish(&mut self) {
        let changed = self.node.take_changed_status();
        self.outlets.board.publish(self.number, changed);
        // Only the worker of the meta group knows more than the map.
        if self.node.group_status(GroupId::META).is_some() {
            self.outlets.board.set_governing(self.node.governing().cloned().map(Arc::new));
        }
    }

    /// The order is a promise: a committed map is everywhere on this node before anything is acknowledged under it, and
    /// what has changed of a shard is noted before a frame leaves by which another node could go on from there.
    fn perform(&mut self, now: Now, effects: Effects) {
        let Effects {
            persist,
            checkpoints,
            frames,
            replies,
            snapshots,
            events,
            map,
            governed,
            reports,
            destroyed,
            more: _,
        } = effects;
        if let Some(journal) = &mut self.journal {
            // First, so that the disk works while the rest is done; nothing here has to wait for it.
            persist.into_iter().for_each(|batch| journal.persist(batch));
            checkpoints.into_iter().for_each(|piece| journal.checkpoint(piece));
        }
        if let Some(map) = map {
            self.outlets.spread_map(self.number, &map);
        }
        destroyed.into_iter().for_each(|group| self.forget(group));
        self.note(events);
        self.send(now, frames);
        for (ticket, result) in replies {
            self.reply(ticket, result);
        }
        for (ticket, result) in governed {
            if let Some(waiting) = self.petitions.remove(&ticket) {
                // Who has gone away needs no answer.
                let _ = waiting.reply.send(result);
            }
        }
        for snapshot in snapshots {
            self.send_snapshot(snapshot);
        }
        reports.into_iter().for_each(|report| self.outlets.meta().send(Mail::Report(report)));
    }

    fn forget(&self, group: GroupId) {
        self.outlets.board.forget(self.number, group);
        // The same turn may have begun a new replica, whose reader has taken the old one's place.
        if self.node.group_status(group).is_none() {
            self.outlets.stores.discard(group);
        }
    }

    fn note(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.publish();
        }
        for event in events {
            self.outlets.board.note(&event);
            self.outlets.tell(event);
        }
    }

    fn send(&mut self, now: Now, frames: Vec<(NodeId, v1::Frame)>) {
        self.outlets.board.count_frames(self.number, frames.len() as u64, 0);
        for (to, frame) in frames {
            // The core sends only on a session that it knows; 0 is none.
            let session = self.sessions.get(&to).copied().unwrap_or_default();
            if let Err(refused) = self.outlets.peers.send(to, session, frame) {
                // It never left: what it carried of clients may go another way.
                self.node.input(now, Input::Undelivered { to, frame: refused.frame });
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, result: Result<Vec<Outcome>, Error>) {
        let (gather, position) = (ticket.0 >> TICKET_BITS, ticket.0 & ((1 << TICKET_BITS) - 1));
        let Some(waiting) = self.gathers.get_mut(&gather) else { return };
        if waiting.results[position as usize].replace(result).is_some() {
            debug_assert!(false, "{ticket:?} was answered twice");
            return;
        }
        waiting.left -= 1;
        if waiting.left == 0
            && let Some(done) = self.gathers.remove(&gather)
        {
            // A client that has gone away needs no answer.
            let _ = done.reply.send(done.results.into_iter().flatten().collect());
        }
    }

    fn send_snapshot(&self, snapshot: SendSnapshot) {
        let SendSnapshot { group, to, node, message, chunks } = snapshot;
        let mailbox = self.outlets.mailboxes[self.number as usize].clone();
        self.outlets.peers.send_snapshot(node, message, chunks, move |result| {
            if let Err(reason) = &result {
                tracing::warn!(%group, %node, reason, "a snapshot did not arrive");
            }
            mailbox.send(Mail::SnapshotSent { group, to, ok: result.is_ok() });
        });
    }

    /// The last answers: nobody knows what becomes of what is in a log.
    fn abandon(&mut self) {
        for (_, waiting) in self.gathers.drain() {
            let unknown = || Error::OutcomeUnknown { reason: "this node is shutting down".to_owned(), index: None };
            let results = waiting.results.into_iter().map(|result| result.unwrap_or_else(|| Err(unknown())));
            let _ = waiting.reply.send(results.collect());
        }
    }
}
