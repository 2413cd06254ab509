//! Idle groups sleep (PROTOCOL 15): no ticks, no heartbeats.
//!
//! A leader whose peers all have everything asks them to sleep, and sleeps when all have agreed. A sleeping
//! follower trusts its leader's node as long as that node's beats come on the same session and its digest of the
//! groups it leads asleep fits; otherwise it wakes. One that has no such node any more, because the map has ended its
//! leader's life, wakes at once. Anything that happens to a group wakes its replica.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1;

use super::{
    LANES, Node,
    beds::Bed,
    group::{Env, Group},
    meta::Meta,
};
use crate::{
    consensus::FIRST_INDEX,
    faults::Fault,
    machine::store::EntryStore,
    types::{GroupId, LogIndex, NodeId, Now, ReplicaId},
};

/// `Sleep.kind`: the leader asks.
const ASK: u32 = 0;
/// A follower agrees.
const AGREE: u32 = 1;
/// Somebody woke.
const WAKE: u32 = 2;

/// A digest must differ this often in a row before it wakes anybody: one beat may cross an agreement.
const TOLERATED_MISMATCHES: u32 = 2;

/// Whether a group runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Awake {
        idle_ticks: u64,
    },
    /// This leader has asked; these have agreed.
    Asking {
        index: LogIndex,
        agreed: BTreeSet<ReplicaId>,
        age_ticks: u64,
    },
    Asleep,
}

impl Default for Rest {
    fn default() -> Self {
        Self::Awake { idle_ticks: 0 }
    }
}

/// What is known of the peers' beats, for the lanes of this worker.
#[derive(Debug, Default)]
pub(super) struct Beats {
    /// By lane: a worker of the other node that has stopped must not hide behind its neighbours.
    heard: BTreeMap<(NodeId, u32), Heard>,
}

/// What the beats of one worker of a peer said last.
#[derive(Debug, Default)]
struct Heard {
    tick: u64,
    /// How often in a row its digest did not fit.
    mismatches: u32,
}

impl Beats {
    pub(super) fn forget(&mut self, peer: NodeId) {
        self.heard.retain(|(node, _), _| *node != peer);
    }
}

impl<S: EntryStore> Group<S> {
    /// Something happened: the group runs.
    pub(super) fn stir(&mut self) {
        match &mut self.rest {
            Rest::Awake { idle_ticks } => *idle_ticks = 0,
            Rest::Asking { .. } => self.rest = Rest::default(),
            Rest::Asleep => self.wake(),
        }
    }

    pub(super) fn wake(&mut self) {
        if self.rest == Rest::Asleep {
            self.replica.wake();
        }
        self.rest = Rest::default();
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.rest == Rest::Asleep
    }

    /// How it sleeps, if it does. A sleeper without a bed has nobody to wake it.
    pub(super) fn bed(&self) -> Option<Bed> {
        if !self.is_asleep() {
            return None;
        }
        let term = self.replica.standing().term;
        if self.replica.is_leader() {
            let peers = self.others().map(|(_, node)| node).collect();
            let has_deadlines = self.machine().is_some_and(|machine| machine.next_deadline().is_some());
            return Some(Bed::Leads { term, peers, has_deadlines });
        }
        self.leader_node().map(|leader| Bed::Under { term, leader })
    }

    /// One tick; says whether the group was awake. A sleeping leader still minds its keys' deadlines.
    pub(super) fn tick_if_awake(&mut self, env: &mut Env<'_>) -> bool {
        if self.health.is_stopped() {
            return false;
        }
        if self.is_asleep() {
            if !(self.replica.is_leader() && self.deadline_due(env)) {
                return false;
            }
            self.wake();
        }
        // Leaders begin spread over the nodes, without waiting for a timeout; nor has the only voter anybody to wait for.
        let begins = self.first_leader && self.replica.standing().last == FIRST_INDEX;
        if env.tick == 1 && (begins || self.replica.is_alone()) {
            self.replica.campaign();
        }
        self.on_tick(env);
        true
    }

    /// Counts idle ticks, and asks for sleep when there were enough.
    pub(super) fn rest_tick(&mut self, env: &mut Env<'_>) {
        let quiet = self.is_quiet();
        match &mut self.rest {
            Rest::Asleep => {}
            Rest::Awake { idle_ticks } if quiet => {
                *idle_ticks += 1;
                let hibernate = env.config.timings.hibernate_ticks;
                if hibernate > 0 && *idle_ticks >= hibernate && self.replica.is_leader() {
                    self.ask_to_sleep(env);
                }
            }
            // An ask that is not answered soon was lost; begin again later.
            Rest::Asking { age_ticks, .. } if quiet && *age_ticks < 4 => *age_ticks += 1,
            Rest::Awake { .. } | Rest::Asking { .. } => self.rest = Rest::default(),
        }
    }

    /// Whether nothing waits here.
    fn is_quiet(&self) -> bool {
        self.writes.is_empty()
            && self.waiters.is_empty()
            && self.reads.is_empty()
            && self.replica.pending_reads() == 0
            && self.replica.standing().last == self.applied()
            && self.health.is_serving()
            && !self.is_capturing()
            && !self.snapshots.is_offering()
            && !self.meta().is_some_and(Meta::is_busy)
            && !self.is_changing()
    }

    /// Whether its replicas come or go.
    fn is_changing(&self) -> bool {
        self.migrating || self.replica.has_pending_conf() || self.replica.is_joint()
    }

    fn ask_to_sleep(&mut self, env: &mut Env<'_>) {
        let index = self.applied();
        if !self.replica.is_level(index) {
            return;
        }
        for (replica, node) in self.others().collect::<Vec<_>>() {
            self.say(ASK, replica, node, index, env);
        }
        self.rest = Rest::Asking { index, agreed: BTreeSet::new(), age_ticks: 0 };
        self.sleep_if_agreed();
    }

    fn say(&mut self, kind: u32, to: ReplicaId, node: NodeId, index: LogIndex, env: &mut Env<'_>) {
        if let Some(frame) = env.out.to(node, 48) {
            frame.sleeps.push(v1::Sleep {
                group: self.id.0,
                generation: self.generation,
                to: to.0,
                from: self.replica.config().replica.0,
                term: self.replica.standing().term.0,
                index: index.0,
                kind,
            });
        }
    }

    fn sleep_if_agreed(&mut self) {
        let Rest::Asking { index, agreed, .. } = &self.rest else { return };
        let own = self.own();
        let all = self.conf_members().all(|replica| replica == own || agreed.contains(&replica));
        if all && self.replica.is_level(*index) && self.is_quiet() {
            self.rest = Rest::Asleep;
        }
    }

    pub(super) fn on_sleep(&mut self, from: NodeId, sleep: &v1::Sleep, env: &mut Env<'_>) {
        let (replica, index) = (ReplicaId(sleep.from), LogIndex(sleep.index));
        let known = self.nodes.get(&replica) == Some(&from) && ReplicaId(sleep.to) == self.replica.config().replica;
        if !known || sleep.generation != self.generation {
            return;
        }
        let standing = self.replica.standing();
        match sleep.kind {
            ASK => {
                let follows = standing.leader == Some(replica) && !self.replica.is_leader();
                let level = standing.last == index && standing.commit == index && standing.term.0 == sleep.term;
                if follows && level && self.is_quiet() {
                    self.rest = Rest::Asleep;
                    self.say(AGREE, replica, from, index, env);
                }
            }
            AGREE => {
                if let Rest::Asking { index: asked, agreed, .. } = &mut self.rest
                    && *asked == index
                    && standing.term.0 == sleep.term
                {
                    agreed.insert(replica);
                    self.sleep_if_agreed();
                }
            }
            WAKE => self.wake(),
            _ => {}
        }
    }

    /// A message came from a replica that had agreed to sleep: it is awake, so the leader may not sleep.
    pub(super) fn note_message(&mut self, from: ReplicaId) {
        match &mut self.rest {
            Rest::Asking { agreed, .. } => {
                agreed.remove(&from);
            }
            Rest::Asleep => self.wake(),
            Rest::Awake { .. } => {}
        }
    }

    /// Wakes and tells the leader, who may still sleep.
    fn wake_orphan(&mut self, env: &mut Env<'_>) {
        self.wake();
        if let Some(leader) = self.replica.standing().leader
            && let Some(&node) = self.nodes.get(&leader)
        {
            self.say(WAKE, leader, node, LogIndex(0), env);
        }
    }
}

impl<S: EntryStore> Node<S> {
    /// Tells every peer that this worker lives, what its clock shows, and which groups it leads asleep.
    pub(super) fn send_beats(&mut self, now: Now) {
        for peer in self.out.sessions.keys().copied().collect::<Vec<_>>() {
            self.send_beat(now, peer);
        }
    }

    pub(super) fn send_beat(&mut self, now: Now, peer: NodeId) {
        self.settle_dirty();
        let leaving = self.is_leaving(now);
        let lanes: Vec<u32> = (0..LANES).filter(|lane| self.config.lanes.owns_lane(*lane)).collect();
        let digests = lanes.iter().map(|lane| self.beds.digest_led(peer, *lane)).collect();
        if let Some(frame) = self.out.to(peer, 16 * lanes.len()) {
            frame.beats.push(v1::LaneBeat { lanes, digests, wall_ms: now.wall.0, leaving });
        }
    }

    pub(super) fn on_beat(&mut self, now: Now, from: NodeId, beat: &v1::LaneBeat) {
        // Who was removed is still there for a while, but no member of the majority of clocks.
        if self.map.incarnation_of(from).is_some() {
            self.clock.hear(from, crate::types::Timestamp(beat.wall_ms), now);
        }
        match beat.leaving {
            true => self.out.leaving.insert(from),
            // Its disk answers again.
            false => self.out.leaving.remove(&from),
        };
        self.settle_dirty();
        for (lane, digest) in beat.lanes.iter().zip(&beat.digests) {
            if *lane >= LANES || !self.config.lanes.owns_lane(*lane) {
                continue;
            }
            let heard = self.peers.beats.heard.entry((from, *lane)).or_default();
            heard.tick = self.tick;
            if self.beds.digest_under(from, *lane) == *digest {
                heard.mismatches = 0;
                continue;
            }
            heard.mismatches += 1;
            if heard.mismatches >= TOLERATED_MISMATCHES {
                heard.mismatches = 0;
                self.wake_led_by(now, from, *lane);
            }
        }
    }

    /// Wakes what sleeps under a node whose beats have stopped.
    pub(super) fn wake_orphans(&mut self, now: Now) {
        if self.config.faults.has(Fault::WakeNotTiedToIncarnation) {
            return;
        }
        self.settle_dirty();
        let patience = self.config.timings.election_ticks as u64 * 2;
        let is_silent = |(leader, lane): &(NodeId, u32)| {
            let heard = self.peers.beats.heard.get(&(*leader, *lane)).map_or(0, |heard| heard.tick);
            self.tick > heard + patience || !self.out.sessions.contains_key(leader)
        };
        let orphaned: Vec<_> = self.beds.rooms_under().filter(is_silent).collect();
        for (leader, lane) in orphaned {
            self.wake_led_by(now, leader, lane);
        }
    }

    fn wake_led_by(&mut self, now: Now, leader: NodeId, lane: u32) {
        for id in self.beds.sleepers_under(leader, lane) {
            self.with_group(now, id, |group, env| group.wake_orphan(env));
            self.dirty.insert(id);
        }
    }

    /// Notes how a group rests now. Whatever changes a group's rest, term, leader or replicas marks it as dirty, and
    /// every dirty group comes by here when it is driven.
    pub(super) fn settle(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            self.awake.remove(&id);
            return self.beds.put(id, None);
        };
        let bed = group.bed();
        // The map has ended its leader's life: no beat speaks for the group any more, so none could wake it either.
        if bed.is_none() && group.is_asleep() {
            group.wake();
        }
        let newly = if bed.is_some() { self.awake.remove(&id) } else { self.awake.insert(id) };
        // Awake it has no bed, and had none before: the case of every group under load.
        if newly || bed.is_some() {
            self.beds.put(id, bed);
        }
    }

    /// What happened since the last turn counts too: a beat must neither vouch for a group that has just woken, nor
    /// overlook one that has just gone to sleep.
    fn settle_dirty(&mut self) {
        let dirty: Vec<GroupId> = self.dirty.iter().copied().collect();
        dirty.into_iter().for_each(|id| self.settle(id));
    }

    /// Compares what is kept of the sleepers with what the groups say, and looks for those whom nobody will wake; for
    /// the simulator's invariants.
    ///
    /// # Errors
    /// What differs, or who sleeps for ever.
    #[cfg(any(feature = "planted-faults", feature = "testing"))]
    pub fn check_sleepers(&self) -> Result<(), String> {
        let mut beds = super::beds::Beds::default();
        self.groups.iter().for_each(|(id, group)| beds.put(*id, group.bed()));
        let lost = self.groups.values().find(|group| group.is_asleep() && group.bed().is_none());
        if let Some(group) = lost {
            return Err(format!("{} sleeps, and nobody will wake it", group.id));
        }
        let awake = self.groups.iter().filter(|(_, group)| !group.is_asleep()).map(|(id, _)| *id);
        if beds == self.beds && awake.eq(self.awake.iter().copied()) {
            return Ok(());
        }
        Err(format!("kept {:?}, awake {:?}; the groups say {beds:?}", self.beds, self.awake))
    }
}
