//! The cluster map of the fake node: changed in memory by the real rules, as if the meta group had one voter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::FakeNode;
use crate::{
    checkpoint::ConfState,
    cluster::{
        ClusterMap,
        command::{self, MetaCommand, Refused},
        map::{Member, MemberState, ReplicaAt, ReplicaSet, SUPPORTED_LEVELS, SharedSettings},
    },
    multiraft::{
        govern::{FirstNode, Govern, GovernError, Initiate},
        introspect::Governing,
    },
    partitioning::SlotHash,
    placement::{GroupHealth, Health, NodeHealth, PeerHealth},
    types::{ClusterUid, GroupId, Incarnation, MigrationId, NodeId, ReplicaId},
};

/// Log time of the fake meta group.
const NOW_MS: u64 = 1_000;

/// The meta group of the fake node.
#[derive(Default)]
pub(crate) struct Meta {
    pub(super) map: Mutex<Option<Arc<ClusterMap>>>,
    pub(super) governing: Mutex<Option<Arc<Governing>>>,
    pub(super) leader: Mutex<Option<NodeId>>,
    /// What the next changes answer instead.
    failures: Mutex<Vec<GovernError>>,
    committed: Mutex<Vec<MetaCommand>>,
}

/// A map of nodes that are up: shard `s` has its first replica on node `s % nodes + 1`, and so on.
pub(crate) fn map(nodes: u64, shards: u32, replication_factor: u32) -> ClusterMap {
    let member = |node: u64| Member {
        incarnation: Incarnation(u128::from(node)),
        address: format!("127.0.0.1:{}", 7_000 + node),
        host: String::new(),
        zone: String::new(),
        state: MemberState::Up,
        levels: SUPPORTED_LEVELS,
        client_address: String::new(),
    };
    let mut next = 1;
    let mut set = |group: u64, size: u64| {
        let mut at = |place: u64| {
            let node = (group + place) % nodes + 1;
            next += 1;
            let (replica, incarnation) = (ReplicaId(next - 1), Incarnation(u128::from(node)));
            ReplicaAt { replica, node: NodeId(node), incarnation, learner: false }
        };
        ReplicaSet { generation: 1, replicas: (0..size).map(&mut at).collect(), changes: 0, ..ReplicaSet::default() }
    };
    let mut groups = BTreeMap::from([(GroupId::META, set(0, nodes.min(5)))]);
    groups.extend((0..shards).map(|shard| (GroupId::of_shard(shard), set(shard.into(), replication_factor.into()))));
    ClusterMap {
        uid: ClusterUid(0xc),
        version: 1,
        feature_level: 1,
        num_shards: shards,
        slot_hash: SlotHash::Crc16,
        replication_factor,
        members: (1..=nodes).map(|node| (NodeId(node), member(node))).collect(),
        groups,
        next_replica: ReplicaId(next),
        settings: SharedSettings::default(),
        migrations: BTreeMap::new(),
        next_migration: MigrationId(1),
    }
}

/// Everybody is connected, and every replica level with the first one, which leads.
pub(crate) fn healthy(map: &ClusterMap) -> Governing {
    let node = NodeHealth { silent_ms: 0, map_version: map.version, used_bytes: 1_000, ..NodeHealth::default() };
    let group = |set: &ReplicaSet| {
        let matched = PeerHealth { matched: 100, snapshot: false };
        GroupHealth {
            leader: set.replicas.first().map(|at| at.replica).unwrap_or_default(),
            conf: ConfState { voters: set.voters().map(|at| at.replica).collect(), ..ConfState::default() },
            last: 100,
            entries: 10,
            bytes: 1_000,
            peers: set.replicas.iter().map(|at| (at.replica, matched)).collect(),
            ..GroupHealth::default()
        }
    };
    let health = Health {
        held_back: BTreeSet::new(),
        asked: BTreeSet::new(),
        relieved: BTreeSet::new(),
        unfit: BTreeMap::new(),
        nodes: map.members.keys().map(|id| (*id, node)).collect(),
        groups: map.groups.iter().map(|(id, set)| (*id, group(set))).collect(),
    };
    Governing { health, waiting_on: Vec::new() }
}

impl FakeNode {
    /// The node belongs to a cluster, and leads its meta group.
    pub(crate) fn set_map(&self, map: ClusterMap) {
        *self.meta().governing.lock() = Some(Arc::new(healthy(&map)));
        *self.meta().leader.lock() = Some(NodeId(1));
        *self.meta().map.lock() = Some(Arc::new(map));
    }

    /// Somebody else leads the meta group, or nobody.
    pub(crate) fn follow(&self, leader: Option<NodeId>) {
        *self.meta().governing.lock() = None;
        *self.meta().leader.lock() = leader;
    }

    pub(crate) fn edit_map(&self, edit: impl FnOnce(&mut ClusterMap)) {
        let mut map = self.meta().map.lock();
        let mut newer = (**map.as_ref().expect("a map")).clone();
        edit(&mut newer);
        newer.version += 1;
        *map = Some(Arc::new(newer));
    }

    pub(crate) fn edit_health(&self, edit: impl FnOnce(&mut Governing)) {
        let mut governing = self.meta().governing.lock();
        let mut newer = (**governing.as_ref().expect("it leads")).clone();
        edit(&mut newer);
        *governing = Some(Arc::new(newer));
    }

    pub(crate) fn fail_next_change(&self, error: GovernError) {
        self.meta().failures.lock().push(error);
    }

    pub(crate) fn take_committed(&self) -> Vec<MetaCommand> {
        std::mem::take(&mut *self.meta().committed.lock())
    }
}

impl Govern for FakeNode {
    fn map(&self) -> Option<Arc<ClusterMap>> {
        self.meta().map.lock().clone()
    }

    async fn govern(
        &self,
        command: MetaCommand,
        expected_version: Option<u64>,
        _: Duration,
    ) -> Result<Arc<ClusterMap>, GovernError> {
        if let Some(error) = self.meta().failures.lock().pop() {
            return Err(error);
        }
        let mut place = self.meta().map.lock();
        let map = place.as_ref().ok_or_else(|| GovernError::Unavailable("no cluster".into()))?;
        if let Some(expected) = expected_version.filter(|expected| *expected != map.version) {
            return Err(Refused::Version { expected, actual: map.version }.into());
        }
        let mut newer = (**map).clone();
        command::apply(&mut newer, NOW_MS, None, &command)?;
        self.meta().committed.lock().push(command);
        let newer = Arc::new(newer);
        *place = Some(newer.clone());
        Ok(newer)
    }
}

impl Initiate for FakeNode {
    /// Forms at once, unless it has a map already.
    async fn initiate(
        &self,
        uid: Option<ClusterUid>,
        nodes: Vec<FirstNode>,
        _: Duration,
    ) -> Result<Arc<ClusterMap>, GovernError> {
        let formed = self.map();
        let same = |map: &ClusterMap| match uid {
            Some(uid) => map.uid == uid,
            None => map.members.keys().eq(nodes.iter().map(|first| &first.node)),
        };
        match formed {
            Some(map) if same(&map) => Ok(map),
            Some(map) => Err(Refused::Reason(format!("this node belongs to cluster {}", map.uid)).into()),
            None => {
                self.set_map(map(nodes.len() as u64, 4, 1));
                if let Some(uid) = uid {
                    self.edit_map(|map| map.uid = uid);
                }
                self.map().ok_or_else(|| GovernError::Unavailable("no map".into()))
            }
        }
    }
}
