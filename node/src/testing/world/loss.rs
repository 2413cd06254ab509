//! A shard loses the majority of its voters for good, and somebody lets it begin anew, empty (PROTOCOL 11).
//!
//! What it takes to prove a loss is asked of the code that production uses; that no more is lost than the incident
//! means to is judged here, by what lives.

use std::collections::BTreeMap;

use super::{Event, World, shape::Asker};
use crate::{
    cluster::{
        command::{Life, MetaCommand, check_lost},
        map::ClusterMap,
    },
    placement,
    testing::{
        clock::{MS, SECOND, wall_ms},
        host::place_of,
        net::Place,
    },
    types::GroupId,
};

/// What was lost in a run; it happens once.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// The groups, and their generations that are over.
    groups: BTreeMap<GroupId, u64>,
    /// Lives that somebody answers for. Without them the map must know that they are over.
    named: Vec<Life>,
}

impl Loss {
    /// The groups that have not begun anew, by this map.
    fn left(&self, map: &ClusterMap) -> Vec<GroupId> {
        let is_left = |(group, generation): &(&GroupId, &u64)| map.groups[*group].generation == **generation;
        self.groups.iter().filter(is_left).map(|(group, _)| *group).collect()
    }
}

impl World<'_> {
    /// The incident, as soon as everything else can do without so many nodes.
    pub(super) fn lose(&mut self, i: usize, group: GroupId, named: bool) {
        if !self.loss.groups.is_empty() {
            return;
        }
        let Some((victims, groups)) = self.find_victims(group) else {
            let later = self.now + 300 * MS;
            if later < self.plan.heal_at {
                self.queue.set(later, Event::Incident(i));
            }
            return;
        };
        trace!(self, "{groups:?} are lost with {victims:?}");
        for (node, _) in &victims {
            let place = place_of(*node);
            self.wipe(place);
            // Named, they are to be away for long enough that only their names prove anything.
            let away = if named { 3 * SECOND } else { 0 };
            self.queue.set(self.now + away + self.draw.below(2 * SECOND), Event::Return(place));
        }
        self.loss = Loss { groups, named: if named { victims } else { Vec::new() } };
        self.ask_soon(Asker::Reset, None, 500);
    }

    /// Lives that are a majority of a group's voters, and the groups that are lost with them, this one among them. All
    /// others, and the meta group, survive.
    fn find_victims(&mut self, group: GroupId) -> Option<(Vec<Life>, BTreeMap<GroupId, u64>)> {
        let map = self.newest_map()?;
        let voters: Vec<Life> = map.groups.get(&group)?.voters().map(|at| (at.node, at.incarnation)).collect();
        let first = self.draw.below(voters.len() as u64) as usize;
        let victims: Vec<Life> = voters.iter().cycle().skip(first).take(voters.len() / 2 + 1).copied().collect();
        let places: Vec<Place> = victims.iter().map(|(node, _)| place_of(*node)).collect();
        let lives = |(node, life): &Life| {
            let host = &self.hosts[place_of(*node)];
            host.is_live() && host.incarnation == *life && map.incarnation_of(*node) == Some(*life)
        };
        // What a migration makes of the voters may be another majority, and a learner may be promoted at any moment.
        let is_settled = |group: &GroupId| {
            map.migration_of(*group).is_none() && map.groups[group].replicas.iter().all(|at| !at.learner)
        };
        let is_lost = |group: &GroupId| is_settled(group) && check_lost(&map, *group, &victims).is_ok();
        let (lost, others): (Vec<GroupId>, Vec<GroupId>) = map.groups.keys().copied().partition(is_lost);
        let whole = others.iter().all(|group| self.survives(*group, &places, &map));
        let may = victims.iter().all(lives) && lost.contains(&group) && whole;
        may.then(|| {
            let groups = lost.into_iter().map(|group| (group, map.groups[&group].generation)).collect();
            (victims, groups)
        })
    }

    /// Whether something is lost and has not begun anew.
    pub(super) fn is_bereft(&self) -> bool {
        !self.loss.groups.is_empty() && self.newest_map().is_none_or(|map| !self.loss.left(&map).is_empty())
    }

    /// Asks whoever leads the meta group, until all of them have begun anew.
    pub(super) fn ask_reset(&mut self) {
        if !self.is_bereft() {
            return;
        }
        let Some((target, command)) = self.reset_command() else { return self.ask_again(Asker::Reset, None) };
        if let MetaCommand::ResetShards { shards, .. } = &command {
            for reset in shards {
                if let Some(shard) = reset.group.shard() {
                    self.clients.begin_reset(shard, reset.generation + 1, wall_ms(self.now));
                }
            }
        }
        self.petition(Asker::Reset, target, command);
    }

    fn reset_command(&self) -> Option<(Place, MetaCommand)> {
        let mut hosts = self.hosts.iter().filter(|host| !host.is_paused(self.now));
        hosts.find_map(|host| {
            let node = host.node.as_ref()?;
            let (map, health) = (node.map(), &node.governing()?.health);
            let groups = Some(self.loss.left(map)).filter(|groups| !groups.is_empty())?;
            let dead = self.loss.named.clone();
            let shards = placement::preflight_reset(map, health, &groups, &dead).ok()?;
            Some((host.place, MetaCommand::ResetShards { shards, dead }))
        })
    }

    /// From the first map on that says so, nothing of the old generation may be seen by who asks now.
    pub(super) fn note_resets(&mut self, map: &ClusterMap) {
        let left = self.loss.left(map);
        for (group, before) in self.loss.groups.iter().filter(|(group, _)| !left.contains(*group)) {
            if let Some(shard) = group.shard() {
                self.clients.end_reset(shard, before + 1, wall_ms(self.now));
            }
        }
    }
}
