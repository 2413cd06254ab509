//! Cluster mode over a real connection: golden scripts against a map and leaders that the script sets.
//!
//! Node 1 of five answers; four shards have three voters each. A line is one of
//! - `> WORD…`, a command, answered with the reply as it came, `\r\n` as a space;
//! - `leader SHARD NODE` (0: nobody is known), `cut NODE`, `mend NODE`, `replica SHARD yes|no`: what node 1 knows;
//! - `reconnect`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{net::TcpStream, runtime::Runtime};

use super::{Door, executor::SHARDS, script};
use crate::{
    cluster::map::{
        ClusterMap, FIRST_FEATURE_LEVEL, Member, MemberState, ReplicaAt, ReplicaSet, SUPPORTED_LEVELS, SharedSettings,
    },
    golden,
    partitioning::SlotHash,
    resp::{RespConfig, RespMode, Whereabouts},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId, ShardId},
};

const OWN: NodeId = NodeId(1);
/// The nodes of each shard's voters, in the map's order.
const VOTERS: [[u64; 3]; SHARDS as usize] = [[1, 2, 3], [2, 3, 4], [3, 4, 1], [2, 1, 3]];
/// Where clients reach the nodes: by IP addresses of both kinds, by names, and not at all.
const DOORS: [&str; 5] =
    ["10.0.0.1:6379", "crema-1.crema.svc:6380", "10.0.0.3:6379", "[fd00::4]:6379", "0.0.0.0:6379"];

struct World {
    map: ClusterMap,
    leaders: HashMap<ShardId, NodeId>,
    cut: BTreeSet<NodeId>,
    without_replica: BTreeSet<ShardId>,
}

#[derive(Clone)]
struct Known(Arc<Mutex<World>>);

impl Known {
    fn new(slot_hash: SlotHash) -> Self {
        let world = World {
            map: map(slot_hash),
            leaders: (0..SHARDS).map(|shard| (shard, NodeId(VOTERS[shard as usize][0]))).collect(),
            cut: BTreeSet::new(),
            without_replica: BTreeSet::from([1]),
        };
        Self(Arc::new(Mutex::new(world)))
    }

    /// Takes a line of a script that is no command.
    fn change(&self, line: &str) {
        let mut world = self.0.lock();
        match *line.split(' ').collect::<Vec<_>>().as_slice() {
            ["leader", shard, node] => {
                world.leaders.insert(shard.parse().unwrap(), NodeId(node.parse().unwrap()));
            }
            ["cut", node] => assert!(world.cut.insert(NodeId(node.parse().unwrap()))),
            ["mend", node] => assert!(world.cut.remove(&NodeId(node.parse().unwrap()))),
            ["replica", shard, "yes"] => assert!(world.without_replica.remove(&shard.parse().unwrap())),
            ["replica", shard, "no"] => assert!(world.without_replica.insert(shard.parse().unwrap())),
            _ => panic!("what is {line:?}?"),
        }
    }
}

impl Whereabouts for Known {
    fn node(&self) -> NodeId {
        OWN
    }

    fn map(&self) -> Option<Arc<ClusterMap>> {
        Some(Arc::new(self.0.lock().map.clone()))
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.0.lock().leaders.get(&shard).copied().filter(|node| node.0 != 0)
    }

    fn has_replica(&self, shard: ShardId) -> bool {
        !self.0.lock().without_replica.contains(&shard)
    }

    fn reaches(&self, node: NodeId) -> bool {
        !self.0.lock().cut.contains(&node)
    }
}

fn map(slot_hash: SlotHash) -> ClusterMap {
    let member = |(place, door): (usize, &&str)| {
        let node = place as u64 + 1;
        let member = Member {
            incarnation: Incarnation(node.into()),
            address: format!("10.0.0.{node}:7000"),
            host: String::new(),
            zone: String::new(),
            state: MemberState::Up,
            levels: SUPPORTED_LEVELS,
            client_address: (*door).to_owned(),
        };
        (NodeId(node), member)
    };
    let set = |(shard, nodes): (usize, &[u64; 3])| {
        let replica = |(place, node): (usize, &u64)| ReplicaAt {
            replica: ReplicaId((shard * 3 + place) as u64 + 10),
            node: NodeId(*node),
            incarnation: Incarnation((*node).into()),
            learner: false,
        };
        let replicas = nodes.iter().enumerate().map(replica).collect();
        (GroupId::of_shard(shard as ShardId), ReplicaSet { generation: 1, replicas, ..ReplicaSet::default() })
    };
    ClusterMap {
        uid: ClusterUid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        version: 7,
        feature_level: FIRST_FEATURE_LEVEL,
        num_shards: SHARDS,
        slot_hash,
        replication_factor: 3,
        members: DOORS.iter().enumerate().map(member).collect(),
        groups: VOTERS.iter().enumerate().map(set).collect(),
        next_replica: ReplicaId(100),
        settings: SharedSettings::default(),
        migrations: BTreeMap::new(),
        next_migration: MigrationId(1),
    }
}

fn config(known: &Known) -> RespConfig {
    RespConfig { mode: RespMode::Cluster(Arc::new(known.clone())), ..RespConfig::default() }
}

#[test]
fn golden_scripts_of_cluster_mode() {
    let runtime = Runtime::new().unwrap();
    golden::check("src/resp/cluster/golden", || {
        let known = Known::new(SlotHash::Crc16);
        let door = runtime.block_on(Door::with(config(&known)));
        let mut stream = None;
        let runtime = &runtime;
        move |line| match line.strip_prefix("> ") {
            Some(command) => {
                let exchange = async {
                    let mut open = match stream.take() {
                        Some(open) => open,
                        None => TcpStream::connect(door.address).await.unwrap(),
                    };
                    let (reply, _) = script::exchange(&mut open, &script::array(command)).await;
                    stream = Some(open);
                    reply
                };
                format!("{}\n", shown(&runtime.block_on(exchange)))
            }
            None if line == "reconnect" => {
                stream = None;
                String::new()
            }
            None => {
                known.change(line);
                String::new()
            }
        }
    });
}

/// A reply on one line, but for the lines of a text.
fn shown(reply: &[u8]) -> String {
    let text = String::from_utf8(reply.to_vec()).unwrap();
    text.trim_end_matches("\r\n").replace("\r\n", " ").trim_end_matches('\n').to_owned()
}

#[tokio::test]
async fn slots_that_clients_could_not_make_are_served_as_a_proxy() {
    let known = Known::new(SlotHash::XxHash64);
    let hash = crate::partitioning::ShardMap::new(SlotHash::XxHash64, SHARDS);
    assert!(config(&known).mode.whereabouts(&hash).is_none());
    assert!(config(&known).mode.whereabouts(&known.map().unwrap().shard_map()).is_none());
    assert!(RespMode::Proxy.whereabouts(&crate::partitioning::ShardMap::new(SlotHash::Crc16, SHARDS)).is_none());
}

/// A redirection is told when a command is queued, and spoils the transaction.
#[tokio::test]
async fn a_transaction_is_redirected_as_a_whole_or_not_at_all() {
    let known = Known::new(SlotHash::Crc16);
    let door = Door::with(config(&known)).await;
    let mut open = TcpStream::connect(door.address).await.unwrap();
    let mut send = async |commands: &[&str]| {
        let commands: Vec<Vec<u8>> = commands.iter().map(|command| script::array(command)).collect();
        shown(&script::exchange(&mut open, &commands.concat()).await.0)
    };
    assert_eq!(
        send(&["MULTI", "SET b 1", "SET a 1", "EXEC", "GET b"]).await,
        "+OK +QUEUED -MOVED 15495 crema-1.crema.svc:6380 \
         -EXECABORT Transaction discarded because of previous errors. $-1"
    );
    assert_eq!(
        send(&["MULTI", "SET b 5", "RENAME b {b}2", "GET {b}2", "EXEC"]).await,
        "+OK +QUEUED +QUEUED +QUEUED *3 +OK +OK $1 5"
    );
    assert_eq!(send(&["COPY b a", "WATCH b {b}2"]).await, format!("-{} +OK", super::super::errors::CROSS_SLOT));
}
