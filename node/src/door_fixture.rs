//! A node for the tests of the doors: real machines behind the seams, no Raft, no threads.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

pub(crate) mod govern;

use crate::{
    error::Error,
    machine::{
        LogRecord, Machine,
        command::{Op, Outcome, Query},
        model::ModelStore,
    },
    multiraft::{
        execute::{Executor, Request},
        introspect::{
            ClusterStatus, Fact, FollowerStatus, Governing, Introspect, NodeState, NodeStatus, PeerStatus,
            ReplicaRole, ShardStatus, ShardTotals,
        },
    },
    partitioning::{ShardMap, SlotHash},
    types::{NodeId, ShardId, Timestamp},
};

/// Node 1 of two, leading every shard unless told otherwise.
#[derive(Clone)]
pub(crate) struct FakeNode {
    inner: Arc<Inner>,
}

struct Inner {
    map: Arc<ShardMap>,
    machines: Vec<Mutex<Machine<ModelStore>>>,
    now: AtomicU64,
    address: Mutex<String>,
    /// What the next calls of `execute` answer instead.
    failures: Mutex<Vec<Error>>,
    leaders: Mutex<HashMap<ShardId, NodeId>>,
    /// What has been asked, in order.
    log: Mutex<Vec<Asked>>,
    unready: Mutex<Option<&'static str>>,
    turns: AtomicU64,
    meta: govern::Meta,
}

/// A call of the seam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Local(ShardId),
    Execute(Request, Duration),
    Transfer(ShardId, NodeId),
}

impl FakeNode {
    pub(crate) fn new(shards: u32) -> Self {
        let inner = Inner {
            map: Arc::new(ShardMap::new(SlotHash::Crc16, shards)),
            machines: (0..shards).map(|_| Mutex::new(Machine::new(ModelStore::new()))).collect(),
            now: AtomicU64::new(1_000_000),
            address: Mutex::new("127.0.0.1:7000".into()),
            failures: Mutex::default(),
            leaders: Mutex::default(),
            log: Mutex::default(),
            unready: Mutex::default(),
            turns: AtomicU64::new(0),
            meta: govern::Meta::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn meta(&self) -> &govern::Meta {
        &self.inner.meta
    }

    pub(crate) fn set_address(&self, address: String) {
        *self.inner.address.lock() = address;
    }

    pub(crate) fn fail_next(&self, error: Error) {
        self.inner.failures.lock().push(error);
    }

    pub(crate) fn set_leader(&self, shard: ShardId, node: NodeId) {
        self.inner.leaders.lock().insert(shard, node);
    }

    pub(crate) fn set_unready(&self, why: Option<&'static str>) {
        *self.inner.unready.lock() = why;
    }

    pub(crate) fn turn(&self) {
        self.inner.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn take_log(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.inner.log.lock())
    }

    fn run(&self, request: Request) -> Outcome {
        let now = Timestamp(self.inner.now.load(Ordering::Relaxed));
        let mut machine = self.inner.machines[request.shard as usize].lock();
        let next = machine.applied().next();
        let record = |commands| LogRecord { stamp: now, commands, ..LogRecord::default() };
        match request.op {
            Op::Write(command) => machine.apply(next, record(vec![command])).remove(0),
            Op::Read(query) => {
                machine.apply(next, record(Vec::new()));
                machine.read(&query, now).expect("log time is now")
            }
        }
    }
}

impl Executor for FakeNode {
    fn shard_map(&self) -> Arc<ShardMap> {
        self.inner.map.clone()
    }

    fn local(&self, shard: ShardId, query: &Query) -> Option<Outcome> {
        self.inner.log.lock().push(Asked::Local(shard));
        let machine = self.inner.machines[shard as usize].lock();
        machine.read(query, machine.log_time()).ok()
    }

    async fn execute(&self, requests: Vec<Request>, timeout: Duration) -> Vec<Result<Outcome, Error>> {
        requests
            .into_iter()
            .map(|request| {
                self.inner.log.lock().push(Asked::Execute(request.clone(), timeout));
                match self.inner.failures.lock().pop() {
                    Some(error) => Err(error),
                    None => Ok(self.run(request)),
                }
            })
            .collect()
    }
}

impl Introspect for FakeNode {
    fn status(&self) -> NodeStatus {
        let total = self.inner.map.num_shards();
        NodeStatus {
            node: 1,
            address: self.inner.address.lock().clone(),
            incarnation: "0a".repeat(16),
            cluster_uid: Some("0b".repeat(16)),
            version: "0.1.0".into(),
            feature_level: 1,
            state: NodeState::Joined,
            reason: String::new(),
            peers: vec![PeerStatus { node: 2, address: "127.0.0.1:7002".into(), connected: true }],
            shards: ShardTotals { total, local: total, led: total, leaderless: 0 },
            uptime_ms: 1_500,
        }
    }

    fn shards(&self) -> Vec<ShardStatus> {
        let status = |(shard, machine): (u32, &Mutex<Machine<ModelStore>>)| {
            let machine = machine.lock();
            let applied = machine.applied().0;
            ShardStatus {
                shard,
                leader: self.leader(shard).map(|node| node.0),
                term: 3,
                commit: applied,
                applied,
                last: applied,
                voters: vec![1, 2],
                learners: vec![],
                replica: u64::from(shard) * 2 + 1,
                role: ReplicaRole::Leader,
                asleep: false,
                entries: machine.len() as u64,
                bytes: machine.weight_bytes(),
                state_hash: format!("{:032x}", machine.state_hash()),
                followers: vec![FollowerStatus { node: 2, matched: applied, lag_entries: 0 }],
                health: "serving",
                ops_per_second: 0.5,
            }
        };
        (0..).zip(&self.inner.machines).map(status).collect()
    }

    fn cluster(&self) -> Option<ClusterStatus> {
        let map = self.meta().map.lock().clone()?;
        Some(ClusterStatus::new(&map, self.meta_leader(), self.governing().as_deref(), 1_000))
    }

    fn governing(&self) -> Option<Arc<Governing>> {
        self.meta().governing.lock().clone()
    }

    fn meta_leader(&self) -> Option<NodeId> {
        *self.meta().leader.lock()
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        Some(self.inner.leaders.lock().get(&shard).copied().unwrap_or(NodeId(1)))
    }

    fn address(&self, node: NodeId) -> Option<String> {
        match node.0 {
            1 => Some(self.inner.address.lock().clone()),
            2 => Some("127.0.0.1:7002".into()),
            _ => None,
        }
    }

    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn readiness(&self) -> Vec<Fact> {
        let unready = *self.inner.unready.lock();
        let joined = Fact { name: "joined", ok: true, detail: "map version 4".into() };
        let replicas = Fact { name: "replicas", ok: unready.is_none(), detail: unready.unwrap_or("all").into() };
        vec![joined, replicas]
    }

    fn worker_turns(&self) -> Vec<u64> {
        vec![self.inner.turns.load(Ordering::Relaxed)]
    }

    async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), Error> {
        self.inner.log.lock().push(Asked::Transfer(shard, to));
        if to == NodeId(1) {
            return Err(Error::NotLeader { shard, hint: Some(NodeId(2)) });
        }
        self.set_leader(shard, to);
        Ok(())
    }
}
