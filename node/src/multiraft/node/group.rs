//! One group's replica on this node: its Raft peer, its state machine, and everything that waits for either.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Limits, NodeConfig,
    batch::{Answer, Batch},
    evict::Evictions,
    hashes::{Hashes, Health},
    hibernate::Rest,
    out::{Event, Out},
    read::Reads,
    snapshot::Snapshots,
    status::Counters,
};
use crate::{
    checkpoint,
    clock::ClockTable,
    cluster::map::{ClusterMap, ReplicaAt, ReplicaSet},
    consensus::{FIRST_INDEX, Origin, Replica, ReplicaConfig, Role, Standing},
    error::Error,
    machine::{Machine, Settings, codec, store::EntryStore},
    types::{ClusterUid, GroupId, LogIndex, NodeId, Now, ReplicaId, Term, Timestamp},
};

/// What the groups of a node share during a turn.
pub(super) struct Env<'a> {
    pub(super) now: Now,
    pub(super) tick: u64,
    pub(super) config: &'a NodeConfig,
    pub(super) clock: &'a mut ClockTable,
    pub(super) out: &'a mut Out,
}

/// What the log's entries change.
pub(super) enum State<S> {
    /// The cluster map's group. Its map is fixed until membership can change.
    Meta {
        applied: LogIndex,
    },
    Shard(Box<Machine<S>>),
}

/// A batch in one entry of this replica's own log.
pub(super) struct Waiting {
    pub(super) batch: Batch,
    /// Where its commands begin in the entry: batches before it may have been given up meanwhile.
    pub(super) first: usize,
}

/// One group's replica here.
pub(super) struct Group<S> {
    pub(super) id: GroupId,
    pub(super) generation: u64,
    /// Where each replica of the group lives, this one included.
    pub(super) nodes: BTreeMap<ReplicaId, NodeId>,
    /// The leader of the first term, so that leaders begin spread over the nodes.
    pub(super) first_leader: bool,
    pub(super) replica: Replica<Batch>,
    pub(super) state: State<S>,
    pub(super) settings: Settings,
    /// The term in which this leader has proposed the settings.
    pub(super) settings_term: Term,
    /// Accepted by this leader, not in its log yet.
    pub(super) writes: VecDeque<Batch>,
    /// In this replica's log, by index and term; survives the loss of leadership (PROTOCOL 1). One index may have
    /// several: what was proposed there is cut off by another leader, and proposed again when this one is back.
    pub(super) waiters: BTreeMap<(LogIndex, Term), Vec<Waiting>>,
    pub(super) reads: Reads,
    /// The highest stamp of an entry in this replica's log.
    pub(super) last_stamp: Timestamp,
    /// The last standing that was acted on.
    pub(super) seen: Standing,
    pub(super) rest: Rest,
    pub(super) snapshots: Snapshots<S>,
    pub(super) hashes: Hashes,
    pub(super) evictions: Evictions,
    pub(super) health: Health,
    pub(super) uid: ClusterUid,
    pub(super) feature_level: u8,
    /// Who the replicas are, as a checkpoint tells it.
    pub(super) peer_table: Vec<checkpoint::Peer>,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
}

impl<S: EntryStore> Group<S> {
    pub(super) fn new(
        config: &NodeConfig,
        map: &ClusterMap,
        id: GroupId,
        set: &ReplicaSet,
        replica: ReplicaId,
        mut state: State<S>,
    ) -> Self {
        if let State::Shard(machine) = &mut state {
            machine.set_faults(config.faults);
            machine.set_hash_interval(config.limits.hash_interval);
        }
        let origin = origin(set);
        if origin != Origin::Empty {
            match &mut state {
                State::Meta { applied } => *applied = FIRST_INDEX,
                State::Shard(machine) => machine.apply_empty(FIRST_INDEX),
            }
        }
        let replica = Replica::new(ReplicaConfig {
            group: id,
            generation: set.generation,
            replica,
            incarnation: config.incarnation,
            origin,
            election_ticks: config.timings.election_ticks,
            heartbeat_ticks: config.timings.heartbeat_ticks,
            seed: config.seed,
        });
        Self {
            id,
            generation: set.generation,
            nodes: set.replicas.iter().map(|at| (at.replica, at.node)).collect(),
            first_leader: set.replicas.first().is_some_and(|at| at.replica == replica.config().replica),
            seen: replica.standing(),
            replica,
            state,
            settings: Settings {
                capacity: map.settings.capacity,
                policy: map.settings.eviction,
                default_ttl_ms: map.settings.default_ttl_ms,
            },
            settings_term: Term(0),
            writes: VecDeque::new(),
            waiters: BTreeMap::new(),
            reads: Reads::default(),
            last_stamp: Timestamp(0),
            rest: Rest::default(),
            snapshots: Snapshots::default(),
            hashes: Hashes::new(set.voters().map(|at| at.replica).collect()),
            evictions: Evictions::default(),
            health: Health::Serving,
            uid: map.uid,
            feature_level: codec::FEATURE_LEVEL,
            peer_table: peer_table(map, set),
            limits: config.limits,
            counters: Counters::default(),
        }
    }

    pub(super) fn machine(&self) -> Option<&Machine<S>> {
        match &self.state {
            State::Meta { .. } => None,
            State::Shard(machine) => Some(machine),
        }
    }

    pub(super) fn machine_mut(&mut self) -> Option<&mut Machine<S>> {
        match &mut self.state {
            State::Meta { .. } => None,
            State::Shard(machine) => Some(machine),
        }
    }

    pub(super) fn applied(&self) -> LogIndex {
        match &self.state {
            State::Meta { applied } => *applied,
            State::Shard(machine) => machine.applied(),
        }
    }

    /// The node that leads, as far as this replica knows.
    pub(super) fn leader_node(&self) -> Option<NodeId> {
        self.nodes.get(&self.replica.standing().leader?).copied()
    }

    /// Where the other replicas live.
    pub(super) fn others(&self) -> impl Iterator<Item = (ReplicaId, NodeId)> + '_ {
        let own = self.replica.config().replica;
        self.nodes.iter().map(|(replica, node)| (*replica, *node)).filter(move |(replica, _)| *replica != own)
    }

    /// Makes all the progress that can be made without the outside.
    pub(super) fn advance(&mut self, env: &mut Env<'_>) {
        if self.health.is_stopped() {
            return;
        }
        self.propose(env);
        loop {
            let next_stamp = env.clock.peek(self.last_stamp, env.now);
            let Some(output) = self.replica.poll(next_stamp) else { break };
            self.perform(output, env);
            self.follow_standing(env);
            if self.health.is_stopped() {
                return;
            }
            self.propose(env);
        }
        self.follow_standing(env);
        self.serve_reads(env);
        self.nominate(env);
        self.keep_log_short();
        self.work_on_snapshot(env);
    }

    /// Reacts once to every change of leader, term or role.
    fn follow_standing(&mut self, env: &mut Env<'_>) {
        let standing = self.replica.standing();
        let before = std::mem::replace(&mut self.seen, standing);
        if (standing.leader, standing.term, standing.role) == (before.leader, before.term, before.role) {
            return;
        }
        if standing.role == Role::Leader && before.role != Role::Leader {
            self.counters.leader_changes += 1;
            self.take_over();
        }
        if standing.role != Role::Leader {
            self.hand_back_writes(env);
            self.evictions.forget();
        }
        self.reads.ask_again(&mut self.replica);
        let (leader, sole) = (self.leader_node(), self.replica.is_sole_voter());
        env.out.event(Event::Leader { group: self.id, leader, term: standing.term, sole });
    }

    /// A new leader never stamps below what its log already holds.
    fn take_over(&mut self) {
        let stamps = self.replica.stamps_after(self.applied());
        self.last_stamp = stamps.into_iter().fold(self.last_stamp, Timestamp::max);
        self.rest = Rest::default();
    }

    /// Writes that never reached the log find another way.
    pub(super) fn hand_back_writes(&mut self, env: &mut Env<'_>) {
        let leader = self.leader_node();
        for batch in self.writes.drain(..) {
            env.out.answer(batch, Answer::NotApplied { leader });
        }
    }

    /// One tick of the Raft clock; not called while the group sleeps.
    pub(super) fn on_tick(&mut self, env: &mut Env<'_>) {
        self.replica.tick();
        self.expire_waiters(env);
        self.snapshots.age(env.tick);
        self.rest_tick(env);
    }

    /// Answers whoever's time has run out.
    fn expire_waiters(&mut self, env: &mut Env<'_>) {
        let late = env.now.mono_ms;
        for batch in drain_late(&mut self.writes, late) {
            let answer = if self.is_over_full() {
                Answer::Failed(Error::Busy { what: "the shard's capacity" })
            } else {
                batch.too_late("the leader could not propose it in time")
            };
            env.out.answer(batch, answer);
        }
        for ((index, _), waiting) in &mut self.waiters {
            for Waiting { batch, .. } in waiting.extract_if(.., |waiting| waiting.batch.deadline_ms <= late) {
                env.out.unknown(batch, *index, "no quorum confirmed it in time", env.config.faults);
            }
        }
        self.waiters.retain(|_, waiting| !waiting.is_empty());
        for batch in self.replica.drop_reads(|batch| batch.deadline_ms <= late) {
            let answer = batch.too_late("no quorum confirmed the read in time");
            env.out.answer(batch, answer);
        }
        self.reads.expire(late, env.out);
    }

    /// This replica takes part no more: it has met what it can't apply, or has no majority to agree with.
    pub(super) fn stop(&mut self, reason: String, env: &mut Env<'_>) {
        self.health = Health::Stopped { reason: reason.clone() };
        self.offer_no_snapshot();
        self.snapshots.forget_staged();
        env.out.event(Event::Health { group: self.id, health: self.health.clone() });
        self.hand_back_writes(env);
        for ((index, _), waiting) in std::mem::take(&mut self.waiters) {
            for Waiting { batch, .. } in waiting {
                env.out.unknown(batch, index, &reason, env.config.faults);
            }
        }
        self.reads.ask_again(&mut self.replica);
        for batch in self.replica.drop_reads(|_| true) {
            env.out.answer(batch, Answer::NotApplied { leader: None });
        }
    }
}

/// The first replicas of a group all begin with its first configuration; whoever comes later gets a snapshot.
fn origin(set: &ReplicaSet) -> Origin {
    if set.changes > 0 {
        return Origin::Empty;
    }
    let ids = |learner| set.replicas.iter().filter(move |at| at.learner == learner).map(|at| at.replica);
    Origin::First { voters: ids(false).collect(), learners: ids(true).collect() }
}

fn peer_table(map: &ClusterMap, set: &ReplicaSet) -> Vec<checkpoint::Peer> {
    let peer = |at: &ReplicaAt| {
        let member = map.members.get(&at.node)?;
        Some(checkpoint::Peer {
            replica: at.replica,
            node: at.node,
            incarnation: member.incarnation,
            address: member.address.clone(),
        })
    };
    set.replicas.iter().filter_map(peer).collect()
}

/// Takes out the batches whose deadline has passed.
pub(super) fn drain_late(queue: &mut VecDeque<Batch>, now_ms: u64) -> Vec<Batch> {
    if queue.iter().all(|batch| batch.deadline_ms > now_ms) {
        return Vec::new();
    }
    let (late, rest): (Vec<_>, Vec<_>) =
        std::mem::take(queue).into_iter().partition(|batch| batch.deadline_ms <= now_ms);
    *queue = rest.into();
    late
}
