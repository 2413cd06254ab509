//! Where a batch goes next: to the replica here, to another node, or nowhere yet.

use std::collections::VecDeque;

use super::{
    Node,
    batch::{Answer, Batch, Origin, Ticket},
    group::{Group, drain_late},
    hashes::Health,
};
use crate::{
    cluster::map::ReplicaSet,
    consensus::Role,
    error::Error,
    machine::{command::Op, store::EntryStore},
    types::{GroupId, NodeId, Now},
};

/// Batches that may wait for one group's leader before those of other nodes are answered `Busy`.
const MAX_PARKED: usize = 16 << 10;

/// The way to one group, with or without a replica here.
pub(super) struct Route {
    /// Where its replicas are, this node excluded.
    members: Vec<NodeId>,
    /// Who said to lead it last; only for nodes without a serving replica.
    hint: Option<NodeId>,
    /// Who is asked next when nobody is known to lead.
    next_member: usize,
    /// Waiting for a leader, in order of arrival.
    parked: VecDeque<Batch>,
}

/// The next step of one batch.
enum Way {
    /// Into this leader's log.
    Write,
    /// Into this replica's queue of reads.
    Read,
    Forward(NodeId),
    /// Back to the node that sent it here.
    Bounce(Option<NodeId>),
    Wait,
}

impl Route {
    pub(super) fn new(own: NodeId, set: &ReplicaSet) -> Self {
        let members = set.replicas.iter().map(|at| at.node).filter(|node| *node != own).collect();
        Self { members, hint: None, next_member: 0, parked: VecDeque::new() }
    }

    pub(super) fn park(&mut self, batch: Batch) {
        self.parked.push_back(batch);
    }

    /// Whether it holds as much as it may for other nodes' clients; a node's own are bounded by their permits.
    pub(super) fn is_full(&self) -> bool {
        self.parked.len() >= MAX_PARKED
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(super) fn set_hint(&mut self, leader: Option<NodeId>) {
        self.hint = leader;
    }

    pub(super) fn hint(&self) -> Option<NodeId> {
        self.hint
    }

    pub(super) fn drain_late(&mut self, now_ms: u64) -> Vec<Batch> {
        drain_late(&mut self.parked, now_ms)
    }

    /// The node to try: the one said to lead, else the members in turn.
    fn guess(&mut self) -> Option<NodeId> {
        if self.hint.is_some() {
            return self.hint;
        }
        self.next_member += 1;
        self.members.get(self.next_member % self.members.len().max(1)).copied()
    }

    fn way<S: EntryStore>(&mut self, group: Option<&Group<S>>, batch: &Batch) -> Way {
        match group {
            Some(group) if group.health == Health::Serving => way_by_replica(group, batch),
            Some(group) if !group.health.is_stopped() => match group.leader_node() {
                // A corrupt replica still votes, but answers nothing; a corrupt leader is handing over.
                Some(leader) if !group.replica.is_leader() => elsewhere(batch, Some(leader)),
                _ => Way::Wait,
            },
            Some(_) | None => {
                let guess = self.guess();
                elsewhere(batch, guess)
            }
        }
    }
}

fn way_by_replica<S: EntryStore>(group: &Group<S>, batch: &Batch) -> Way {
    let standing = group.replica.standing();
    match (standing.role, group.leader_node()) {
        (Role::Leader, _) if batch.is_read_only() => Way::Read,
        (Role::Leader, _) if group.replica.takes_proposals() => Way::Write,
        // The leadership is being handed over: proposals queue until it is clear who leads (PROTOCOL 14).
        (Role::Leader, _) => Way::Wait,
        (Role::Follower, Some(_)) if batch.is_read_only() => Way::Read,
        (Role::Follower, Some(leader)) => elsewhere(batch, Some(leader)),
        (Role::Follower | Role::Candidate, _) => match batch.origin {
            Origin::Local(_) => Way::Wait,
            Origin::Remote { .. } => Way::Bounce(None),
        },
    }
}

/// A batch makes one hop: what came from another node goes back to it with a hint.
fn elsewhere(batch: &Batch, to: Option<NodeId>) -> Way {
    match (batch.origin, to) {
        (Origin::Local(_), Some(to)) => Way::Forward(to),
        (Origin::Local(_), None) => Way::Wait,
        (Origin::Remote { .. }, hint) => Way::Bounce(hint),
    }
}

impl<S: EntryStore> Node<S> {
    pub(super) fn on_submit(&mut self, ticket: Ticket, group: GroupId, ops: Vec<Op>, deadline_ms: u64) {
        let batch = Batch { origin: Origin::Local(ticket), group, ops, deadline_ms, hold_until_tick: 0 };
        match self.routes.get_mut(&group) {
            Some(route) => {
                route.park(batch);
                self.dirty.insert(group);
            }
            None => {
                let reason = format!("{group} is not one of this cluster's shards");
                self.out.answer(batch, Answer::Failed(Error::Invalid { field: "shard", reason }));
            }
        }
    }

    /// A hint from outside steers, it does not decide: one at a node without a replica is dropped.
    pub(super) fn on_leader_hint(&mut self, id: GroupId, leader: NodeId) {
        let Some(route) = self.routes.get_mut(&id) else { return };
        if route.members.contains(&leader) {
            route.set_hint(Some(leader));
            self.dirty.insert(id);
        }
    }

    /// Sends every parked batch of a group one step on, as far as there is a step.
    pub(super) fn dispatch(&mut self, now: Now, id: GroupId) {
        let Some(route) = self.routes.get_mut(&id) else { return };
        let mut waiting = VecDeque::new();
        let mut forwards = Vec::new();
        for batch in std::mem::take(&mut route.parked) {
            let group = self.groups.get_mut(&id);
            let way = match batch.hold_until_tick > self.tick {
                true => Way::Wait,
                false => route.way(group.as_deref(), &batch),
            };
            match (way, group) {
                (Way::Write, Some(group)) => group.writes.push_back(batch),
                (Way::Read, Some(group)) => group.accept_read(batch, self.config.faults),
                (Way::Forward(to), _) if self.out.sessions.contains_key(&to) => forwards.push((to, batch)),
                (Way::Bounce(leader), _) => self.out.answer(batch, Answer::NotApplied { leader }),
                (Way::Forward(to), _) => {
                    // No stream to that node: ask another member next time, unless our own replica says it leads.
                    if route.hint == Some(to) {
                        route.hint = None;
                    }
                    waiting.push_back(batch);
                }
                (Way::Wait | Way::Write | Way::Read, _) => waiting.push_back(batch),
            }
        }
        route.parked = waiting;
        for (to, batch) in forwards {
            self.forward(now, to, batch);
        }
    }

    /// Batches that bounced go back to their route, and are tried again now if they brought news, else next tick.
    pub(super) fn park_bounced(&mut self) {
        for (mut batch, leader) in std::mem::take(&mut self.out.again) {
            let Some(route) = self.routes.get_mut(&batch.group) else { continue };
            let news = leader.is_some() && leader != route.hint;
            route.set_hint(leader);
            if news && leader != Some(self.config.node) {
                self.dirty.insert(batch.group);
            } else {
                batch.hold_until_tick = self.tick + 1;
            }
            route.park(batch);
        }
    }
}
