//! Where the living replicas of shards will be once every migration under way is done, and where another would fit.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::map::ClusterMap,
    placement::{Health, nodes},
    types::{GroupId, NodeId},
};

/// A node takes replicas up to this share of its memory, in percent: the rest is for the logs and for snapshots.
const FILL_PERCENT: u64 = 90;
/// Nodes whose reason a line gives; the others have one like these.
const MAX_REASONS: usize = 3;

/// Replicas that share something with a place: first its host, then its zone. Less is better.
pub(super) type Crowding = (usize, usize);

/// Why a node can't take a replica now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Nobody has heard of it lately.
    Silent,
    /// It has no replica of the meta group yet, so it would not learn of the shard's.
    NoMap,
    /// It can't write.
    Disk,
    /// Its memory would be too full.
    Full,
}

impl Unfit {
    fn words(self) -> &'static str {
        match self {
            Self::Silent => "is not connected",
            Self::NoMap => "has no copy of the map yet",
            Self::Disk => "has a disk that failed",
            Self::Full => "has too little memory",
        }
    }
}

/// Where a node stands; unknown hosts and zones are shared with nobody.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    host: Option<&'a str>,
    zone: Option<&'a str>,
}

/// The replicas of shards by node, planned ones included.
pub(super) struct Layout<'a> {
    map: &'a ClusterMap,
    health: &'a Health,
    places: BTreeMap<NodeId, Place<'a>>,
    homes: BTreeMap<GroupId, BTreeSet<NodeId>>,
    load: BTreeMap<NodeId, usize>,
    /// Bytes on their way to a node, which its own count may lack.
    pledged: BTreeMap<NodeId, u64>,
    with_map: BTreeSet<NodeId>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(map: &'a ClusterMap, health: &'a Health) -> Self {
        let known = |text: &'a String| Some(text.as_str()).filter(|text| !text.is_empty());
        let places =
            map.members.iter().map(|(node, m)| (*node, Place { host: known(&m.host), zone: known(&m.zone) }));
        let meta = map.groups.get(&GroupId::META).into_iter().flat_map(|set| &set.replicas);
        let mut layout = Self {
            map,
            health,
            places: places.collect(),
            homes: BTreeMap::new(),
            load: BTreeMap::new(),
            pledged: BTreeMap::new(),
            with_map: meta.filter(|at| map.is_alive(at)).map(|at| at.node).collect(),
        };
        layout.settle();
        layout
    }

    /// Counts the living replicas, each migration done: the outgoing one gone, the incoming one of a cancelled one too.
    fn settle(&mut self) {
        let mut leaving = BTreeSet::new();
        for migration in self.map.migrations.values() {
            let undone = migration.incoming.filter(|_| !migration.promoted);
            leaving.extend(if migration.cancelled { undone } else { migration.outgoing });
            let node = migration.incoming.and_then(|replica| self.map.node_of(migration.group, replica));
            if let Some(node) = node {
                *self.pledged.entry(node).or_default() += self.bytes_of(migration.group);
            }
        }
        for (group, set) in self.map.groups.iter().filter(|(group, _)| **group != GroupId::META) {
            let living = set.replicas.iter().filter(|at| self.map.is_alive(at) && !leaving.contains(&at.replica));
            let homes: BTreeSet<NodeId> = living.map(|at| at.node).collect();
            for node in &homes {
                *self.load.entry(*node).or_default() += 1;
            }
            self.homes.insert(*group, homes);
        }
    }

    /// How many replicas of shards a node has.
    pub(super) fn load(&self, node: NodeId) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }

    /// Where a shard's replicas are.
    pub(super) fn homes(&self, group: GroupId) -> impl Iterator<Item = NodeId> {
        self.homes.get(&group).into_iter().flatten().copied()
    }

    pub(super) fn is_home(&self, group: GroupId, node: NodeId) -> bool {
        self.homes.get(&group).is_some_and(|homes| homes.contains(&node))
    }

    /// Whether a node has a living replica of the meta group: without one it learns of no replica that it should have.
    pub(super) fn has_map(&self, node: NodeId) -> bool {
        self.with_map.contains(&node)
    }

    /// What one replica of a group takes; 0 when no leader reports.
    pub(super) fn bytes_of(&self, group: GroupId) -> u64 {
        self.health.groups.get(&group).map_or(0, |group| group.bytes)
    }

    /// A replica goes, comes, or both.
    pub(super) fn shift(&mut self, group: GroupId, from: Option<NodeId>, to: Option<NodeId>) {
        let bytes = self.bytes_of(group);
        let homes = self.homes.entry(group).or_default();
        if let Some(from) = from.filter(|from| homes.remove(from)) {
            let load = self.load.entry(from).or_default();
            *load = load.saturating_sub(1);
        }
        if let Some(to) = to.filter(|to| homes.insert(*to)) {
            *self.load.entry(to).or_default() += 1;
            *self.pledged.entry(to).or_default() += bytes;
        }
    }

    /// How many of a shard's replicas, but for one that leaves, share the host and the zone of a node.
    pub(super) fn crowding(&self, group: GroupId, node: NodeId, leaving: Option<NodeId>) -> Crowding {
        let Some(place) = self.places.get(&node) else { return (0, 0) };
        let others = self.homes(group).filter(|home| *home != node && Some(*home) != leaving);
        others.filter_map(|home| self.places.get(&home)).fold((0, 0), |(hosts, zones), other| {
            let same = |a: Option<&str>, b: Option<&str>| usize::from(a.is_some() && a == b);
            (hosts + same(place.host, other.host), zones + same(place.zone, other.zone))
        })
    }

    /// Whether a node that stays may take a replica of a group, which it doesn't hold.
    pub(super) fn fits(&self, group: GroupId, node: NodeId) -> Result<(), Unfit> {
        if !nodes::connected(self.map, self.health, node) {
            return Err(Unfit::Silent);
        }
        if !self.has_map(node) {
            return Err(Unfit::NoMap);
        }
        if self.has_failed_disk(node) {
            return Err(Unfit::Disk);
        }
        if self.free_bytes(node).is_some_and(|free| self.bytes_of(group) > free) { Err(Unfit::Full) } else { Ok(()) }
    }

    /// Whether a node says that it can't write any more.
    pub(super) fn has_failed_disk(&self, node: NodeId) -> bool {
        self.health.nodes.get(&node).is_some_and(|health| health.disk_failed)
    }

    /// What a node may still take; `None` when it has no known limit.
    pub(super) fn free_bytes(&self, node: NodeId) -> Option<u64> {
        let health = self.health.nodes.get(&node)?;
        let limit = health.limit_bytes? / 100 * FILL_PERCENT;
        Some(limit.saturating_sub(health.used_bytes).saturating_sub(self.pledged.get(&node).copied().unwrap_or(0)))
    }

    /// The best node for a replica of a shard, one on `leaving` apart: the least crowded, then the least loaded, then
    /// the lowest number. Or why there is none.
    pub(super) fn target(&self, group: GroupId, leaving: Option<NodeId>) -> Result<NodeId, String> {
        let open = || nodes::staying(self.map).filter(|node| !self.is_home(group, *node));
        let fit = open().filter(|node| self.fits(group, *node).is_ok());
        let best = fit.min_by_key(|node| (self.crowding(group, *node, leaving), self.load(*node), *node));
        best.ok_or_else(|| {
            let why = |node: NodeId| Some(format!("node {node} {}", self.fits(group, node).err()?.words()));
            let reasons: Vec<String> = open().filter_map(why).take(MAX_REASONS).collect();
            if reasons.is_empty() { "every node has one".to_owned() } else { reasons.join(", ") }
        })
    }
}
