//! Discovery by gossip: the socket and the clock of [`swim`](super::swim), and the leader hints in its records.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{debug, info, warn};

use crate::{
    cluster::discovery::{
        ClusterDiscovery, Discovered, DiscoveryError, Found, LeaderGossip, LeaderHint, LeaderHints, MemberlistConfig,
        PeerManagementConfig, PeerState,
        envelope::{Envelope, MAX_LABEL_BYTES},
        periodic::{Owned, Periodic},
        swim::{Id, Life, MAX_META_BYTES, Outgoing, Record, Settings, Swim},
    },
    types::{NodeId, ShardId},
};

/// The clock of the protocol: a fraction of its shortest interval.
const TICK: Duration = Duration::from_millis(50);
/// When not all hints fit into a record, the next ones take their turn after this long.
const ROTATE: Duration = Duration::from_secs(2);
/// Larger than any datagram of ours.
const BUFFER_BYTES: usize = 2_048;

/// Finds nodes by gossip over UDP, notices when they die, and spreads leader hints.
pub struct MemberlistDiscovery {
    periodic: Owned,
    node: NodeId,
    raft_address: String,
    config: MemberlistConfig,
    by_hand: Vec<Discovered>,
    label: String,
    key: Option<[u8; 32]>,
    settings: Settings,
    local: Arc<Local>,
    hints: Arc<watch::Sender<Arc<LeaderHints>>>,
    bound: OnceLock<SocketAddr>,
    starting: tokio::sync::Mutex<()>,
}

/// What this node leads, as it is to be told.
#[derive(Debug, Default)]
struct Local {
    led: Mutex<Led>,
}

#[derive(Debug)]
struct Led {
    hints: LeaderHints,
    /// Since when something waits to be told.
    changed: Option<Instant>,
    debounce: Duration,
    /// Whoever made the discovery chose `debounce`.
    is_chosen: bool,
}

impl Default for Led {
    fn default() -> Self {
        let debounce = Duration::from_millis(200);
        Self { hints: LeaderHints::default(), changed: None, debounce, is_chosen: false }
    }
}

impl MemberlistDiscovery {
    /// For a node, where it listens for its peers, and the peers that are known by hand. The gossip itself begins
    /// with the seeds of the configuration.
    #[must_use]
    pub fn new(
        node_id: u64,
        raft_addr: SocketAddr,
        config: &MemberlistConfig,
        raft_peers: &[(u64, SocketAddr)],
    ) -> Self {
        let others = raft_peers.iter().filter(|(node, _)| *node != node_id);
        let by_hand = others
            .map(|(node, address)| Discovered { node: Some(NodeId(*node)), ..Discovered::at(address.to_string()) });
        Self {
            periodic: Owned::new("memberlist"),
            node: NodeId(node_id),
            raft_address: raft_addr.to_string(),
            by_hand: by_hand.collect(),
            config: config.clone(),
            label: String::new(),
            key: None,
            settings: Settings::default(),
            local: Arc::default(),
            hints: Arc::default(),
            bound: OnceLock::new(),
            starting: tokio::sync::Mutex::default(),
        }
    }

    /// Encrypts and authenticates the gossip: nodes without this key neither read it nor take part.
    #[must_use]
    pub fn with_encryption_key(mut self, key: [u8; 32]) -> Self {
        self.key = Some(key);
        self
    }

    /// Gossips only with nodes of the same label, up to 64 bytes: clusters that meet by accident stay apart.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Tells the others this name and port instead of the Raft address.
    #[must_use]
    pub fn with_advertised_raft_address(mut self, address: impl Into<String>) -> Self {
        self.raft_address = address.into();
        self
    }

    /// How long leader changes are gathered before they are told, instead of `leader_broadcast_debounce_ms` of the cache
    /// that it is given to, or 200 ms.
    #[must_use]
    pub fn with_leader_debounce(self, debounce: Duration) -> Self {
        {
            let mut led = self.local.led.lock();
            (led.debounce, led.is_chosen) = (debounce, true);
        }
        self
    }

    /// Where it gossips, once it is started.
    #[must_use]
    pub fn gossip_addr(&self) -> Option<SocketAddr> {
        self.bound.get().copied()
    }

    #[cfg(test)]
    fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    async fn listen(&self) -> Result<UdpSocket, DiscoveryError> {
        let host = self.raft_address.parse().map_or_else(|_| [0, 0, 0, 0].into(), |raft: SocketAddr| raft.ip());
        let address = self.config.bind_addr.unwrap_or_else(|| SocketAddr::new(host, 0));
        let listen = |source| DiscoveryError::Listen { address, source };
        let socket = UdpSocket::bind(address).await.map_err(listen)?;
        let bound = socket.local_addr().map_err(listen)?;
        let name = self.config.node_name.clone().unwrap_or_else(|| format!("node-{}", self.node));
        info!(name, %bound, encrypted = self.key.is_some(), "gossip listens");
        let _ = self.bound.set(bound);
        Ok(socket)
    }

    fn check(&self) -> Result<(), DiscoveryError> {
        let invalid = |field, reason: String| Err(DiscoveryError::Invalid { field, reason });
        if self.node == NodeId(0) {
            return invalid("node_id", "0; a member has a number from 1 on".to_owned());
        }
        if self.label.len() > MAX_LABEL_BYTES {
            return invalid("label", format!("{} bytes; {MAX_LABEL_BYTES} are the most", self.label.len()));
        }
        Ok(())
    }

    fn gossip(&self, socket: UdpSocket, bound: SocketAddr) -> Gossip {
        let me = Id {
            node: self.node,
            generation: wall_ms(),
            gossip: self.config.advertise_addr.unwrap_or(bound),
            raft: self.raft_address.clone(),
        };
        Gossip {
            periodic: self.periodic.share(),
            local: self.local.clone(),
            published: self.hints.clone(),
            hints: LeaderHints::default(),
            by_hand: self.by_hand.clone(),
            swim: Swim::new(self.settings, me, self.config.seed_addrs.clone(), rand::random()),
            envelope: Envelope::new(self.label.clone(), self.key.as_ref()),
            socket,
            started: Instant::now(),
            rotation: None,
            rotates: false,
            told: Instant::now(),
            refused: None,
        }
    }
}

/// Without the key.
impl fmt::Debug for MemberlistDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberlistDiscovery")
            .field("node", &self.node)
            .field("raft_address", &self.raft_address)
            .field("config", &self.config)
            .field("encrypted", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl ClusterDiscovery for MemberlistDiscovery {
    fn name(&self) -> &'static str {
        "memberlist"
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        Box::pin(async {
            let _one_at_a_time = self.starting.lock().await;
            if self.periodic.is_started() {
                return Ok(());
            }
            self.check()?;
            self.periodic.publish(self.by_hand.clone());
            if self.config.enabled {
                let socket = self.listen().await?;
                if let Some(bound) = self.gossip_addr() {
                    self.periodic.spawn(self.gossip(socket, bound).run());
                }
            }
            Ok(())
        })
    }

    /// What gossip knows now: there is nobody to ask who has not been asked. Before the start, the peers by hand.
    fn discover(&self) -> BoxFuture<'_, Result<Found, DiscoveryError>> {
        Box::pin(async {
            if !self.periodic.is_started() {
                return Ok(self.periodic.publish(self.by_hand.clone()));
            }
            Ok(self.periodic.found())
        })
    }

    fn watch(&self) -> watch::Receiver<Found> {
        self.periodic.watch()
    }

    fn peer_management(&self) -> PeerManagementConfig {
        self.config.peer_management
    }

    fn first_members(&self) -> Vec<(NodeId, String)> {
        self.by_hand.iter().filter_map(|peer| Some((peer.node?, peer.address.clone()))).collect()
    }

    fn finds_others(&self) -> bool {
        self.config.enabled
    }

    fn leader_gossip(&self) -> Option<&dyn LeaderGossip> {
        self.config.enabled.then_some(self)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.periodic.shutdown()
    }
}

impl LeaderGossip for MemberlistDiscovery {
    fn set_local_shard_leader(&self, shard: ShardId, epoch: u64) {
        let mut led = self.local.led.lock();
        if led.hints.set_if_newer(LeaderHint { shard, leader: self.node, epoch }) {
            led.changed.get_or_insert_with(Instant::now);
        }
    }

    fn unset_local_shard_leader(&self, shard: ShardId) {
        let mut led = self.local.led.lock();
        if led.hints.leader(shard).is_some() {
            led.hints.forget(shard);
            led.changed.get_or_insert_with(Instant::now);
        }
    }

    fn set_debounce(&self, debounce: Duration) {
        let mut led = self.local.led.lock();
        if !led.is_chosen {
            led.debounce = debounce;
        }
    }

    fn hints(&self) -> watch::Receiver<Arc<LeaderHints>> {
        self.hints.subscribe()
    }
}

/// The task: one socket, one protocol.
struct Gossip {
    periodic: Arc<Periodic>,
    local: Arc<Local>,
    published: Arc<watch::Sender<Arc<LeaderHints>>>,
    hints: LeaderHints,
    by_hand: Vec<Discovered>,
    swim: Swim,
    envelope: Envelope,
    socket: UdpSocket,
    started: Instant,
    /// Where the next record's hints begin, when they did not all fit.
    rotation: Option<ShardId>,
    /// Whether the hints are more than fit into one record.
    rotates: bool,
    told: Instant,
    /// The last refusal that the log heard of.
    refused: Option<String>,
}

impl Gossip {
    async fn run(mut self) {
        let stop = self.periodic.stop.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let out = tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {
                    self.tell_leaders();
                    self.swim.on_tick(self.now_ms())
                }
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.on_datagram(&buffer[..length], from),
                    Err(error) => {
                        debug!(%error, "receive gossip");
                        // Whatever it is, it must not spin.
                        sleep(TICK).await;
                        continue;
                    }
                },
            };
            self.send(out).await;
            if self.swim.take_changed() {
                self.publish();
            }
        }
        let goodbye = self.swim.leave();
        self.send(goodbye).await;
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn on_datagram(&mut self, datagram: &[u8], from: SocketAddr) -> Vec<Outgoing> {
        let now_ms = self.now_ms();
        let opened = self.envelope.unwrap(datagram).map_err(|foreign| foreign.to_string());
        let taken =
            opened.and_then(|bytes| self.swim.on_packet(from, &bytes, now_ms).map_err(|refused| refused.to_string()));
        match taken {
            Ok(out) => out,
            Err(reason) => {
                if self.refused.as_ref() == Some(&reason) {
                    debug!(%from, reason, "gossip refused");
                } else {
                    warn!(%from, reason, "gossip refused");
                    self.refused = Some(reason);
                }
                Vec::new()
            }
        }
    }

    async fn send(&self, out: Vec<Outgoing>) {
        for Outgoing { to, packet } in out {
            let datagram = self.envelope.wrap(&packet, rand::random());
            if let Err(error) = self.socket.send_to(&datagram, to).await {
                // As good as lost, which the protocol lives with.
                debug!(%to, %error, "send gossip");
            }
        }
    }

    /// Puts what this node leads into its record, once changes have rested for the debounce interval.
    fn tell_leaders(&mut self) {
        let mut led = self.local.led.lock();
        let changed = led.changed.is_some_and(|since| since.elapsed() >= led.debounce);
        if !changed && (!self.rotates || self.told.elapsed() < ROTATE) {
            return;
        }
        led.changed = None;
        let (text, rest) = led.hints.encode(self.rotation, MAX_META_BYTES);
        drop(led);
        self.rotates = self.rotation.is_some() || rest.is_some();
        self.rotation = rest;
        self.told = Instant::now();
        self.swim.set_meta(text);
    }

    /// The hints first: who sees a node come finds what it leads.
    fn publish(&mut self) {
        for record in self.swim.members() {
            if record.life > Life::Suspect {
                self.hints.invalidate_node(record.node);
                continue;
            }
            self.hints.revalidate_node(record.node);
            match LeaderHints::decode(&record.meta) {
                Ok(said) => {
                    // A node speaks for itself only.
                    for hint in said.into_iter().filter(|hint| hint.leader == record.node) {
                        self.hints.set_if_newer(hint);
                    }
                }
                Err(error) => debug!(node = %record.node, %error, "leader hints refused"),
            }
        }
        self.published.send_if_modified(|known| {
            let changed = **known != self.hints;
            if changed {
                *known = Arc::new(self.hints.clone());
            }
            changed
        });
        self.periodic.publish(self.found());
    }

    /// By gossip, and those given by hand that gossip does not know.
    fn found(&self) -> Vec<Discovered> {
        let gossiped: Vec<_> = self.swim.members().iter().map(discovered).collect();
        let unknown = self.by_hand.iter().filter(|peer| gossiped.iter().all(|other| other.node != peer.node));
        unknown.cloned().chain(gossiped.iter().cloned()).collect()
    }
}

fn discovered(record: &Record) -> Discovered {
    let state = match record.life {
        // A suspect may still object.
        Life::Alive | Life::Suspect => PeerState::Alive,
        Life::Dead => PeerState::Lost,
    };
    Discovered { address: record.raft.clone(), node: Some(record.node), state }
}

/// Only to begin above the generation of an earlier life; a clock that is behind costs some seconds.
fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
