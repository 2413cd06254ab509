//! What the disks of a run do: they sync in order, some slowly, and a process that ends goes on from its own.

use super::{Event, World};
use crate::{
    consensus::SnapshotPoint,
    multiraft::node::{CheckpointPiece, Input, PersistBatch},
    testing::{
        clock::{MS, SECOND},
        net::Place,
    },
    types::{GroupId, LogIndex, ReplicaId},
};

impl World<'_> {
    /// What a turn writes is on its way to the disk.
    pub(super) fn write(&mut self, place: Place, persist: Option<PersistBatch>, pieces: Vec<CheckpointPiece>) {
        let Some(disk) = self.hosts[place].disk.as_mut() else { return };
        let fills = !pieces.is_empty();
        let whole: Vec<_> = pieces.into_iter().filter_map(|piece| disk.write_checkpoint(piece)).collect();
        let boot = self.hosts[place].boot;
        if fills && self.draw.below(8) == 0 {
            self.set_room(place, boot, false);
            let at = self.now + self.draw.below(500 * MS);
            self.queue.set(at, Event::Room { place, boot });
        }
        for (group, replica, point) in whole {
            let at = self.now + MS + self.draw.below(300 * MS);
            self.queue.set(at, Event::Published { place, boot, group, replica, point });
        }
        let Some(batch) = persist else { return };
        trace!(self, "{place}: writes batch {} for {} replicas", batch.number, batch.writes.len());
        let number = batch.number;
        if self.hosts[place].disk.as_mut().is_none_or(|disk| !disk.write(batch)) {
            return;
        }
        let slow = match self.draw.below(2_000) {
            // It hangs, as disks of clouds do.
            0 if self.now < self.plan.heal_at => 8 * SECOND,
            0..40 => 300 * MS,
            _ => 3 * MS,
        };
        let at = self.hosts[place].disk_free_at.max(self.now) + 100 + self.draw.below(slow);
        self.hosts[place].disk_free_at = at;
        self.queue.set(at, Event::Synced { place, boot, number });
    }

    pub(super) fn synced(&mut self, place: Place, boot: u64, number: u64) {
        let host = &mut self.hosts[place];
        if host.boot != boot || !host.is_live() {
            return;
        }
        if host.disk.as_mut().is_some_and(|disk| disk.sync(number)) {
            self.input(place, Input::Persisted { number });
        }
    }

    /// What writes the checkpoints takes more, or no more.
    pub(super) fn set_room(&mut self, place: Place, boot: u64, room: bool) {
        let host = &mut self.hosts[place];
        if host.boot == boot
            && let Some(node) = &mut host.node
        {
            node.set_checkpoint_room(room);
            self.set_turn(place);
        }
    }

    pub(super) fn published(
        &mut self,
        place: Place,
        boot: u64,
        group: GroupId,
        replica: ReplicaId,
        point: SnapshotPoint,
    ) {
        let host = &mut self.hosts[place];
        if host.boot != boot || !host.is_live() {
            return;
        }
        let index = LogIndex(point.index);
        let Some(disk) = &mut host.disk else { return };
        if self.draw.below(20) == 0 {
            if disk.give_up(group, replica, point) {
                trace!(self, "{place}: has no place for a checkpoint of {group} at {index}");
                self.input(place, Input::CheckpointFailed { group, replica, index });
            }
        } else if disk.publish(group, replica, point) {
            trace!(self, "{place}: has a checkpoint of {group} at {index}");
            self.input(place, Input::Checkpointed { group, replica, index });
        }
    }

    // ---- disks that are lost, fail and rot ----

    /// Whether every group can do without what a place has, and nobody is away who may come back with what it knew.
    pub(super) fn may_lose_disk(&self, place: Place) -> bool {
        self.plan.durable && !self.is_another_away(place) && self.may_lose(place)
    }

    /// Whether a process may end. With a disk it comes back, if it is not declared down before; that must not be one too
    /// many beside a replica whose memory is damaged.
    pub(super) fn may_crash(&self, place: Place) -> bool {
        let stays =
            self.plan.durable && (self.plan.shape.repair_after_ms.is_none() || !self.watch.has_damaged_memory());
        stays || self.may_lose(place)
    }

    pub(super) fn is_another_away(&self, place: Place) -> bool {
        self.hosts.iter().any(|host| host.place != place && host.disk.is_some() && !host.is_live())
    }

    /// The process is gone, and its disk.
    pub(super) fn wipe(&mut self, place: Place) {
        self.hosts[place].disk = None;
        self.crash(place);
    }

    pub(super) fn fail_disk(&mut self, place: Place) {
        if let Some(disk) = &mut self.hosts[place].disk {
            disk.fail();
            self.watch.fail(place);
            self.input(place, Input::PersistFailed { reason: "it has gone bad".to_owned() });
        }
    }

    /// What the disk of a dead process has of a group goes bad, if the group can do without.
    pub(super) fn rot(&mut self, place: Place, group: GroupId, log: bool) {
        let Some(map) = self.newest_map() else { return };
        let may = self.hosts[place].is_dead() && !self.is_another_away(place);
        if !may || !map.groups.contains_key(&group) || !self.survives(group, &[place], &map) {
            return trace!(self, "{place}: its part in {group} is needed");
        }
        let Some(disk) = &mut self.hosts[place].disk else { return };
        if let Some(replica) = disk.damage(group, log, &mut self.draw) {
            trace!(self, "{place}: what it has of replica {replica} of {group} is damaged");
            self.watch.rot(place, group, replica, log);
        }
    }

    /// A new process where one has ended: in the same life, if its disk is there.
    pub(super) fn come_back(&mut self, place: Place) {
        if !self.hosts[place].is_dead() {
            return;
        }
        if !self.hosts[place].restart(&self.plan, self.seed ^ self.now) {
            return self.begin_life(place);
        }
        trace!(self, "{place}: goes on from its disk");
        self.net.attach(self.now, place);
        self.introduce();
        self.set_turn(place);
    }
}
