//! What the disks of a run do: they sync in order, some slowly, and a process that ends goes on from its own.

use crema::{
    consensus::SnapshotPoint,
    multiraft::node::{CheckpointPiece, Input, PersistBatch},
    types::{GroupId, ReplicaId},
};

use super::{Event, World};
use crate::{clock::MS, net::Place};

impl World<'_> {
    /// What a turn writes is on its way to the disk.
    pub(super) fn write(&mut self, place: Place, persist: Option<PersistBatch>, pieces: Vec<CheckpointPiece>) {
        let Some(disk) = self.hosts[place].disk.as_mut() else { return };
        let whole: Vec<_> = pieces.into_iter().filter_map(|piece| disk.write_checkpoint(piece)).collect();
        let boot = self.hosts[place].boot;
        for (group, replica, point) in whole {
            let at = self.now + MS + self.draw.below(300 * MS);
            self.queue.set(at, Event::Published { place, boot, group, replica, point });
        }
        let Some(batch) = persist else { return };
        trace!(self, "{place}: writes batch {} for {} replicas", batch.number, batch.writes.len());
        let number = batch.number;
        if let Some(disk) = self.hosts[place].disk.as_mut() {
            disk.write(batch);
        }
        let slow = if self.draw.below(50) == 0 { 300 * MS } else { 3 * MS };
        let at = self.hosts[place].disk_free_at.max(self.now) + 100 + self.draw.below(slow);
        self.hosts[place].disk_free_at = at;
        self.queue.set(at, Event::Synced { place, boot, number });
    }

    pub(super) fn synced(&mut self, place: Place, boot: u64, number: u64) {
        let host = &mut self.hosts[place];
        if host.boot != boot || !host.is_live() {
            return;
        }
        if let Some(disk) = &mut host.disk {
            disk.sync(number);
        }
        self.input(place, Input::Persisted { number });
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
        if host.disk.as_mut().is_some_and(|disk| disk.publish(group, replica, point)) {
            trace!(self, "{place}: has a checkpoint of {group} at {}", point.index);
            let index = crema::types::LogIndex(point.index);
            self.input(place, Input::Checkpointed { group, replica, index });
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
