//! Incidents: what the plan does to the network, the processes, the clocks and the memories.

use std::sync::Arc;

use super::{Event, Phase, World};
use crate::{
    checkpoint,
    consensus::{ConfChange, ConfStep, Role},
    faults::Fault,
    machine::{
        hash::entry_hash,
        store::{Entry, EntryStore},
    },
    testing::{
        clock::{MS, Micros, SECOND, wall_ms},
        host::node_id,
        invariants::hashes::Damage,
        net::Place,
        plan::Incident,
        workload::hidden_key,
    },
    types::{GroupId, MigrationId, ReplicaId},
};

impl World<'_> {
    pub(super) fn incident(&mut self, i: usize) {
        let incident = self.plan.incidents[i].1.clone();
        trace!(self, "INCIDENT {incident:?}");
        match incident {
            Incident::Split { side } => {
                let side = |place: Place| side.get(place).copied().unwrap_or(false);
                for a in 0..self.hosts.len() {
                    for b in (0..self.hosts.len()).filter(|b| *b != a) {
                        self.net.set_blocked(self.now, a, b, side(a) != side(b));
                    }
                }
            }
            Incident::OneWay { from, to } if from != to => self.net.set_blocked(self.now, from, to, true),
            Incident::OneWay { .. } => {}
            Incident::Cut(a, b) => self.net.cut(self.now, a, b),
            Incident::Slow(a, b, by) => self.net.set_slow(a, b, by),
            Incident::Loose(looseness) => self.net.looseness = looseness,
            Incident::HealNet => self.net.heal(self.now),
            Incident::Wipe(place) if self.may_lose_disk(place) => self.wipe(place),
            Incident::FailDisk(place) if self.may_lose_disk(place) => self.fail_disk(place),
            Incident::Wipe(place) | Incident::FailDisk(place) => self.leave_out(place),
            Incident::Lose { group, named } => self.lose(i, GroupId(group), named),
            Incident::Damage { place, group, log } => self.rot(place, GroupId(group), log),
            Incident::Crash(place) if self.may_crash(place) => self.crash(place),
            Incident::Crash(place) => self.leave_out(place),
            Incident::Restart(place) => self.restart(place),
            Incident::Wish(wish) => self.wish(wish),
            Incident::StaleChange { group } => self.change_stale(GroupId(group)),
            Incident::Pause(place, by) => self.pause(place, by),
            Incident::Jump(place, ms) => {
                self.hosts[place].clock.jump(ms);
                self.note_clock(place);
            }
            Incident::Transfer { group, to } => {
                let to = node_id(to);
                for place in 0..self.hosts.len() {
                    self.input(place, crate::multiraft::node::Input::TransferLeader { group: GroupId(group), to });
                }
            }
            Incident::Corrupt { place, group, deep } => self.corrupt(place, GroupId(group), deep),
        }
    }

    fn leave_out(&mut self, place: Place) {
        trace!(self, "{place}: is needed");
        // Where nobody lives nothing was left out.
        self.left_out += usize::from(!self.hosts[place].is_dead());
    }

    fn pause(&mut self, place: Place, by: Micros) {
        self.hosts[place].paused_until = self.now + by;
        self.queue.set(self.now + by, Event::Resume(place));
    }

    /// The process is gone, and with it all that is not on its disk.
    pub(super) fn crash(&mut self, place: Place) {
        if self.hosts[place].is_dead() {
            return;
        }
        self.hosts[place].crash(&mut self.draw);
        self.net.detach(self.now, place);
        self.watch.forget(place, self.hosts[place].disk.is_some());
        for answered in self.clients.lose(place, wall_ms(self.now)) {
            self.answered(&answered);
        }
    }

    /// A fresh process is a new incarnation, which joins. The planted fault lets it in as who was there before.
    fn restart(&mut self, place: Place) {
        if !self.hosts[place].is_dead() {
            return;
        }
        if self.faults.has(Fault::ReplicaIdReused) {
            let map = Arc::new(self.first_map.clone());
            self.hosts[place].start(&self.plan, map, self.seed ^ self.now);
            self.net.attach(self.now, place);
            self.introduce();
        } else if self.hosts[place].disk.is_some() {
            self.come_back(place);
        } else if self.plan.shape.returns || self.hosts[place].lives() == 0 && place >= self.plan.nodes {
            self.begin_life(place);
        }
    }

    /// Damages one entry where no client reads; the next write to it makes the hash differ. A deep damage is an
    /// entry too many, and the hash differs at once.
    fn corrupt(&mut self, place: Place, group: GroupId, deep: bool) {
        // Who is away may be declared down.
        if self.plan.shape.repair_after_ms.is_some() && self.is_another_away(place) {
            return;
        }
        let Some(shard) = group.shard() else { return };
        let Some(node) = self.hosts[place].node.as_mut() else { return };
        let Some(replica) = node.group_status(group).map(|status| status.replica) else { return };
        let Some(machine) = node.machine_mut(group) else { return };
        let Some(entry) = machine.store().get(&hidden_key(shard)) else { return };
        let off = if deep {
            let ghost = Entry::new(b"ghost", entry.value(), entry.version(), None);
            let off = entry_hash(&ghost);
            machine.damage(ghost);
            off
        } else {
            let mut value = entry.value().to_vec();
            value[0] ^= 1;
            let damaged = Entry::new(entry.key(), &value, entry.version(), entry.expires_at());
            let off = entry_hash(&entry).wrapping_sub(entry_hash(&damaged));
            machine.store_mut().insert(damaged.into());
            off
        };
        self.watch.damage(Damage { place, group, replica, off, deep });
    }

    /// What an earlier leader may have decided comes to light late: it counts on a version that is past.
    fn change_stale(&mut self, group: GroupId) {
        let leads = |place: &Place| {
            let node = self.hosts[*place].node.as_ref();
            node.and_then(|node| node.group_status(group)).is_some_and(|status| status.role == Role::Leader)
        };
        let Some(place) = (0..self.hosts.len()).find(leads) else { return };
        let Some(node) = &mut self.hosts[place].node else { return };
        let Some(own) = node.group_status(group).map(|status| status.replica) else { return };
        let Some((version, checkpoint::ConfState { voters, .. })) = node.conf(group) else { return };
        let Some(remove) = voters.iter().copied().find(|voter: &ReplicaId| *voter != own) else { return };
        let change = ConfChange {
            migration: MigrationId(0),
            expected_version: version.wrapping_sub(1),
            step: ConfStep::EnterJoint { add: None, remove: Some(remove) },
            peers: Vec::new(),
        };
        node.propose_conf(group, &change);
        self.set_turn(place);
    }

    pub(super) fn heal(&mut self) {
        trace!(self, "HEAL");
        self.phase = Phase::Recovery;
        self.net.heal(self.now);
        for place in 0..self.hosts.len() {
            if self.hosts[place].is_paused(self.now) {
                self.hosts[place].paused_until = self.now;
                self.queue.set(self.now, Event::Resume(place));
            }
            if self.hosts[place].disk.as_ref().is_some_and(|disk| disk.is_failed()) {
                self.crash(place);
            }
            // Some stay away, if the cluster can do without them.
            let has_disk = self.hosts[place].disk.is_some();
            let away = !has_disk && self.plan.shape.repair_after_ms == Some(5_000) && self.draw.below(2) == 0;
            // Who comes back empty may be the proof that somebody waits for.
            let away = away && !self.is_bereft();
            let was_there = place < self.plan.nodes || self.hosts[place].lives() > 0;
            let returns = self.plan.shape.returns || has_disk;
            if returns && was_there && self.hosts[place].is_dead() && !away {
                self.queue.set(self.now + self.draw.below(500 * MS), Event::Return(place));
            }
        }
        self.queue.set(self.now + SECOND, Event::Probe);
    }
}
