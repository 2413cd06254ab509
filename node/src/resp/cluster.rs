//! Redis's cluster mode: which node a client is to ask for which slot.
//!
//! In this mode a key whose shard is led elsewhere is answered `MOVED` (`commands::redirect`), and `CLUSTER` draws the
//! cluster (`commands::cluster`). Both rest on what this node knows now, and neither ever waits.
//!
//! A redirect goes to a voter of the shard and nowhere else: voters know their leader from Raft, so a client that
//! follows redirects arrives. What can't be redirected for certain (an election, a leader that is going, a leader that
//! this node has no stream to) is forwarded as in proxy mode and waits where it is: a planned move is never an error.

mod picture;

use std::{fmt, sync::Arc};

pub(super) use self::picture::{Picture, PlaceState, Station};
use crate::{
    cluster::map::{ClusterMap, Member},
    partitioning::{ShardMap, SlotHash},
    types::{GroupId, NodeId, ShardId},
};

/// How the door answers for keys whose shard is led by another node.
#[derive(Clone, Default)]
pub enum RespMode {
    /// It forwards: any node takes any key.
    #[default]
    Proxy,
    /// It redirects, as a node of a Redis cluster.
    Cluster(Arc<dyn Whereabouts>),
}

impl fmt::Debug for RespMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxy => "Proxy",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl RespMode {
    /// Who knows where shards are, in cluster mode. Clients make slots by crc16: a cluster that makes them otherwise can
    /// only be served as a proxy.
    pub(super) fn whereabouts(&self, map: &ShardMap) -> Option<&dyn Whereabouts> {
        match (self, map.hash()) {
            (Self::Cluster(whereabouts), SlotHash::Crc16) => Some(&**whereabouts),
            (Self::Cluster(_), SlotHash::XxHash64) | (Self::Proxy, _) => None,
        }
    }
}

/// What a node knows of where shards are. Asked for each command in cluster mode: it must not wait for anything.
pub trait Whereabouts: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> NodeId;

    /// The cluster map; `None` before this node belongs to a cluster.
    fn map(&self) -> Option<Arc<ClusterMap>>;

    /// Who leads a shard, as far as this node knows.
    fn leader(&self, shard: ShardId) -> Option<NodeId>;

    /// Whether this node has a replica of a shard that answers local reads.
    fn has_replica(&self, shard: ShardId) -> bool;

    /// Whether a node is this one, or there is a peer stream to it now.
    fn reaches(&self, node: NodeId) -> bool;
}

/// Where a client is to ask for a shard instead of here, as `host:port`; `None`: here.
pub(super) fn elsewhere(known: &dyn Whereabouts, shard: ShardId) -> Option<String> {
    let (own, leader) = (known.node(), known.leader(shard));
    if leader == Some(own) {
        return None;
    }
    let map = known.map()?;
    let to = match leader {
        Some(leader) => Some(leader).filter(|leader| can_answer(known, &map, shard, *leader)),
        // An election, which this node will hear the end of.
        None if is_voter(&map, shard, own) => None,
        None => voters(&map, shard).find(|node| can_answer(known, &map, shard, *node)),
    };
    let (host, port) = door(map.members.get(&to.filter(|to| *to != own)?)?)?;
    Some(format!("{host}:{port}"))
}

/// The node that is shown as the master of a shard: its leader; while there is none that can be asked, the first voter
/// that can, which forwards. The same on all nodes that reach the same ones.
fn master(known: &dyn Whereabouts, map: &ClusterMap, shard: ShardId) -> Option<NodeId> {
    let leader = known.leader(shard).filter(|leader| can_answer(known, map, shard, *leader));
    leader.or_else(|| voters(map, shard).find(|node| can_answer(known, map, shard, *node)))
}

/// The shards of which this node is shown as the master, ascending.
pub(super) fn own_shards(known: &dyn Whereabouts) -> Vec<ShardId> {
    let Some(map) = known.map() else { return Vec::new() };
    let own = Some(known.node());
    (0..map.num_shards).filter(|shard| known.leader(*shard) == own || master(known, &map, *shard) == own).collect()
}

/// The nodes of the living voters of a shard, in the map's order: leadership should be on the first.
fn voters(map: &ClusterMap, shard: ShardId) -> impl Iterator<Item = NodeId> {
    let set = map.groups.get(&GroupId::of_shard(shard));
    set.into_iter().flat_map(|set| set.voters()).filter(|at| map.is_alive(at)).map(|at| at.node)
}

fn is_voter(map: &ClusterMap, shard: ShardId, node: NodeId) -> bool {
    voters(map, shard).any(|voter| voter == node)
}

/// Whether a client that asks this node for the shard gets an answer or a better address.
fn can_answer(known: &dyn Whereabouts, map: &ClusterMap, shard: ShardId, node: NodeId) -> bool {
    is_voter(map, shard, node) && known.reaches(node) && map.members.get(&node).and_then(door).is_some()
}

/// Where clients reach a member, as Redis writes it: a host without brackets, and a port. `None` when nobody can.
fn door(member: &Member) -> Option<(&str, u16)> {
    let (host, port) = split(&member.client_address)?;
    let ip: Option<std::net::IpAddr> = host.parse().ok();
    (!ip.is_some_and(|ip| ip.is_unspecified())).then_some((host, port))
}

/// `host:port` in its parts; the brackets of an IPv6 address go.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!inner.is_empty()).then_some((inner, port.parse().ok()?))
}
