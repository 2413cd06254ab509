//! The cluster changes its shape: processes join, operators ask for changes, and nodes learn that their life is over.
//!
//! What the runtime and the network do in production the world does here, with the same rules: who wants a change of
//! the map asks any node and follows its hints, and peers take a node only in the life that their map names.

use std::{collections::BTreeSet, sync::Arc};

use super::{Event, Phase, World};
use crate::{
    cluster::{
        command::{Incoming, MetaCommand},
        map::{ClusterMap, MemberState, Migration, Reason, SharedSettings},
    },
    multiraft::{
        govern::GovernError,
        node::{Input, Ticket},
    },
    testing::{
        clock::{MS, SECOND},
        cluster,
        host::{node_id, place_of},
        net::Place,
        plan::Wish,
    },
    types::{GroupId, Incarnation, ReplicaId},
};

/// Tickets of these calls begin here; those of clients are below.
const FIRST_TICKET: u64 = 1 << 40;
/// How long the leader of the meta group may take.
const PATIENCE_MS: u64 = 2_000;
/// How often an operator asks again.
const TRIES: u32 = 6;

/// Somebody who wants a change of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A process that wants in, in this life.
    Join(Place, Incarnation),
    /// An operator, who has asked so often.
    Wish(Wish, u32),
    /// An operator whose shards have lost their majority.
    Reset,
}

/// Calls that wait for their answer.
#[derive(Debug, Default)]
pub(super) struct Asking {
    last: u64,
    open: std::collections::BTreeMap<Ticket, (Asker, Place)>,
}

impl World<'_> {
    /// A new process begins, and asks to be let in.
    pub(super) fn begin_life(&mut self, place: Place) {
        if !self.hosts[place].is_dead() {
            return;
        }
        self.hosts[place].begin_life();
        let incarnation = self.hosts[place].incarnation;
        trace!(self, "{place}: begins as {incarnation}");
        self.ask_soon(Asker::Join(place, incarnation), None, 20);
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        self.ask_soon(Asker::Wish(wish, 0), None, 1);
    }

    pub(super) fn ask_soon(&mut self, asker: Asker, hint: Option<Place>, within_ms: u64) {
        let at = self.now + MS + self.draw.below(within_ms * MS);
        self.queue.set(at, Event::Ask(asker, hint));
    }

    /// Sends the call to the node that is said to lead, else to any.
    pub(super) fn ask(&mut self, asker: Asker, hint: Option<Place>) {
        let live: Vec<Place> = self.live();
        let from = match asker {
            Asker::Join(place, life) if self.hosts[place].is_joining && self.hosts[place].incarnation == life => {
                place
            }
            Asker::Join(..) => return,
            Asker::Reset => return self.ask_reset(),
            Asker::Wish(..) => live.first().copied().unwrap_or(0),
        };
        let any = (!live.is_empty()).then(|| live[self.draw.below(live.len() as u64) as usize]);
        let target = hint.filter(|hint| live.contains(hint)).or(any);
        let reachable = target.filter(|target| matches!(asker, Asker::Wish(..)) || self.net.is_open(from, *target));
        let command = reachable.and_then(|target| self.command(asker, target));
        match (reachable, command) {
            (Some(target), Some(command)) => self.petition(asker, target, command),
            (None, _) | (_, None) => self.ask_again(asker, None),
        }
    }

    /// Sends a call for a change of the map to a node.
    pub(super) fn petition(&mut self, asker: Asker, target: Place, command: MetaCommand) {
        self.asking.last += 1;
        let ticket = Ticket(FIRST_TICKET + self.asking.last);
        self.asking.open.insert(ticket, (asker, target));
        trace!(self, "{target}: {asker:?} asks {}", ticket.0);
        let deadline_mono_ms = self.hosts[target].clock.now(self.now).mono_ms + PATIENCE_MS;
        self.queue.set(self.now + (PATIENCE_MS + 1_000) * MS, Event::Unanswered(ticket));
        self.input(target, Input::Govern { ticket, command, expected_version: None, deadline_mono_ms });
    }

    fn command(&self, asker: Asker, target: Place) -> Option<MetaCommand> {
        let map = self.hosts[target].node.as_ref()?.map();
        match asker {
            Asker::Join(place, life) => {
                Some(MetaCommand::Join { node: node_id(place), member: cluster::member(place, life) })
            }
            Asker::Wish(wish, _) => wished(wish, map),
            Asker::Reset => None,
        }
    }

    /// No answer came: the node asked is gone, or the network was.
    pub(super) fn unanswered(&mut self, ticket: Ticket) {
        if let Some((asker, _)) = self.asking.open.remove(&ticket) {
            self.ask_again(asker, None);
        }
    }

    pub(super) fn ask_again(&mut self, asker: Asker, hint: Option<Place>) {
        let pause_ms = if hint.is_some() { 5 } else { 300 };
        match asker {
            Asker::Join(..) | Asker::Reset => self.ask_soon(asker, hint, pause_ms),
            Asker::Wish(_, tries) if tries >= TRIES => {}
            Asker::Wish(wish, tries) => self.ask_soon(Asker::Wish(wish, tries + 1), hint, pause_ms),
        }
    }

    /// An answer comes from a node.
    pub(super) fn governed(&mut self, ticket: Ticket, answer: Result<Arc<ClusterMap>, GovernError>) {
        let Some((asker, target)) = self.asking.open.remove(&ticket) else { return };
        let brief = answer.as_ref().map(|map| map.version);
        trace!(self, "{target}: answers {}: {brief:?}", ticket.0);
        match (asker, answer) {
            (Asker::Join(place, life), answer) => self.join_answered(place, life, target, answer),
            (Asker::Wish(..), Ok(_) | Err(GovernError::Refused(_))) => {}
            // It looks whether there is more to ask.
            (Asker::Reset, Ok(_) | Err(GovernError::Refused(_))) => self.ask_again(asker, None),
            (asker, Err(GovernError::NotLeader(hint))) => self.ask_again(asker, hint.map(place_of)),
            (asker, Err(GovernError::Unknown(_) | GovernError::Unavailable(_))) => self.ask_again(asker, None),
        }
    }

    fn join_answered(
        &mut self,
        place: Place,
        life: Incarnation,
        target: Place,
        answer: Result<Arc<ClusterMap>, GovernError>,
    ) {
        let host = &self.hosts[place];
        if !host.is_joining || host.incarnation != life {
            return;
        }
        let asker = Asker::Join(place, life);
        // The answer may be lost like anything else.
        if !self.net.is_open(place, target) {
            return self.ask_again(asker, None);
        }
        match answer {
            Ok(map) if map.incarnation_of(node_id(place)) == Some(life) => {
                trace!(self, "{place}: takes part from map {} on", map.version);
                self.hosts[place].start(&self.plan, map, self.seed ^ self.now);
                self.net.attach(self.now, place);
                self.introduce();
                self.set_turn(place);
            }
            Err(GovernError::NotLeader(hint)) => self.ask_again(asker, hint.map(place_of)),
            Ok(_) | Err(GovernError::Refused(_) | GovernError::Unknown(_) | GovernError::Unavailable(_)) => {
                self.look_for_retirement(place, target);
            }
        }
    }

    /// A life that was let in and ended before it came to know begins anew.
    fn look_for_retirement(&mut self, place: Place, target: Place) {
        let life = self.hosts[place].incarnation;
        let map = self.hosts[target].node.as_ref().map(|node| node.map().clone());
        let member = map.as_ref().and_then(|map| map.members.get(&node_id(place)));
        let retired = member.is_some_and(|member| {
            member.incarnation == life && matches!(member.state, MemberState::Down | MemberState::Removed)
        });
        if retired {
            self.hosts[place].crash(&mut self.draw);
            return self.begin_life(place);
        }
        self.ask_again(Asker::Join(place, life), None);
    }

    // ---- fencing ----

    /// Who takes whom for a peer, as everybody's map says now.
    pub(super) fn introduce(&mut self) {
        for a in 0..self.hosts.len() {
            let Some(map) = self.hosts[a].node.as_ref().map(|node| node.map().clone()) else { continue };
            for b in (0..self.hosts.len()).filter(|b| *b != a) {
                let accepted = map.incarnation_of(node_id(b)) == Some(self.hosts[b].incarnation);
                self.net.set_accepted(self.now, a, b, accepted);
            }
        }
    }

    /// A node that lacks a peer asks another one for its map now and then, acts by it when it is newer, and ends when that
    /// has no place for it.
    pub(super) fn doubt(&mut self, place: Place) {
        self.queue.set(self.now + SECOND, Event::Doubt(place));
        let Some(map) = self.hosts[place].node.as_ref().map(|node| node.map().clone()) else { return };
        if self.hosts[place].is_paused(self.now) {
            return;
        }
        let other = self.draw.below(self.hosts.len() as u64) as Place;
        let is_lost = |peer: Place| peer != place && !self.net.is_connected(place, peer);
        let asks = other != place && self.net.is_open(place, other) && (0..self.hosts.len()).any(is_lost);
        let Some(node) = self.hosts[other].node.as_ref().filter(|_| asks) else { return };
        let newer = node.map().clone();
        let over = newer.incarnation_of(node_id(place)) != Some(self.hosts[place].incarnation);
        if newer.version <= map.version {
            return;
        }
        // Who answers without a session may be anybody: its map is not acted by.
        match (over, is_lost(other)) {
            (true, true) => self.end_superseded(place, &newer),
            (false, true) => {}
            (_, false) => self.input(place, Input::Map(newer)),
        }
    }

    /// The cluster has no place for this life of a node any more.
    pub(super) fn end_superseded(&mut self, place: Place, map: &ClusterMap) {
        trace!(self, "{place}: its life is over");
        self.crash(place);
        self.hosts[place].disk = None;
        let state = map.members.get(&node_id(place)).map(|member| member.state);
        if state != Some(MemberState::Removed) && self.plan.shape.returns {
            self.queue.set(self.now + 50 * MS + self.draw.below(SECOND), Event::Return(place));
        }
    }

    /// Whether every group can do without what a place holds: what is lost for good, this place included, is a minority
    /// everywhere, whatever configuration comes next.
    pub(super) fn may_lose(&self, place: Place) -> bool {
        let Some(map) = self.newest_map() else { return false };
        self.hosts[place].node.is_some() && map.groups.keys().all(|group| self.survives(*group, &[place], &map))
    }

    pub(super) fn survives(&self, group: GroupId, without: &[Place], map: &ClusterMap) -> bool {
        let mut members: BTreeSet<ReplicaId> = map.groups[&group].replicas.iter().map(|at| at.replica).collect();
        let mut living = BTreeSet::new();
        let mut newest = None;
        for host in self.hosts.iter() {
            let Some(node) = &host.node else { continue };
            let is_past = node.map().groups[&group].generation < map.groups[&group].generation;
            let Some(conf) = node.conf(group).filter(|_| !is_past) else { continue };
            let known = map.incarnation_of(node_id(host.place)) == Some(host.incarnation);
            // Who is silent may be declared down at any moment.
            let heard = self.plan.shape.repair_after_ms.is_none() || self.is_heard(host.place);
            if known && heard && !without.contains(&host.place) && !self.watch.is_damaged(host.place, group) {
                let replica = node.group_status(group).map(|status| status.replica);
                living.extend(replica.filter(|replica| !self.watch.is_lost(host.place, group, *replica)));
            }
            newest = newest.max(Some((conf.0, host.place)));
        }
        let Some((_, conf)) = newest.and_then(|(_, place)| self.hosts[place].node.as_ref()?.conf(group)) else {
            return false;
        };
        members.extend([&conf.voters, &conf.voters_outgoing, &conf.learners].into_iter().flatten());
        let least = match conf.voters_outgoing.len() {
            0 => conf.voters.len(),
            outgoing => outgoing.min(conf.voters.len()),
        };
        // One that is to go without another in its place may be gone before anybody is missed.
        let shrinks = |move_: &Migration| move_.incoming.is_none() && move_.outgoing.is_some();
        let least =
            least.min(conf.voters.len().saturating_sub(usize::from(map.migration_of(group).is_some_and(shrinks))));
        members.difference(&living).count() <= least.saturating_sub(1) / 2
    }

    fn is_heard(&self, place: Place) -> bool {
        !self.hosts[place].is_paused(self.now)
            && self.live().into_iter().all(|other| other == place || self.net.is_connected(place, other))
    }

    /// The newest map that any node acts by.
    pub(super) fn newest_map(&self) -> Option<Arc<ClusterMap>> {
        let maps = self.hosts.iter().filter_map(|host| Some(host.node.as_ref()?.map()));
        maps.max_by_key(|map| map.version).cloned()
    }

    pub(super) fn live(&self) -> Vec<Place> {
        self.hosts.iter().filter(|host| host.is_live()).map(|host| host.place).collect()
    }

    /// When the trouble is over the operators take back what keeps the cluster from its shape.
    pub(super) fn settle_wishes(&mut self) {
        let Some(map) = self.newest_map() else { return };
        if self.phase != Phase::Recovery || !self.asking.open.is_empty() || self.draw.below(10) > 0 {
            return;
        }
        if map.settings.migrations_paused {
            self.wish(Wish::Pause(false));
        }
        let draining = map.members.iter().find(|(_, member)| member.state == MemberState::Draining);
        if let Some((node, _)) = draining {
            let (place, empty) = (place_of(*node), map.replicas_on(*node).next().is_none());
            self.wish(if empty { Wish::Remove(place) } else { Wish::Undrain(place) });
        }
    }
}

fn wished(wish: Wish, map: &ClusterMap) -> Option<MetaCommand> {
    let state = |place: Place, state: MemberState| {
        let node = node_id(place);
        Some(MetaCommand::SetState { node, incarnation: map.members.get(&node)?.incarnation, state })
    };
    match wish {
        Wish::Drain(place) => state(place, MemberState::Draining),
        Wish::Undrain(place) => state(place, MemberState::Up),
        Wish::Remove(place) => state(place, MemberState::Removed),
        Wish::Move { group, voter, to } => {
            let group = GroupId(group);
            let voters: Vec<ReplicaId> = map.groups.get(&group)?.voters().map(|at| at.replica).collect();
            Some(MetaCommand::StartMigration {
                group,
                incoming: Incoming::New(node_id(to)),
                outgoing: Some(voters[voter % voters.len()]),
                learner: false,
                reason: Reason::Asked,
            })
        }
        Wish::Cancel => Some(MetaCommand::CancelMigration(*map.migrations.keys().next()?)),
        Wish::Pause(migrations_paused) => {
            Some(MetaCommand::SetSettings(SharedSettings { migrations_paused, ..map.settings }))
        }
    }
}
