//! Three nodes on a perfect network: what must work before anything may fail.

use super::*;
use crate::{
    cluster::map::{FeatureLevels, Member, MemberState, ReplicaAt, ReplicaSet, SharedSettings},
    error::Error,
    machine::{
        command::{Command, Condition, Expiry, Outcome, Put, Query},
        model::ModelStore,
    },
    multiraft::govern::GovernError,
    partitioning::SlotHash,
    types::{ClusterUid, MigrationId, Timestamp},
};

mod damage;
mod durable;
mod membership;

const SHARD: GroupId = GroupId(1);

struct Cluster {
    nodes: BTreeMap<NodeId, Node<ModelStore>>,
    now: Now,
    limits: Limits,
    replies: BTreeMap<Ticket, Result<Vec<Outcome>, Error>>,
    governed: BTreeMap<Ticket, Result<Arc<ClusterMap>, GovernError>>,
    /// Keys that were written one after the other.
    written: u64,
    frames: usize,
    next_ticket: u64,
    /// The sessions of pairs whose first one is over.
    sessions: BTreeMap<(NodeId, NodeId), u64>,
    /// A node whose wall clock is ahead.
    ahead: Option<(NodeId, u64)>,
    /// What went from the disks.
    destroyed: Vec<(NodeId, GroupId, ReplicaId)>,
    /// A node whose disk does not answer, and the last batch that it was given.
    hanging: Option<(NodeId, u64)>,
    /// A node whose clock ticks on before it gets its turn, after each of so many frames.
    hasty: Option<(NodeId, u32)>,
}

fn member(node: u64, life: u128) -> Member {
    Member {
        incarnation: Incarnation(life),
        address: format!("n{node}:1"),
        host: String::new(),
        zone: String::new(),
        state: MemberState::Up,
        levels: FeatureLevels { min: 1, max: 1 },
        client_address: String::new(),
    }
}

fn config(node: u64, life: u128, limits: Limits) -> NodeConfig {
    NodeConfig {
        node: NodeId(node),
        incarnation: Incarnation(life),
        lanes: Lanes::ALL,
        timings: Timings::default(),
        limits,
        checkpoints: Triggers::default(),
        compression: Compression::default(),
        seed: 1,
        durable: false,
        boot: 0,
        admission: Admission::default(),
        faults: Faults::none(),
    }
}

fn core(node: u64, life: u128, limits: Limits, map: Arc<ClusterMap>) -> Node<ModelStore> {
    Node::new(config(node, life, limits), map, |_| ModelStore::new())
}

pub(super) fn map(nodes: u64, settings: SharedSettings) -> ClusterMap {
    let member = |node: u64| member(node, u128::from(node) + 100);
    let set = |group: u64| ReplicaSet {
        generation: 1,
        changes: 0,
        conf_version: 0,
        founders: Vec::new(),
        replicas: (1..=nodes)
            .map(|node| ReplicaAt {
                replica: ReplicaId(group * 10 + node),
                node: NodeId(node),
                incarnation: Incarnation(u128::from(node) + 100),
                learner: false,
            })
            .collect(),
    };
    ClusterMap {
        uid: ClusterUid(7),
        version: 1,
        feature_level: 1,
        num_shards: 1,
        slot_hash: SlotHash::Crc16,
        replication_factor: nodes as u32,
        members: (1..=nodes).map(|node| (NodeId(node), member(node))).collect(),
        groups: (0..2).map(|group| (GroupId(group as u32), set(group))).collect(),
        next_replica: ReplicaId(100),
        settings,
        migrations: BTreeMap::new(),
        next_migration: MigrationId(1),
    }
}

impl Cluster {
    fn new(count: u64, limits: Limits, settings: SharedSettings) -> Self {
        let map = Arc::new(map(count, settings));
        let node = |id: u64| (NodeId(id), core(id, u128::from(id) + 100, limits, map.clone()));
        Self::of((1..=count).map(node).collect(), limits)
    }

    fn of(nodes: BTreeMap<NodeId, Node<ModelStore>>, limits: Limits) -> Self {
        let now = Now { wall: Timestamp(1_000_000), mono_ms: 1_000 };
        let mut cluster = Self {
            nodes,
            now,
            limits,
            replies: BTreeMap::new(),
            governed: BTreeMap::new(),
            written: 0,
            frames: 0,
            next_ticket: 0,
            sessions: BTreeMap::new(),
            ahead: None,
            destroyed: Vec::new(),
            hanging: None,
            hasty: None,
        };
        let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
        for a in &ids {
            for b in ids.iter().filter(|b| *b != a) {
                cluster.input(*a, Input::SessionUp { peer: *b, session: 1 });
            }
        }
        cluster.run_ms(2_000);
        cluster
    }

    fn now_at(&self, node: NodeId) -> Now {
        let ahead_ms = self.ahead.filter(|(ahead, _)| *ahead == node).map_or(0, |(_, ms)| ms);
        Now { wall: self.now.wall.plus_ms(ahead_ms), ..self.now }
    }

    fn session(&self, a: NodeId, b: NodeId) -> u64 {
        self.sessions.get(&(a.min(b), a.max(b))).copied().unwrap_or(1)
    }

    fn disconnect(&mut self, a: NodeId, b: NodeId) {
        let session = self.session(a, b);
        self.input(a, Input::SessionDown { peer: b, session });
        self.input(b, Input::SessionDown { peer: a, session });
    }

    fn reconnect(&mut self, a: NodeId, b: NodeId) {
        let session = self.session(a, b) + 1;
        self.sessions.insert((a.min(b), a.max(b)), session);
        self.input(a, Input::SessionUp { peer: b, session });
        self.input(b, Input::SessionUp { peer: a, session });
    }

    fn input(&mut self, node: NodeId, input: Input) {
        let now = self.now_at(node);
        self.nodes.get_mut(&node).expect("node").input(now, input);
    }

    /// Turns until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut frames = Vec::new();
            let mut snapshots = Vec::new();
            let mut more = false;
            for from in self.nodes.keys().copied().collect::<Vec<_>>() {
                let now = self.now_at(from);
                let Some(node) = self.nodes.get_mut(&from) else { continue };
                let effects = node.turn(now);
                more |= effects.more || effects.persist.is_some();
                let gone = effects.persist.iter().flat_map(|batch| &batch.destroyed);
                self.destroyed.extend(gone.map(|(group, replica)| (from, *group, *replica)));
                match (&mut self.hanging, effects.persist) {
                    (Some((hanging, last)), Some(batch)) if *hanging == from => *last = batch.number,
                    (_, persist) => durable::perform(node, now, persist, effects.checkpoints),
                }
                self.replies.extend(effects.replies);
                self.governed.extend(effects.governed);
                frames.extend(effects.frames.into_iter().map(|(to, frame)| (from, to, frame)));
                for snapshot in effects.snapshots {
                    snapshots.push((from, snapshot));
                }
            }
            for (from, snapshot) in snapshots {
                more = true;
                let (head, entries) =
                    crate::checkpoint::decode_all(&snapshot.chunks.concat()).expect("our own snapshot");
                let received = ReceivedSnapshot { from, message: snapshot.message, head, entries };
                self.input(snapshot.node, Input::Snapshot(Box::new(received)));
                self.input(from, Input::SnapshotSent { group: snapshot.group, to: snapshot.to, ok: true });
            }
            if frames.is_empty() && !more {
                return;
            }
            for (from, to, frame) in frames {
                self.frames += 1;
                if self.nodes.contains_key(&to) {
                    let session = self.session(from, to);
                    self.input(to, Input::Frame { from, session, frame });
                }
                if let Some((_, frames)) = self.hasty.as_mut().filter(|(hasty, frames)| *hasty == to && *frames > 0) {
                    *frames -= 1;
                    (0..4).for_each(|_| self.input(to, Input::Tick));
                }
            }
        }
    }

    fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now = Now { wall: self.now.wall.plus_ms(50), mono_ms: self.now.mono_ms + 50 };
            for node in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.input(node, Input::Tick);
            }
            self.settle();
        }
    }

    fn submit(&mut self, node: u64, ops: Vec<Op>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let deadline_mono_ms = self.now.mono_ms + 3_000;
        self.input(NodeId(node), Input::Submit { ticket, group: SHARD, ops, deadline_mono_ms });
        self.settle();
        ticket
    }

    fn run(&mut self, node: u64, ops: Vec<Op>) -> Result<Vec<Outcome>, Error> {
        let ticket = self.submit(node, ops);
        for _ in 0..200 {
            if let Some(reply) = self.replies.remove(&ticket) {
                return reply;
            }
            self.run_ms(50);
        }
        panic!("no reply to {ticket:?} from node {node}");
    }

    fn leader(&self) -> NodeId {
        self.leader_of(SHARD).expect("a leader")
    }

    /// Who leads a group in its highest term.
    fn leader_of(&self, group: GroupId) -> Option<NodeId> {
        let statuses = self.nodes.iter().filter_map(|(id, node)| Some((id, node.group_status(group)?)));
        let leaders = statuses.filter(|(_, status)| status.role == crate::consensus::Role::Leader);
        leaders.max_by_key(|(_, status)| status.term).map(|(id, _)| *id)
    }

    fn status(&self, node: u64) -> GroupStatus {
        self.nodes[&NodeId(node)].group_status(SHARD).expect("replica")
    }
}

fn put(key: &str, value: &str) -> Op {
    Op::Write(Command::Put(Put {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        expiry: Expiry::Default,
        condition: Condition::Always,
        return_old: false,
    }))
}

fn put_for(key: &str, ms: u64) -> Op {
    Op::Write(Command::Put(Put {
        key: key.to_owned().into(),
        value: "v".into(),
        expiry: Expiry::AfterMs(ms),
        condition: Condition::Always,
        return_old: false,
    }))
}

fn get(key: &str) -> Op {
    Op::Read(Query::Get { key: key.to_owned().into() })
}

fn value(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Value(found) => found.as_ref().map(|found| String::from_utf8_lossy(&found.value).into_owned()),
        other => panic!("not a value: {other:?}"),
    }
}

#[test]
fn any_node_writes_and_reads() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    for node in 1..=3 {
        let done = cluster.run(node, vec![put("k", &node.to_string())]).expect("write");
        assert!(matches!(done[..], [Outcome::Stored { .. }]));
        for reader in 1..=3 {
            let read = cluster.run(reader, vec![get("k")]).expect("read");
            assert_eq!(value(&read[0]), Some(node.to_string()), "node {reader} after node {node}");
        }
    }
}

#[test]
fn a_single_node_needs_nobody() {
    let mut cluster = Cluster::new(1, Limits::default(), SharedSettings::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    assert_eq!(value(&cluster.run(1, vec![get("k")]).expect("read")[0]), Some("1".into()));
}

#[test]
fn operations_of_one_batch_keep_their_order() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    for node in 1..=3 {
        cluster.run(node, vec![put("k", "0")]).expect("reset");
        let ops = vec![get("k"), put("k", "1"), get("k"), put("k", "2"), get("k")];
        let done = cluster.run(node, ops).expect("mixed");
        let read: Vec<_> = [&done[0], &done[2], &done[4]].map(value).to_vec();
        assert_eq!(read, [Some("0".into()), Some("1".into()), Some("2".into())]);
    }
}

#[test]
fn a_lost_quorum_answers_unavailable_or_unknown_never_a_guess() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    let leader = cluster.leader();
    let others: Vec<NodeId> = cluster.nodes.keys().copied().filter(|node| *node != leader).collect();
    for other in others {
        cluster.nodes.remove(&other);
        cluster.input(leader, Input::SessionDown { peer: other, session: 1 });
    }
    let write = cluster.run(leader.0, vec![put("k", "1")]);
    assert!(matches!(write, Err(Error::OutcomeUnknown { .. })), "{write:?}");
    let read = cluster.run(leader.0, vec![get("k")]);
    assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
    let late = cluster.run(leader.0, vec![put("k", "2")]);
    assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
}

#[test]
fn another_leader_takes_over() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    let leader = cluster.leader();
    cluster.nodes.remove(&leader);
    for node in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        cluster.input(node, Input::SessionDown { peer: leader, session: 1 });
    }
    let survivor = cluster.nodes.keys().next().expect("two").0;
    assert_eq!(value(&cluster.run(survivor, vec![get("k")]).expect("read")[0]), Some("1".into()));
    cluster.run(survivor, vec![put("k", "2")]).expect("write");
}

#[test]
fn idle_groups_sleep_and_wake() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    cluster.run_ms(10_000);
    assert!((1..=3).all(|node| cluster.status(node).asleep), "all replicas sleep");
    let frames = cluster.frames;
    cluster.run_ms(2_000);
    // Ten beats from each of three nodes to two peers, and nothing else.
    assert!(cluster.frames - frames <= 60, "{} frames while asleep", cluster.frames - frames);
    assert_eq!(value(&cluster.run(2, vec![get("k")]).expect("read")[0]), Some("1".into()));
    assert!(cluster.status(2).health == Health::Serving);
}

#[test]
fn a_sleeping_leader_wakes_for_a_deadline() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    cluster.run(1, vec![put_for("k", 20_000), put("other", "1")]).expect("write");
    cluster.run_ms(10_000);
    assert!((1..=3).all(|node| cluster.status(node).asleep && cluster.status(node).entries == 2), "all sleep");
    cluster.run_ms(20_000);
    // Nobody has asked for anything meanwhile.
    assert!((1..=3).all(|node| cluster.status(node).asleep && cluster.status(node).entries == 1), "gone, and asleep");
}

#[test]
fn a_sleeping_group_survives_its_leader() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    cluster.run(1, vec![put("k", "1")]).expect("write");
    cluster.run_ms(10_000);
    let leader = cluster.leader();
    cluster.nodes.remove(&leader);
    for node in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        cluster.input(node, Input::SessionDown { peer: leader, session: 1 });
    }
    cluster.run_ms(3_000);
    assert_ne!(cluster.leader(), leader);
}

#[test]
fn keys_expire_for_every_reader_and_are_removed() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    cluster.run(1, vec![put_for("k", 500), put("other", "1")]).expect("write");
    assert!(value(&cluster.run(2, vec![get("k")]).expect("read")[0]).is_some());
    cluster.run_ms(600);
    for node in 1..=3 {
        assert_eq!(value(&cluster.run(node, vec![get("k")]).expect("read")[0]), None, "node {node}");
    }
    cluster.run_ms(10_000);
    assert!((1..=3).all(|node| cluster.status(node).entries == 1), "physically gone everywhere");
}

#[test]
fn a_full_shard_evicts_the_same_keys_everywhere() {
    let mut settings = SharedSettings::default();
    settings.capacity.max_entries = 20;
    let mut cluster = Cluster::new(3, Limits::default(), settings);
    for i in 0..100 {
        cluster.run(1 + i % 3, vec![put(&format!("k{i}"), "v")]).expect("write");
    }
    cluster.run_ms(2_000);
    let of = |node| (cluster.status(node).entries, cluster.status(node).state_hash);
    assert_eq!(of(1).0, 20);
    assert!(of(1) == of(2) && of(2) == of(3));
}

#[test]
fn a_replica_far_behind_gets_a_snapshot() {
    let limits = Limits { log_entries: 20, capture_step: 7, ..Limits::default() };
    let mut cluster = Cluster::new(3, limits, SharedSettings::default());
    let away = NodeId(cluster.leader().0 % 3 + 1);
    let lost = cluster.nodes.remove(&away).expect("node");
    let present: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    for node in &present {
        cluster.input(*node, Input::SessionDown { peer: away, session: 1 });
    }
    for i in 0..200 {
        cluster.run(present[0].0, vec![put(&format!("k{i}"), "v")]).expect("write");
    }
    cluster.nodes.insert(away, lost);
    for node in present {
        cluster.input(node, Input::SessionUp { peer: away, session: 1 });
    }
    cluster.run_ms(5_000);
    let of = |node| (cluster.status(node).entries, cluster.status(node).state_hash);
    assert_eq!(of(away.0), of(cluster.leader().0));
    assert_eq!(cluster.status(away.0).counters.snapshots_installed, 1);
}

#[test]
fn leadership_moves_without_an_error() {
    let mut cluster = Cluster::new(3, Limits::default(), SharedSettings::default());
    for round in 0..9 {
        let to = NodeId(cluster.leader().0 % 3 + 1);
        let leader = cluster.leader();
        cluster.input(leader, Input::TransferLeader { group: SHARD, to });
        for node in 1..=3 {
            cluster.run(node, vec![put("k", &round.to_string())]).expect("write during a transfer");
        }
        assert_eq!(cluster.leader(), to);
    }
}
