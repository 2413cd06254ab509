//! Where a batch goes next: to the replica here, to another node, or nowhere yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Node,
    batch::{Answer, Batch, Origin, Ticket},
    group::{Group, drain_late},
    hashes::Health,
};
use crate::{
    cluster::map::{ClusterMap, ReplicaSet},
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

/// The ways to every group of this worker's lanes.
pub(super) struct Routes {
    by_group: BTreeMap<GroupId, Route>,
    /// All groups with a parked batch, and perhaps some whose batches have gone since the last look.
    waiting: BTreeSet<GroupId>,
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
    pub(super) fn new(members: Vec<NodeId>) -> Self {
        Self { members, hint: None, next_member: 0, parked: VecDeque::new() }
    }

    /// Who can be asked for a group: the nodes of its voters that live, `own` excluded.
    pub(super) fn members(own: NodeId, map: &ClusterMap, set: &ReplicaSet) -> Vec<NodeId> {
        set.voters().filter(|at| at.node != own && map.is_alive(at)).map(|at| at.node).collect()
    }

    /// Whether it holds as much as it may for other nodes' clients; a node's own are bounded by their permits.
    pub(super) fn is_full(&self) -> bool {
        self.parked.len() >= MAX_PARKED
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
            // One that waits for its first snapshot may not even know that the group has a leader.
            Some(group) if group.is_infant() && group.leader_node().is_none() => {
                let guess = self.guess();
                elsewhere(batch, guess)
            }
            Some(group) if group.health == Health::Serving => way_by_replica(group, batch),
            Some(group) if !group.health.is_stopped() => match group.leader_node() {
                // A corrupt replica still votes, but answers nothing; a corrupt leader is handing over.
                Some(leader) if !group.replica.is_leader() => elsewhere(batch, Some(leader)),
                _ => Way::Wait,
            },
            // It can't know who leads. Two that have stopped would send a batch to and fro with their guesses.
            Some(_) if matches!(batch.origin, Origin::Remote { .. }) => Way::Bounce(None),
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
        // One that has not caught up, or is on its way out, would let the reader wait.
        (Role::Follower, Some(_)) if batch.is_read_only() && group.replica.is_voter(group.own()) => Way::Read,
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

impl Routes {
    pub(super) fn new(by_group: BTreeMap<GroupId, Route>) -> Self {
        Self { by_group, waiting: BTreeSet::new() }
    }

    pub(super) fn get(&self, group: GroupId) -> Option<&Route> {
        self.by_group.get(&group)
    }

    pub(super) fn get_mut(&mut self, group: GroupId) -> Option<&mut Route> {
        self.by_group.get_mut(&group)
    }

    pub(super) fn set_members(&mut self, group: GroupId, members: Vec<NodeId>) {
        if let Some(route) = self.by_group.get_mut(&group) {
            route.members = members;
        }
    }

    /// Lets a batch wait for its group's next turn; gives it back if there is no such group.
    pub(super) fn park(&mut self, batch: Batch) -> Option<Batch> {
        let Some(route) = self.by_group.get_mut(&batch.group) else { return Some(batch) };
        self.waiting.insert(batch.group);
        route.parked.push_back(batch);
        None
    }

    /// The groups in whose routes something waits.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = GroupId> + '_ {
        let Self { by_group, waiting } = self;
        waiting.retain(|group| by_group.get(group).is_some_and(|route| !route.parked.is_empty()));
        waiting.iter().copied()
    }
}

impl<S: EntryStore> Node<S> {
    pub(super) fn on_submit(&mut self, ticket: Ticket, group: GroupId, ops: Vec<Op>, deadline_ms: u64) {
        let batch = Batch { origin: Origin::Local(ticket), group, ops, deadline_ms, hold_until_tick: 0 };
        match self.routes.park(batch) {
            None => {
                self.dirty.insert(group);
            }
            Some(batch) => {
                let reason = format!("{group} is not one of this cluster's shards");
                self.out.answer(batch, Answer::Failed(Error::Invalid { field: "shard", reason }));
            }
        }
    }

    /// A hint from outside steers, it does not decide: one at a node without a replica is dropped.
    pub(super) fn on_leader_hint(&mut self, id: GroupId, leader: NodeId) {
        let Some(route) = self.routes.get_mut(id) else { return };
        if route.members.contains(&leader) {
            route.set_hint(Some(leader));
            self.dirty.insert(id);
        }
    }

    /// Sends every parked batch of a group one step on, as far as there is a step.
    pub(super) fn dispatch(&mut self, now: Now, id: GroupId) {
        let Some(route) = self.routes.get_mut(id) else { return };
        let mut waiting = VecDeque::new();
        let mut forwards = Vec::new();
        for batch in std::mem::take(&mut route.parked) {
            let group = self.groups.get_mut(&id);
            let way = match batch.hold_until_tick > self.tick {
                true => Way::Wait,
                false => route.way(group.as_deref(), &batch),
            };
            match (way, group) {
                (Way::Write, Some(group)) => group.accept_write(batch),
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
            let Some(route) = self.routes.get_mut(batch.group) else { continue };
            let news = leader.is_some() && leader != route.hint;
            route.set_hint(leader);
            if news && leader != Some(self.config.node) {
                self.dirty.insert(batch.group);
            } else {
                batch.hold_until_tick = self.tick + 1;
            }
            self.routes.park(batch);
        }
    }
}
