//! The leader of a group does what the map wants of it (PROTOCOL 12 to 14): the conf change of a migration's phase, and
//! the leadership where it should be.
//!
//! Whatever it does here is only begun. A step is done when the configuration shows it, which the leader reports
//! ([`super::report`]); the next phase then comes with the map.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    Node,
    group::{Env, Group},
};
use crate::{
    cluster::progress::{Applied, Wanted, wanted_step},
    consensus::{ConfStep, PeerProgress, Role, Standing},
    machine::store::EntryStore,
    types::{GroupId, LogIndex, MigrationId, NodeId, Now, ReplicaId},
};

/// A preferred voter must be there and level for so long before it is handed the leadership.
const PATIENCE_TICKS: u64 = 60;
/// Patience with one that gives the leadership back doubles up to this: it is leaving, its clock is wrong, or its state.
const MAX_PATIENCE_TICKS: u64 = 12_000;
/// A voter may lack so many entries when it is handed the leadership.
const HANDOVER_LAG: u64 = 256;

/// What the leader remembers of its wish to change something.
#[derive(Debug)]
pub(super) struct Steering {
    /// Since when the preferred voter could take over.
    ready_since: Option<u64>,
    patience_ticks: u64,
    preferred: Option<ReplicaId>,
    /// Who was last known to lead.
    last_leader: Option<ReplicaId>,
    /// Who was asked to take over since this one is to go. Some may have given the leadership back: their state is
    /// corrupt, say.
    asked: BTreeSet<ReplicaId>,
    /// Whether the node's list of unsteady groups has it.
    listed: bool,
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            ready_since: None,
            patience_ticks: PATIENCE_TICKS,
            preferred: None,
            last_leader: None,
            asked: BTreeSet::new(),
            listed: false,
        }
    }
}

impl Steering {
    /// Another leader, term or role.
    pub(super) fn on_standing(&mut self, now: Standing, preferred: Option<ReplicaId>) {
        self.ready_since = None;
        // The preferred one has lost it to this one: perhaps it did not want it. In between nobody led.
        let led = self.last_leader;
        self.last_leader = now.leader.or(led);
        if now.role == Role::Leader && led != now.leader && led.is_some() && led == preferred {
            self.patience_ticks = (self.patience_ticks * 2).min(MAX_PATIENCE_TICKS);
        }
    }

    /// Candidates for the leadership, the best first: who was asked before comes last, or the same one would be asked
    /// for ever. When all were asked, it begins anew.
    fn in_turn(&mut self, mut candidates: Vec<ReplicaId>) -> Vec<ReplicaId> {
        if candidates.iter().all(|replica| self.asked.contains(replica)) {
            self.asked.clear();
        }
        candidates.sort_by_key(|replica| self.asked.contains(replica));
        candidates
    }
}

impl<S: EntryStore> Group<S> {
    /// Whether this leader has something to bring about.
    fn is_unsteady(&self) -> bool {
        self.replica.is_leader()
            && (self.migrating
                || self.preferred != Some(self.own())
                || self.replica.is_joint()
                || !self.conf.learners.is_empty())
    }

    /// Does the next thing that the map wants, if it can be done now. A leader whose state is corrupt does it too: its
    /// log and its configuration are sound, and perhaps nobody can take over before the configuration is another one.
    fn steer(&mut self, env: &mut Env<'_>) -> bool {
        if !self.replica.takes_proposals() || self.replica.has_pending_conf() || self.health.is_stopped() {
            return false;
        }
        let applied = Applied { conf: &self.conf, version: self.conf_version };
        let wanted = wanted_step(env.map, self.id, applied, self.own());
        if self.migrating || wanted != Wanted::Nothing {
            self.steering.ready_since = None;
        }
        if wanted != Wanted::TransferAway {
            self.steering.asked.clear();
        }
        let migration = env.map.migration_of(self.id).map_or(MigrationId(0), |migration| migration.id);
        match wanted {
            Wanted::Propose(step, _) if !self.could_go_on(step, env) => false,
            Wanted::Propose(step, peers) => self.propose_step(migration, step, peers),
            Wanted::TransferAway => self.step_aside(env),
            // A corrupt leader hands over to anybody, without patience (`drive`).
            Wanted::Nothing if self.migrating || !self.health.is_serving() => false,
            Wanted::Nothing => self.hand_to_preferred(env),
        }
    }

    /// Whether the voters that a step leaves can decide: a majority of them answers now, and not all of them are known
    /// to be corrupt. A joint configuration without one could neither be left nor taken back; until it begins, the
    /// group works on as it is.
    fn could_go_on(&self, step: ConfStep, env: &Env<'_>) -> bool {
        let ConfStep::EnterJoint { add, remove } = step else { return true };
        let voters: BTreeSet<ReplicaId> =
            self.conf.voters.iter().copied().filter(|voter| Some(*voter) != remove).chain(add).collect();
        let active = |(replica, peer): &(ReplicaId, PeerProgress)| {
            let node = self.nodes.get(replica);
            *replica == self.own() || peer.active && node.is_some_and(|node| env.out.sessions.contains_key(node))
        };
        let progress = self.replica.progress();
        let here = progress.iter().filter(|peer| voters.contains(&peer.0) && active(peer)).count();
        let is_corrupt = |voter: &ReplicaId| match *voter == self.own() {
            true => !self.health.is_serving(),
            false => self.hashes.is_corrupt(*voter),
        };
        here * 2 > voters.len() && !voters.iter().all(is_corrupt)
    }

    /// This leader is to go: whoever has most of the log takes over, of those that stay.
    fn step_aside(&mut self, env: &mut Env<'_>) -> bool {
        let own = self.own();
        let can = |(replica, _): &(ReplicaId, LogIndex)| {
            *replica != own
                && self.conf.voters.contains(replica)
                && self.nodes.get(replica).is_some_and(|node| env.out.may_lead(*node))
        };
        let mut candidates: Vec<_> = self.replica.matches().into_iter().filter(can).collect();
        candidates.sort_by_key(|(replica, matched)| (Reverse(*matched), Some(*replica) != self.preferred));
        let candidates = self.steering.in_turn(candidates.into_iter().map(|(replica, _)| replica).collect());
        self.wake();
        let asked = candidates.into_iter().find(|replica| self.replica.transfer_to(*replica));
        self.steering.asked.extend(asked);
        asked.is_some()
    }

    /// Hands over to the preferred voter once it has been ready for a while.
    fn hand_to_preferred(&mut self, env: &mut Env<'_>) -> bool {
        if self.steering.preferred != self.preferred {
            self.steering.preferred = self.preferred;
            self.steering.patience_ticks = PATIENCE_TICKS;
        }
        let Some(preferred) = self.preferred.filter(|preferred| *preferred != self.own()) else { return false };
        if !self.could_lead(preferred, env) {
            self.steering.ready_since = None;
            return false;
        }
        let since = *self.steering.ready_since.get_or_insert(env.tick);
        if env.tick < since + self.steering.patience_ticks {
            return false;
        }
        self.steering.ready_since = None;
        self.wake();
        self.replica.transfer_to(preferred)
    }

    /// Whether a replica is there and level, and its node would not give the leadership back: it has a wrong clock, or
    /// leaves.
    fn could_lead(&self, replica: ReplicaId, env: &Env<'_>) -> bool {
        let last = self.replica.standing().last;
        let level = |(id, matched): &(ReplicaId, LogIndex)| *id == replica && matched.0 + HANDOVER_LAG >= last.0;
        let fit = |node: &NodeId| env.out.may_lead(*node) && !env.clock.is_wrong(*node, env.now);
        self.replica.is_voter(replica)
            && self.nodes.get(&replica).is_some_and(fit)
            && self.replica.matches().iter().any(level)
    }
}

impl<S: EntryStore> Node<S> {
    /// Lets the leaders here that are not where or what the map wants do something about it.
    pub(super) fn steer(&mut self, now: Now) {
        if self.is_leaving(now) {
            return;
        }
        for id in self.unsteady.iter().copied().collect::<Vec<_>>() {
            if self.with_group(now, id, |group, env| group.steer(env)).unwrap_or(false) {
                self.dirty.insert(id);
            }
        }
    }

    /// Keeps the list of groups that [`Self::steer`] looks at.
    pub(super) fn list_unsteady(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else {
            self.unsteady.remove(&id);
            return;
        };
        let unsteady = group.is_unsteady();
        if unsteady != std::mem::replace(&mut group.steering.listed, unsteady) {
            if unsteady {
                self.unsteady.insert(id);
            } else {
                self.unsteady.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    const OWN: ReplicaId = ReplicaId(1);
    const OTHER: ReplicaId = ReplicaId(2);

    fn standing(term: u64, leader: Option<ReplicaId>) -> Standing {
        let role = match leader {
            Some(OWN) => Role::Leader,
            Some(_) => Role::Follower,
            None => Role::Candidate,
        };
        Standing { role, term: Term(term), leader, commit: LogIndex(9), last: LogIndex(9) }
    }

    /// Between two leaders there is always a moment without one.
    #[test]
    fn patience_grows_with_each_leadership_that_comes_back() {
        let mut steering = Steering::default();
        steering.on_standing(standing(1, Some(OWN)), Some(OTHER));
        for round in 1..=20 {
            steering.on_standing(standing(round * 2, Some(OTHER)), Some(OTHER));
            steering.on_standing(standing(round * 2 + 1, None), Some(OTHER));
            steering.on_standing(standing(round * 2 + 1, Some(OWN)), Some(OTHER));
            assert_eq!(steering.patience_ticks, (PATIENCE_TICKS << round.min(16)).min(MAX_PATIENCE_TICKS));
        }
    }

    /// One that gives the leadership back at once, being level and preferred, must not be the only one that is asked.
    #[test]
    fn who_is_to_go_asks_one_after_the_other() {
        let mut steering = Steering::default();
        let all = || vec![ReplicaId(6), ReplicaId(8), ReplicaId(9)];
        for round in 0..9 {
            let first = steering.in_turn(all())[0];
            assert_eq!(first, all()[round % 3]);
            steering.asked.insert(first);
        }
        assert_eq!(steering.in_turn(vec![ReplicaId(8)]), [ReplicaId(8)], "better the same one than nobody");
    }

    #[test]
    fn patience_stays_when_the_preferred_one_had_no_part_in_it() {
        let mut steering = Steering::default();
        for term in 1..9 {
            steering.on_standing(standing(term * 2, None), Some(OTHER));
            steering.on_standing(standing(term * 2, Some(OWN)), Some(OTHER));
            steering.on_standing(standing(term * 2 + 1, Some(ReplicaId(3))), Some(OTHER));
        }
        assert_eq!(steering.patience_ticks, PATIENCE_TICKS);
    }
}
