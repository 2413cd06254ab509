//! What moves a node: ticks, and the one path that lets a group make progress.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Group, Node, group::Env, snapshot::Capture};
use crate::{
    machine::store::EntryStore,
    types::{GroupId, NodeId, Now, ReplicaId},
};

/// How often sleeping leaders look at their keys' deadlines.
const DEADLINE_TICKS: u64 = 20;

impl<S: EntryStore> Node<S> {
    /// Sends parked batches on, lets the group advance, and takes in what came back.
    pub(super) fn drive(&mut self, now: Now, id: GroupId) {
        self.touched.insert(id);
        self.dispatch(now, id);
        let state = self.with_group(now, id, |group, env| {
            group.advance(env);
            (group.health.is_serving(), group.capture(env))
        });
        self.settle(id);
        if let Some((serving, capture)) = state {
            if !serving {
                self.with_group(now, id, |group, env| group.hand_back_reads(env));
            }
            match capture {
                Capture::None => {}
                Capture::GoesOn => _ = self.capturing.insert(id),
                Capture::Waits => _ = self.paused.insert(id),
            }
        }
        self.note_leadership(id);
        if id == GroupId::META {
            self.follow_meta(now);
        }
        self.park_bounced();
    }

    /// Runs `f` on a group with what the groups share.
    pub(super) fn with_group<T>(
        &mut self,
        now: Now,
        id: GroupId,
        f: impl FnOnce(&mut Group<S>, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let Self { groups, clock, out, config, tick, map, checkpoint_room, .. } = self;
        let group = groups.get_mut(&id)?;
        Some(f(group, &mut Env { now, tick: *tick, config, map, clock, checkpoint_room: *checkpoint_room, out }))
    }

    pub(super) fn on_tick(&mut self, now: Now) {
        self.tick += 1;
        let Self { groups, clock, out, config, tick, map, dirty, awake, beds, checkpoint_room, .. } = self;
        let mut env = Env { now, tick: *tick, config, map, clock, checkpoint_room: *checkpoint_room, out };
        // Most of a thousand groups sleep. Sleeping leaders mind their keys' deadlines only now and then.
        let mut ids: Vec<GroupId> = awake.iter().copied().collect();
        if tick.is_multiple_of(DEADLINE_TICKS) {
            ids.extend(beds.with_deadlines());
        }
        for id in ids {
            if groups.get_mut(&id).is_some_and(|group| group.tick_if_awake(&mut env)) {
                dirty.insert(id);
            }
        }
        self.look_for_checkpoints();
        self.expire_forwards(now);
        self.expire_parked(now);
        self.dirty.extend(self.routes.waiting());
        if self.tick.is_multiple_of(self.config.timings.beat_ticks) {
            self.send_beats(now);
            self.wake_orphans(now);
            self.steer(now);
            self.report(now);
            self.govern(now);
        }
        if self.is_leaving(now) || self.tick.is_multiple_of(20) {
            self.give_leadership_away(now);
        }
        self.park_bounced();
    }

    fn expire_parked(&mut self, now: Now) {
        for id in self.routes.waiting().collect::<Vec<_>>() {
            let Some(route) = self.routes.get_mut(id) else { continue };
            for batch in route.drain_late(now.mono_ms) {
                let why = match self.groups.get(&id).and_then(|group| group.leader_node()).or(route.hint()) {
                    Some(leader) => format!("its leader, node {leader}, can't be reached"),
                    None => "it has no leader (no quorum of its replicas answers)".to_owned(),
                };
                let answer = batch.too_late(&why);
                self.out.answer(batch, answer);
            }
        }
    }

    /// A node that leaves or whose disk hangs, one whose clock is wrong, and a corrupt replica hand their leaderships over.
    fn give_leadership_away(&mut self, now: Now) {
        let clock_is_wrong = self.clock.own_error_ms(now).is_some();
        let out = &self.out;
        let leaving = self.is_leaving(now);
        for (id, group) in &mut self.groups {
            let corrupt = !group.health.is_serving();
            if !group.replica.takes_proposals() || !(leaving || clock_is_wrong || corrupt) {
                continue;
            }
            let fit = |node: &NodeId| {
                let sound = !clock_is_wrong || leaving || self.clock.is_sound(*node, now);
                out.may_lead(*node) && sound
            };
            let mut candidates: Vec<_> = group.others().filter(|(_, node)| fit(node)).collect();
            // Who has a wrong clock would hand it on at once, perhaps back. Then whoever has most of the log: one that
            // needs a snapshot can't be brought level by a corrupt leader, which sends none.
            let matches: BTreeMap<_, _> = group.replica.matches().into_iter().collect();
            // Who was asked and did not take it comes last, or it would be asked for ever and nobody else.
            if candidates.iter().all(|(replica, _)| group.declined.contains(replica)) {
                group.declined.clear();
            }
            candidates.sort_by_key(|(replica, node)| {
                let declined = group.declined.contains(replica);
                (declined, !self.clock.is_sound(*node, now), Reverse(matches.get(replica).copied()))
            });
            if !candidates.is_empty() {
                group.wake();
                self.dirty.insert(*id);
            }
            let asked = candidates.into_iter().find(|(replica, _)| group.replica.transfer_to(*replica));
            group.declined.extend(asked.map(|(replica, _)| replica));
        }
    }

    pub(super) fn on_transfer(&mut self, id: GroupId, to: NodeId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.wake();
        let fit = |(replica, node): &(ReplicaId, NodeId)| *node == to && group.replica.is_voter(*replica);
        let target = group.others().find(fit);
        if let Some((replica, _)) = target {
            let _ = group.replica.transfer_to(replica);
        }
        self.dirty.insert(id);
    }
}
