//! What the cache's own nodes do in the [`World`]: they join, and the cluster's planner puts its replicas where they belong.

use std::collections::BTreeMap;

use super::world::World;
use crate::{
    model::{
        ClusterUid, Group, GroupView, Incarnation, MapVersion, MapView, MemberState, MemberView, NodeId,
        SettingsView, VoterView,
    },
    plan::SettingsChange,
};

/// Changes of replica sets in a tick: less than a drain needs, so that it is seen half done.
const CHANGES: usize = 2;

/// What is to change in a group: who goes, and who comes.
type Change = (Group, Option<NodeId>, Option<NodeId>);

impl World {
    /// The meta group's leader does what it can in a tick, if there is one.
    pub(super) fn cluster(&mut self) {
        let Some(mut map) = self.map.take() else { return };
        if self.lives(&map, Group::Meta) {
            self.admit(&mut map);
            for _ in 0..CHANGES {
                let Some(change) = self.change(&map).filter(|_| !map.migrations_paused) else { break };
                self.carry_out(&mut map, change);
            }
        }
        self.lead(&mut map);
        self.map = Some(map);
    }

    /// Processes that belong to no cluster join, and those that have joined are up.
    fn admit(&mut self, map: &mut MapView) {
        for (node, process) in &mut self.processes {
            match map.members.get_mut(node) {
                Some(member) if member.incarnation == process.life => {
                    if member.state == MemberState::Joining {
                        member.state = MemberState::Up;
                        map.version.0 += 1;
                    }
                }
                before => {
                    let incarnation = process.life.clone();
                    // Whoever wanted it empty wants it still, as the cluster has it.
                    let state = match before.map(|member| member.state) {
                        Some(MemberState::Draining) => MemberState::Draining,
                        Some(MemberState::Joining | MemberState::Up | MemberState::Down | MemberState::Removed)
                        | None => MemberState::Joining,
                    };
                    let member = MemberView { state, incarnation, zone: String::new(), replicas: 0 };
                    map.members.insert(*node, member);
                    map.version.0 += 1;
                    process.cluster = Some(map.uid.clone());
                }
            }
        }
        for (node, process) in &self.processes {
            self.disks.extend(node.ordinal().map(|ordinal| (ordinal, process.clone())));
        }
    }

    /// The next change that is due, the most urgent first.
    fn change(&self, map: &MapView) -> Option<Change> {
        let groups = || map.groups.iter().map(|(name, group)| (*name, group));
        let able = |name: &Group| self.lives(map, *name);
        let state = |node: NodeId| map.members.get(&node).map(|member| member.state);
        for (name, group) in groups().filter(|(name, _)| able(name)) {
            let dead = group.voters.iter().find(|voter| is_dead(map, voter));
            if let Some(dead) = dead.filter(|dead| state(dead.node) != Some(MemberState::Joining)) {
                let to = self.target(map, group, Some(dead.node));
                let spare = name == Group::Meta && group.voters.len() > 1;
                if to.is_some() || spare {
                    return Some((name, Some(dead.node), to));
                }
            }
        }
        for (name, group) in groups().filter(|(name, _)| able(name)) {
            let wanted = wanted(map, name);
            if group.voters.len() < wanted
                && let Some(to) = self.target(map, group, None)
            {
                return Some((name, None, Some(to)));
            }
            let extra = group.voters.iter().rev().find(|voter| group.leader != Some(voter.node));
            if group.voters.len() > wanted && extra.is_some() {
                return Some((name, extra.map(|voter| voter.node), None));
            }
        }
        self.drained(map).or_else(|| self.balanced(map))
    }

    fn drained(&self, map: &MapView) -> Option<Change> {
        // The meta group is the first of all groups, and the last that a member leaves.
        for (name, group) in map.groups.iter().rev().filter(|(name, group)| self.is_whole(**name, group)) {
            let draining = |voter: &&VoterView| {
                map.members.get(&voter.node).is_some_and(|member| member.state == MemberState::Draining)
            };
            let Some(from) = group.voters.iter().find(draining).map(|voter| voter.node) else { continue };
            let to = self.target(map, group, None);
            if to.is_some() || (*name == Group::Meta && group.voters.len() > 1) {
                return Some((*name, Some(from), to));
            }
        }
        None
    }

    fn balanced(&self, map: &MapView) -> Option<Change> {
        let loads = loads(map);
        let here = |node: NodeId, member: &MemberView| {
            member.state == MemberState::Up && self.is_alive(node, &member.incarnation)
        };
        let up = || map.present().filter(|(node, member)| here(*node, member)).map(|(node, _)| node);
        let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
        let (most, least) = (up().max_by_key(load)?, up().min_by_key(load)?);
        let holds = |group: &GroupView, node: NodeId| group.voters.iter().any(|voter| voter.node == node);
        let mut shards = map.groups.iter().filter(|(name, _)| **name != Group::Meta);
        let (name, _) = shards
            .find(|(name, group)| holds(group, most) && !holds(group, least) && self.is_whole(**name, group))?;
        (load(&most) > load(&least) + 1).then_some((*name, Some(most), Some(least)))
    }

    /// Whether every voter of a shard lives: else it waits for who is silent, and moves nothing.
    fn is_whole(&self, name: Group, group: &GroupView) -> bool {
        name == Group::Meta || group.voters.iter().all(|voter| self.is_alive(voter.node, &voter.incarnation))
    }

    /// Who gets a replica: the member itself if it is back, else the one with the fewest.
    fn target(&self, map: &MapView, group: &GroupView, back: Option<NodeId>) -> Option<NodeId> {
        let loads = loads(map);
        let fits = |node: &NodeId| {
            let member = map.members.get(node).filter(|member| member.state == MemberState::Up);
            let voter = group.voters.iter().any(|voter| voter.node == *node && !is_dead(map, voter));
            !voter && member.is_some_and(|member| self.is_alive(*node, &member.incarnation))
        };
        let fewest =
            || map.members.keys().copied().filter(fits).min_by_key(|node| loads.get(node).copied().unwrap_or(0));
        back.filter(fits).or_else(fewest)
    }

    fn carry_out(&self, map: &mut MapView, (name, from, to): Change) {
        let life = to.and_then(|node| map.members.get(&node)).map(|member| member.incarnation.clone());
        let Some(group) = map.groups.get_mut(&name) else { return };
        group.voters.retain(|voter| Some(voter.node) != from);
        if let (Some(node), Some(incarnation)) = (to, life) {
            group.voters.push(VoterView { node, incarnation, lag_entries: Some(0) });
        }
        map.version.0 += 1;
    }

    /// Who leads stays; where nobody does, the first voter that lives takes it.
    fn lead(&self, map: &mut MapView) {
        let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
        let view: &MapView = map;
        let lively: Vec<Group> = view.groups.keys().copied().filter(|name| self.lives(view, *name)).collect();
        for (name, group) in &mut map.groups {
            let alive: Vec<NodeId> = group
                .voters
                .iter()
                .filter(|voter| self.is_alive(voter.node, &voter.incarnation))
                .map(|voter| voter.node)
                .collect();
            let stays = group.leader.filter(|leader| alive.contains(leader));
            group.leader = stays.or(alive.first().copied()).filter(|_| lively.contains(name));
            group.voters.iter().for_each(|voter| *counts.entry(voter.node).or_default() += 1);
        }
        for (node, member) in &mut map.members {
            member.replicas = counts.get(node).copied().unwrap_or(0);
        }
    }

    /// The map of a cluster that was just formed of these.
    pub(super) fn form(&mut self, uid: &ClusterUid, lives: &[(NodeId, Incarnation)]) {
        let mut map = MapView {
            uid: uid.clone(),
            version: MapVersion(1),
            confirmed: true,
            replication_factor: self.intent.replication_factor,
            settings: SettingsView {
                max_entries_per_shard: 0,
                max_bytes_per_shard: 0,
                default_ttl_ms: 0,
                eviction: self.intent.settings.eviction,
                migration_concurrency: 4,
                migration_bytes_per_s: 0,
                repair_after_ms: self.intent.repair.after_ms.unwrap_or(0),
            },
            members: BTreeMap::new(),
            groups: BTreeMap::new(),
            migrations: Vec::new(),
            migrations_paused: false,
            waiting_on: Vec::new(),
        };
        for (node, incarnation) in lives {
            let (state, incarnation) = (MemberState::Up, incarnation.clone());
            map.members.insert(*node, MemberView { state, incarnation, zone: String::new(), replicas: 0 });
            if let Some(process) = self.processes.get_mut(node) {
                process.cluster = Some(uid.clone());
                self.disks.extend(node.ordinal().map(|ordinal| (ordinal, process.clone())));
            }
        }
        let names = (0..self.shards).map(Group::Shard).chain([Group::Meta]);
        for name in names {
            let wanted = wanted(&map, name);
            let first = match name {
                Group::Meta => 0,
                Group::Shard(shard) => shard as usize,
            };
            let chosen = lives.iter().cycle().skip(first % lives.len()).take(wanted.min(lives.len()));
            let voters: Vec<VoterView> = chosen
                .map(|(node, incarnation)| VoterView {
                    node: *node,
                    incarnation: incarnation.clone(),
                    lag_entries: Some(0),
                })
                .collect();
            map.groups.insert(name, GroupView { leader: None, voters, learners: Vec::new() });
        }
        self.lead(&mut map);
        self.map = Some(map);
    }

    /// Shards come back empty, on whoever is there.
    pub(super) fn reset(&mut self, map: &mut MapView, shards: &[u32]) {
        let alive: Vec<(NodeId, Incarnation)> = map
            .present()
            .filter(|(node, member)| self.is_alive(*node, &member.incarnation))
            .map(|(node, member)| (node, member.incarnation.clone()))
            .collect();
        let wanted = map.replication_factor as usize;
        for shard in shards {
            let Some(group) = map.groups.get_mut(&Group::Shard(*shard)) else { continue };
            let voter = |(node, incarnation): &(NodeId, Incarnation)| VoterView {
                node: *node,
                incarnation: incarnation.clone(),
                lag_entries: Some(0),
            };
            (group.leader, group.voters) = (None, alive.iter().take(wanted).map(voter).collect());
        }
    }
}

/// What `UpdateSettings` does.
pub(super) fn update(map: &mut MapView, change: &SettingsChange) {
    let SettingsChange {
        max_entries_per_shard,
        max_bytes_per_shard,
        default_ttl_ms,
        eviction,
        migration_concurrency,
        migration_bytes_per_s,
        repair_after_ms,
        replication_factor,
    } = change.clone();
    let settings = &mut map.settings;
    settings.max_entries_per_shard = max_entries_per_shard.unwrap_or(settings.max_entries_per_shard);
    settings.max_bytes_per_shard = max_bytes_per_shard.unwrap_or(settings.max_bytes_per_shard);
    settings.default_ttl_ms = default_ttl_ms.unwrap_or(settings.default_ttl_ms);
    settings.eviction = eviction.unwrap_or(settings.eviction);
    settings.migration_concurrency = migration_concurrency.unwrap_or(settings.migration_concurrency);
    settings.repair_after_ms = repair_after_ms.unwrap_or(settings.repair_after_ms);
    settings.migration_bytes_per_s = migration_bytes_per_s.unwrap_or(settings.migration_bytes_per_s);
    map.replication_factor = replication_factor.unwrap_or(map.replication_factor);
}

fn is_dead(map: &MapView, voter: &VoterView) -> bool {
    map.members.get(&voter.node).is_none_or(|member| {
        matches!(member.state, MemberState::Down | MemberState::Removed) || member.incarnation != voter.incarnation
    })
}

/// Voters that a group should have.
fn wanted(map: &MapView, name: Group) -> usize {
    match name {
        Group::Shard(_) => map.replication_factor as usize,
        Group::Meta => {
            let stays = |state: MemberState| matches!(state, MemberState::Up | MemberState::Joining);
            let most = map.present().filter(|(_, member)| stays(member.state)).count().min(5);
            if most.is_multiple_of(2) { most.saturating_sub(1).max(1) } else { most }
        }
    }
}

/// Replicas of shards on each member.
fn loads(map: &MapView) -> BTreeMap<NodeId, usize> {
    let mut loads = BTreeMap::new();
    for (_, group) in map.groups.iter().filter(|(name, _)| **name != Group::Meta) {
        group.voters.iter().for_each(|voter| *loads.entry(voter.node).or_default() += 1);
    }
    loads
}
