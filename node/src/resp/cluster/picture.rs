//! The cluster as `CLUSTER` shows it: who is there, and who answers for which slots (pure).
//!
//! Redis knows masters with replicas of their own. Here a node leads some shards and follows in others. But clients take a
//! node for one or the other: shown as both, some ask it for neither. So a node that leads anything is a master and nothing
//! else. One that leads nothing is a replica of each range that it has a voter of, and where each node is shown only once
//! (`CLUSTER NODES` and `SHARDS`) of the master that it shares most slots with.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use super::{Whereabouts, door, master, split, voters};
use crate::{
    cluster::map::{ClusterMap, Member},
    partitioning::SLOTS,
    types::{ClusterUid, NodeId},
};

/// What one node knows of its cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resp) struct Picture {
    /// The version of the map.
    pub(in crate::resp) epoch: u64,
    /// The node that drew it.
    pub(in crate::resp) own: NodeId,
    /// The living members that clients can reach, ascending; and the own node, whether they can or not.
    pub(in crate::resp) stations: BTreeMap<NodeId, Station>,
    /// The slots in rising order; neighbours with the same master and replicas are one.
    pub(in crate::resp) places: Vec<Place>,
    /// Whose replica each node is where it is shown once.
    homes: BTreeMap<NodeId, NodeId>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resp) struct Station {
    /// 40 hex digits, the same for the life of the cluster.
    pub(in crate::resp) id: String,
    /// A name or an IP address; empty when clients can't reach it.
    pub(in crate::resp) host: String,
    /// Of its RESP door.
    pub(in crate::resp) port: u16,
    /// Of its gRPC door, where Redis has its cluster bus.
    pub(in crate::resp) bus_port: u16,
    /// Whether it is the own node or there is a stream to it.
    pub(in crate::resp) reached: bool,
}

impl Station {
    /// Its host, unless that is an IP address.
    pub(in crate::resp) fn name(&self) -> Option<&str> {
        let is_ip = self.host.parse::<std::net::IpAddr>().is_ok();
        (!is_ip && !self.host.is_empty()).then_some(self.host.as_str())
    }
}

/// A range of slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resp) struct Place {
    pub(in crate::resp) slots: RangeInclusive<u16>,
    /// A station.
    pub(in crate::resp) master: NodeId,
    /// Stations with other voters that are masters of nothing, ascending.
    pub(in crate::resp) replicas: Vec<NodeId>,
    pub(in crate::resp) state: PlaceState,
}

/// Whether the slots can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resp) enum PlaceState {
    /// Their leader is known.
    Led,
    /// No leader is known here; one is elected perhaps.
    Leaderless,
    /// Less than a majority of their voters can be reached from here.
    Lost,
}

impl Picture {
    /// Draws it; `None` before this node belongs to a cluster.
    pub(in crate::resp) fn draw(known: &dyn Whereabouts) -> Option<Self> {
        let (map, own) = (known.map()?, known.node());
        let living = map.members.iter().filter(|(node, _)| map.incarnation_of(**node).is_some() || **node == own);
        let station = |(node, member): (&NodeId, &Member)| {
            let station = Station::new(map.uid, *node, member, known.reaches(*node));
            (!station.host.is_empty() || *node == own).then_some((*node, station))
        };
        let stations: BTreeMap<NodeId, Station> = living.filter_map(station).collect();
        let shards: Vec<Place> = places_of(known, &map, &stations).collect();
        let masters: BTreeSet<NodeId> = shards.iter().map(|place| place.master).collect();
        let mut places: Vec<Place> = Vec::new();
        for mut place in shards {
            place.replicas.retain(|replica| !masters.contains(replica));
            match places.last_mut() {
                Some(last) if last.is_continued_by(&place) => last.slots = *last.slots.start()..=*place.slots.end(),
                _ => places.push(place),
            }
        }
        let homes = homes(&places);
        Some(Self { epoch: map.version, own, stations, places, homes })
    }

    /// The slots of a master.
    pub(in crate::resp) fn ranges(&self, master: NodeId) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for place in self.places.iter().filter(|place| place.master == master) {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == *place.slots.start() => *last = *last.start()..=*place.slots.end(),
                _ => ranges.push(place.slots.clone()),
            }
        }
        ranges
    }

    /// Whose replica a node is shown as where it is shown once; `None` for masters, and for one that shares nothing.
    pub(in crate::resp) fn master_of(&self, node: NodeId) -> Option<NodeId> {
        self.homes.get(&node).copied()
    }

    /// The nodes that are shown as replicas of a master where each is shown once, ascending.
    pub(in crate::resp) fn replicas_of(&self, master: NodeId) -> Vec<NodeId> {
        self.homes.iter().filter(|(_, home)| **home == master).map(|(node, _)| *node).collect()
    }

    /// How many slots are so.
    pub(in crate::resp) fn count(&self, state: PlaceState) -> u32 {
        self.places.iter().filter(|place| place.state == state).map(Place::size).sum()
    }
}

impl Station {
    fn new(uid: ClusterUid, node: NodeId, member: &Member, reached: bool) -> Self {
        let (host, port) = door(member).unwrap_or_default();
        let bus_port = split(&member.address).map_or(0, |(_, port)| port);
        Self { id: node_id(uid, node), host: host.to_owned(), port, bus_port, reached }
    }
}

impl Place {
    /// How many slots.
    fn size(&self) -> u32 {
        u32::from(self.slots.end() - self.slots.start()) + 1
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        let Self { slots, master, replicas, state } = next;
        *self.slots.end() + 1 == *slots.start()
            && (self.master, &self.replicas, self.state) == (*master, replicas, *state)
    }
}

/// For each replica the master that it shares most slots with; the lowest of several.
fn homes(places: &[Place]) -> BTreeMap<NodeId, NodeId> {
    let mut shared: BTreeMap<NodeId, BTreeMap<NodeId, u32>> = BTreeMap::new();
    for place in places {
        for replica in &place.replicas {
            *shared.entry(*replica).or_default().entry(place.master).or_default() += place.size();
        }
    }
    let home = |masters: BTreeMap<NodeId, u32>| masters.into_iter().rev().max_by_key(|(_, slots)| *slots);
    shared.into_iter().filter_map(|(replica, masters)| Some((replica, home(masters)?.0))).collect()
}

/// The beginning of the cluster's own id, and the node's number.
fn node_id(uid: ClusterUid, node: NodeId) -> String {
    const UID_DIGITS: usize = 24;
    format!("{}{:016x}", &uid.to_string()[..UID_DIGITS], node.0)
}

fn places_of(
    known: &dyn Whereabouts,
    map: &ClusterMap,
    stations: &BTreeMap<NodeId, Station>,
) -> impl Iterator<Item = Place> {
    let own = known.node();
    let shard_map = map.shard_map();
    debug_assert!(shard_map.num_shards() <= u32::from(SLOTS), "each shard has a slot at least");
    (0..map.num_shards).flat_map(move |shard| {
        // Without anybody better this node answers by itself.
        let master = master(known, map, shard).unwrap_or(own);
        let mut replicas: Vec<NodeId> = voters(map, shard).collect();
        let reached = replicas.iter().filter(|node| known.reaches(**node)).count();
        let all = map.groups.get(&crate::types::GroupId::of_shard(shard)).map_or(0, |set| set.voters().count());
        let state = match known.leader(shard) {
            _ if reached * 2 <= all => PlaceState::Lost,
            None if replicas.contains(&own) => PlaceState::Leaderless,
            // A node without a replica needn't know.
            Some(_) | None => PlaceState::Led,
        };
        replicas.retain(|node| *node != master && stations.contains_key(node));
        replicas.sort_unstable();
        replicas.dedup();
        let place = move |slots| Place { slots, master, replicas: replicas.clone(), state };
        shard_map.ranges(shard).into_iter().map(place)
    })
}
