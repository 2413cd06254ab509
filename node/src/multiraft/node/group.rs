//! One group's replica on this node: its Raft peer, its state machine, and everything that waits for either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Limits, NodeConfig,
    batch::{Answer, Batch},
    checkpoints::Checkpoints,
    conf::Seal,
    evict::Evictions,
    hashes::{Hashes, Health},
    hibernate::Rest,
    meta::Meta,
    out::{Event, Out},
    read::Reads,
    recover::Start,
    report::Told,
    snapshot::Snapshots,
    status::Counters,
    steer::Steering,
};
use crate::{
    checkpoint,
    clock::ClockTable,
    cluster::map::{ClusterMap, ReplicaAt},
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
    pub(super) map: &'a ClusterMap,
    pub(super) clock: &'a mut ClockTable,
    /// Whether checkpoints may go on.
    pub(super) checkpoint_room: bool,
    pub(super) out: &'a mut Out,
}

/// What the log's entries change.
pub(super) enum State<S> {
    Meta(Box<Meta>),
    Shard(Box<Machine<S>>),
}

impl<S: EntryStore> State<S> {
    pub(super) fn applied(&self) -> LogIndex {
        match self {
            Self::Meta(meta) => meta.applied,
            Self::Shard(machine) => machine.applied(),
        }
    }

    /// Takes note of an entry that changes nothing here.
    pub(super) fn apply_empty(&mut self, index: LogIndex) {
        match self {
            Self::Meta(meta) => meta.apply_empty(index),
            Self::Shard(machine) => machine.apply_empty(index),
        }
    }
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
    /// Where each replica lives that may speak for the group: those of the map's set and of the configuration, this one
    /// included, without those whose node has come back in another life.
    pub(super) nodes: BTreeMap<ReplicaId, NodeId>,
    /// Replicas whose life is over.
    pub(super) dead: BTreeSet<ReplicaId>,
    /// Who votes and learns, by the last applied change.
    pub(super) conf: checkpoint::ConfState,
    /// How many changes of the configuration were applied.
    pub(super) conf_version: u64,
    /// The last entry by which this leader has made a configuration outlive a restart.
    pub(super) seal: Option<Seal>,
    /// The last one that the map has heard of.
    pub(super) conf_version_in_map: u64,
    /// The map has a migration of this group.
    pub(super) migrating: bool,
    /// Where leadership should be, by the map.
    pub(super) preferred: Option<ReplicaId>,
    pub(super) steering: Steering,
    pub(super) told: Told,
    /// Whether it was last said that nobody else could lead.
    told_sole: bool,
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
    /// Who was asked to take this leadership over; only while it is still here.
    pub(super) declined: BTreeSet<ReplicaId>,
    pub(super) snapshots: Snapshots<S>,
    pub(super) checkpoints: Checkpoints,
    pub(super) hashes: Hashes,
    pub(super) evictions: Evictions,
    pub(super) health: Health,
    pub(super) uid: ClusterUid,
    pub(super) feature_level: u8,
    /// Where the replicas of the configuration live; changed by applied entries only (PROTOCOL 12).
    pub(super) peer_table: Vec<checkpoint::Peer>,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
}

impl<S: EntryStore> Group<S> {
    /// A replica here, new or recovered.
    pub(super) fn new(
        config: &NodeConfig,
        map: &ClusterMap,
        id: GroupId,
        replica: ReplicaId,
        start: Start<S>,
    ) -> Self {
        let set = &map.groups[&id];
        let Start { mut state, origin, conf_version, peers, checkpoints, unfit } = start;
        if let State::Shard(machine) = &mut state {
            machine.set_faults(config.faults);
            machine.set_hash_interval(config.limits.hash_interval);
        }
        let first = matches!(origin, Origin::First { .. });
        let recovered = matches!(origin, Origin::Recovered(_));
        let own = replica;
        let mut replica = Replica::new(ReplicaConfig {
            group: id,
            generation: set.generation,
            replica,
            incarnation: config.incarnation,
            origin,
            election_ticks: config.timings.election_ticks,
            heartbeat_ticks: config.timings.heartbeat_ticks,
            seed: config.seed,
            durable: config.durable,
            boot: config.boot,
        });
        replica.set_faults(config.faults);
        let mut group = Self {
            id,
            generation: set.generation,
            nodes: BTreeMap::new(),
            dead: BTreeSet::new(),
            conf: checkpoint::ConfState::default(),
            conf_version,
            conf_version_in_map: 0,
            seal: None,
            migrating: false,
            preferred: None,
            steering: Steering::default(),
            told: Told::default(),
            told_sole: false,
            first_leader: first && set.replicas.first().is_some_and(|first| first.replica == own),
            seen: replica.standing(),
            replica,
            state,
            settings: Settings::default(),
            settings_term: Term(0),
            writes: VecDeque::new(),
            waiters: BTreeMap::new(),
            reads: Reads::default(),
            last_stamp: Timestamp(0),
            rest: Rest::default(),
            declined: BTreeSet::new(),
            snapshots: Snapshots::default(),
            checkpoints,
            hashes: Hashes::default(),
            evictions: Evictions::default(),
            health: unfit.map_or(Health::Serving, |reason| Health::Stopped { reason }),
            uid: map.uid,
            feature_level: codec::FEATURE_LEVEL,
            peer_table: peers,
            limits: config.limits,
            counters: Counters::default(),
        };
        group.remember_stamp();
        if recovered {
            group.publish();
        }
        group.read_conf();
        group.follow_map(map, config.node);
        group
    }

    pub(super) fn machine(&self) -> Option<&Machine<S>> {
        match &self.state {
            State::Meta(_) => None,
            State::Shard(machine) => Some(machine),
        }
    }

    pub(super) fn machine_mut(&mut self) -> Option<&mut Machine<S>> {
        match &mut self.state {
            State::Meta(_) => None,
            State::Shard(machine) => Some(machine),
        }
    }

    pub(super) fn meta(&self) -> Option<&Meta> {
        match &self.state {
            State::Meta(meta) => Some(meta),
            State::Shard(_) => None,
        }
    }

    pub(super) fn meta_mut(&mut self) -> Option<&mut Meta> {
        match &mut self.state {
            State::Meta(meta) => Some(meta),
            State::Shard(_) => None,
        }
    }

    pub(super) fn applied(&self) -> LogIndex {
        self.state.applied()
    }

    pub(super) fn own(&self) -> ReplicaId {
        self.replica.config().replica
    }

    /// Whether it has no state yet: it came after the group's beginning, and waits for its first snapshot.
    pub(super) fn is_infant(&self) -> bool {
        self.applied() < FIRST_INDEX
    }

    /// The node that leads, as far as this replica knows.
    pub(super) fn leader_node(&self) -> Option<NodeId> {
        self.nodes.get(&self.replica.standing().leader?).copied()
    }

    /// Whether it leads and has applied an entry of its term: its state then holds all that was ever committed.
    pub(super) fn is_current_leader(&self) -> bool {
        self.replica.is_leader() && self.replica.term_at(self.applied()) == Some(self.replica.standing().term)
    }

    /// Where the other replicas live.
    pub(super) fn others(&self) -> impl Iterator<Item = (ReplicaId, NodeId)> + '_ {
        let own = self.own();
        self.nodes.iter().map(|(replica, node)| (*replica, *node)).filter(move |(replica, _)| *replica != own)
    }

    /// Makes all the progress that can be made without the outside.
    pub(super) fn advance(&mut self, env: &mut Env<'_>) {
        if self.health.is_stopped() {
            return;
        }
        self.seal_conf(env.config);
        self.propose(env);
        loop {
            let next_stamp = env.clock.peek(self.last_stamp, env.now);
            let Some(output) = self.replica.poll(next_stamp) else { break };
            self.perform(output, env);
            self.follow_standing(env);
            if self.health.is_stopped() {
                return;
            }
            self.seal_conf(env.config);
            self.propose(env);
        }
        self.follow_standing(env);
        if self.is_sole() != self.told_sole {
            self.tell_leader(env);
        }
        self.serve_reads(env);
        self.nominate(env);
        self.keep_log_short(env.config);
        self.work_on_snapshot(env);
        self.checkpoint_if_due(env);
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
            self.hand_back_changes(env);
            self.evictions.forget();
            self.declined.clear();
        }
        self.steering.on_standing(standing, self.preferred);
        self.reads.ask_again(&mut self.replica);
        self.tell_leader(env);
    }

    /// Says who leads, and whether nobody else could.
    pub(super) fn tell_leader(&mut self, env: &mut Env<'_>) {
        let (leader, sole) = (self.leader_node(), self.is_sole());
        self.told_sole = sole;
        env.out.event(Event::Leader { group: self.id, leader, term: self.replica.standing().term, sole });
    }

    /// Whether what it has applied is all that was ever acknowledged. After a restart it is not, until an entry of the new
    /// term is applied: the end of its log may be acknowledged, and not known to be committed.
    fn is_sole(&self) -> bool {
        self.replica.is_sole_voter() && self.is_current_leader()
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
        self.expire_changes(env);
    }

    /// This replica takes part no more: it has met what it can't apply, or has no majority to agree with.
    pub(super) fn stop(&mut self, reason: String, env: &mut Env<'_>) {
        self.health = Health::Stopped { reason: reason.clone() };
        self.offer_no_snapshot();
        self.abandon_checkpoint(env);
        self.snapshots.forget_staged();
        env.out.event(Event::Health { group: self.id, health: self.health.clone() });
        self.give_everything_back(&reason, env);
    }

    /// Nothing is answered here any more: what is in no log goes elsewhere, of the rest nobody knows (PROTOCOL 1).
    pub(super) fn give_everything_back(&mut self, reason: &str, env: &mut Env<'_>) {
        self.hand_back_writes(env);
        self.abandon_changes(reason, env);
        for ((index, _), waiting) in std::mem::take(&mut self.waiters) {
            for Waiting { batch, .. } in waiting {
                env.out.unknown(batch, index, reason, env.config.faults);
            }
        }
        self.hand_back_reads(env);
    }

    /// Reads go to whoever leads, if that is not this replica.
    pub(super) fn hand_back_reads(&mut self, env: &mut Env<'_>) {
        let leader = self.leader_node().filter(|node| *node != env.config.node);
        self.reads.ask_again(&mut self.replica);
        for batch in self.replica.drop_reads(|_| true) {
            env.out.answer(batch, Answer::NotApplied { leader });
        }
    }
}

/// The replicas with which a replica's group began, if it is one of those; else it begins empty. The log of the meta group
/// begins with the first map, so whoever knows only a later one can't have its beginning.
pub(super) fn founders(map: &ClusterMap, id: GroupId, replica: ReplicaId) -> Option<&[ReplicaAt]> {
    let set = map.groups.get(&id)?;
    let founders: &[ReplicaAt] = match set.founders.is_empty() {
        false => &set.founders,
        true if set.changes == 0 && (id != GroupId::META || map.version == 1) => &set.replicas,
        true => return None,
    };
    founders.iter().any(|at| at.replica == replica).then_some(founders)
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
