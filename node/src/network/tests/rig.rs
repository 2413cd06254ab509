//! Nodes for the tests: each with a runtime of its own, so that one can die as a process does.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crema_api::v1::{Forward, Frame, RaftMessage};
use parking_lot::{Condvar, Mutex};
use tokio::{runtime::Runtime, sync::watch};
use tonic::transport::server::TcpIncoming;

use crate::{
    cluster::{
        ClusterMap, ClusterSpec, FormConfig, FormMode, Former,
        initial::initial_map,
        map::{Member, MemberState, SUPPORTED_LEVELS, SharedSettings},
    },
    faults::Faults,
    network::{Network, NetworkSettings, PeerDoor, PeerHandle, PeerSink, listen, server_builder},
    partitioning::SlotHash,
    types::{ClusterUid, Incarnation, NodeId},
};

/// Far longer than anything takes; only a broken test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    Up(u64, u64),
    Down(u64, u64),
    Frame(u64, u64, Frame),
    Snapshot(u64, RaftMessage, Vec<Bytes>),
}

/// Notes what it is told; can be made to hold frames back.
pub(super) struct Recorder {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
    hold: watch::Sender<bool>,
    /// The version of the newest map that peers had.
    heard_of: watch::Sender<u64>,
}

impl Recorder {
    pub(super) fn new() -> Arc<Self> {
        let (hold, heard_of) = (watch::Sender::new(false), watch::Sender::new(0));
        Arc::new(Self { events: Mutex::default(), changed: Condvar::new(), hold, heard_of })
    }

    pub(super) fn hold(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// Resolves once a peer had a map of this version, or a newer one.
    pub(super) async fn heard_of(&self, version: u64) {
        let mut heard_of = self.heard_of.subscribe();
        let _ = heard_of.wait_for(|known| *known >= version).await;
    }

    fn note(&self, event: Event) {
        self.events.lock().push(event);
        self.changed.notify_all();
    }

    /// What has happened, once `done` holds of it.
    pub(super) fn wait(&self, what: &str, done: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let until = Instant::now() + PATIENCE;
        let mut events = self.events.lock();
        while !done(&events) {
            let late = self.changed.wait_until(&mut events, until).timed_out();
            assert!(!late, "waited in vain for {what}; {} events came", events.len());
        }
        events.clone()
    }

    /// Waits for the `count`th session with a peer; returns it.
    pub(super) fn wait_up(&self, count: usize) -> u64 {
        let ups = |events: &[Event]| -> Vec<u64> {
            events
                .iter()
                .filter_map(|event| if let Event::Up(_, session) = event { Some(*session) } else { None })
                .collect()
        };
        ups(&self.wait("a session", |events| ups(events).len() >= count))[count - 1]
    }

    pub(super) fn wait_down(&self, session: u64) {
        self.wait("the session's end", |events| {
            events.iter().any(|event| matches!(event, Event::Down(_, ended) if *ended == session))
        });
    }

    /// The sequence numbers of forwards, once there are so many.
    pub(super) fn wait_forwards(&self, count: usize) -> Vec<u64> {
        forwards(&self.wait("forwards", |events| forwards(events).len() >= count))
    }
}

fn forwards(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .flat_map(|event| match event {
            Event::Frame(_, _, frame) => frame.forwards.iter().map(|forward| forward.sequence).collect(),
            Event::Up(..) | Event::Down(..) | Event::Snapshot(..) => Vec::new(),
        })
        .collect()
}

impl PeerSink for Recorder {
    fn session_up(&self, peer: NodeId, session: u64) {
        self.note(Event::Up(peer.0, session));
    }

    fn session_down(&self, peer: NodeId, session: u64) {
        self.note(Event::Down(peer.0, session));
    }

    async fn frame(&self, peer: NodeId, session: u64, frame: Frame) {
        let mut hold = self.hold.subscribe();
        let _ = hold.wait_for(|hold| !hold).await;
        self.note(Event::Frame(peer.0, session, frame));
    }

    async fn snapshot(&self, peer: NodeId, message: RaftMessage, bytes: Vec<Bytes>) -> Result<(), String> {
        if message.term == 13 {
            return Err("no snapshot of term 13 here".to_owned());
        }
        self.note(Event::Snapshot(peer.0, message, bytes));
        Ok(())
    }

    fn map(&self, map: ClusterMap) {
        self.heard_of.send_modify(|known| *known = map.version.max(*known));
    }
}

pub(super) fn life(node: u64) -> Incarnation {
    Incarnation(u128::from(node) + 100)
}

/// A frame with one forward of so many bytes.
pub(super) fn forward(sequence: u64, bytes: usize) -> Frame {
    let ops = vec![Bytes::from(vec![sequence as u8; bytes])];
    Frame { forwards: vec![Forward { sequence, ops, ..Forward::default() }], ..Frame::default() }
}

pub(super) fn settings() -> NetworkSettings {
    let quick = Duration::from_millis(20);
    NetworkSettings {
        silence: PATIENCE,
        backoff_min: quick,
        backoff_max: quick * 5,
        doubt_interval: quick,
        ..NetworkSettings::default()
    }
}

/// A place to listen, before there is a node.
pub(super) struct Site {
    runtime: Runtime,
    incoming: TcpIncoming,
    pub(super) address: SocketAddr,
}

impl Site {
    pub(super) fn at(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _context = runtime.enter();
        let incoming = listen(address.parse().expect("an address")).expect("a free port");
        let address = incoming.local_addr().expect("bound");
        drop(_context);
        Self { runtime, incoming, address }
    }

    pub(super) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// Serves the peer service of a former.
    pub(super) fn serve(self, former: Former) -> Served {
        let Self { runtime, incoming, address } = self;
        let door = PeerDoor::new(former);
        let server = server_builder().add_service(door.service()).serve_with_incoming(incoming);
        runtime.spawn(server);
        Served { runtime, door, address }
    }
}

pub(super) struct Served {
    pub(super) runtime: Runtime,
    pub(super) door: PeerDoor,
    pub(super) address: SocketAddr,
}

/// A node with a network.
pub(super) struct Node {
    pub(super) served: Served,
    pub(super) network: Network,
    pub(super) sink: Arc<Recorder>,
    pub(super) peers: PeerHandle,
}

impl Node {
    pub(super) fn start(node: u64, map: &ClusterMap, site: Site, settings: NetworkSettings) -> Self {
        Self::start_as(node, life(node), map, site, settings)
    }

    /// As [`Self::start`], in a life of choice.
    pub(super) fn start_as(
        node: u64,
        life: Incarnation,
        map: &ClusterMap,
        site: Site,
        settings: NetworkSettings,
    ) -> Self {
        let id = NodeId(node);
        let listed = map.members.iter().map(|(id, member)| (*id, member.address.clone())).collect();
        let former = Former::formed(config(node, life, listed), map.clone()).expect("listed");
        let served = site.serve(former);
        let sink = Recorder::new();
        let _context = served.runtime.enter();
        let network = Network::start(map, id, life, settings, &served.door, sink.clone());
        drop(_context);
        let peers = network.handle();
        Self { served, network, sink, peers }
    }

    /// Takes a newer map in, as the runtime does.
    pub(super) fn set_map(&self, map: &ClusterMap) {
        self.peers.set_map(map);
        self.served.door.on_map(map);
    }

    /// Ends as a killed process does.
    pub(super) fn kill(self) -> SocketAddr {
        let Self { served, network, sink: _, peers: _ } = self;
        served.runtime.shutdown_timeout(PATIENCE);
        drop(network);
        served.address
    }
}

pub(super) fn config(node: u64, incarnation: Incarnation, listed: Vec<(NodeId, String)>) -> FormConfig {
    FormConfig {
        node: NodeId(node),
        incarnation,
        mode: FormMode::Static(listed),
        uid: ClusterUid(incarnation.0),
        spec: spec(),
        host: String::new(),
        zone: String::new(),
        client_address: String::new(),
        faults: Faults::none(),
    }
}

fn spec() -> ClusterSpec {
    let settings = SharedSettings::default();
    ClusterSpec { num_shards: 1, slot_hash: SlotHash::Crc16, replication_factor: 1, settings }
}

/// The map of nodes 1, 2, … at these addresses.
pub(super) fn map_of(addresses: &[SocketAddr]) -> ClusterMap {
    let members: BTreeMap<_, _> = addresses
        .iter()
        .zip(1..)
        .map(|(address, node)| {
            let member = Member {
                incarnation: life(node),
                address: address.to_string(),
                host: String::new(),
                zone: String::new(),
                state: MemberState::Up,
                levels: SUPPORTED_LEVELS,
                client_address: String::new(),
            };
            (NodeId(node), member)
        })
        .collect();
    initial_map(ClusterUid(42), &spec(), members).expect("a sound spec")
}

/// Two nodes with a session between them.
pub(super) fn pair(settings: &NetworkSettings) -> (Node, Node, ClusterMap) {
    let (one, two) = (Site::new(), Site::new());
    let map = map_of(&[one.address, two.address]);
    let one = Node::start(1, &map, one, settings.clone());
    let two = Node::start(2, &map, two, settings.clone());
    one.sink.wait_up(1);
    two.sink.wait_up(1);
    (one, two, map)
}
