//! A node's discovery at work: it says where to knock while the node looks for its cluster, and is followed afterwards.
//!
//! Started and followed by [`super::node`], asked by [`super::enter`]. What it finds is a hint throughout: members are
//! made by the meta group alone, by proposals that `PeerManager` allows.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{node::NodeOptions, view::NodeView};
use crate::{
    cluster::{
        command::MetaCommand,
        discovery::{ClusterDiscovery, DiscoveryError, PeerDecision, PeerManager, PeerState, Sight},
    },
    error::Error,
    metrics::NodeMetrics,
    multiraft::{govern::Govern as _, introspect::Introspect as _, node::Admission},
    network::find::{Seeker, ask_map},
};

/// How often the manager looks when the discovery finds nothing new.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one of its proposals may take; it is made again later.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often contacts are asked for the cluster that they belong to, until they have answered.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Contacts that are asked at once for the cluster that they belong to.
const ASK_AT_ONCE: usize = 16;

/// A discovery that has been started.
pub(super) struct Finder {
    discovery: Arc<dyn ClusterDiscovery>,
    own: String,
    manager: Mutex<PeerManager>,
    started: Instant,
}

impl Finder {
    /// Starts the discovery of a node, if it has one.
    pub(super) async fn start(options: &NodeOptions) -> Result<Option<Self>, Error> {
        let Some(discovery) = options.discovery.clone() else { return Ok(None) };
        discovery.start().await.map_err(|error| match error {
            DiscoveryError::Invalid { .. } => {
                Error::Invalid { field: "cluster_discovery", reason: error.to_string() }
            }
            DiscoveryError::Lookup { .. } | DiscoveryError::Listen { .. } => Error::Fatal(describe(&error)),
        })?;
        let listed = options.entry.listed((options.node, &options.advertise));
        let by_hand = listed.into_iter().map(|(node, address)| (Some(node), address)).collect();
        let manager = PeerManager::new(discovery.peer_management(), options.node, by_hand);
        let own = options.advertise.clone();
        Ok(Some(Self { discovery, own, manager: Mutex::new(manager), started: Instant::now() }))
    }

    /// Whom the meta leader lets in, while that is this node.
    pub(super) fn admission(&self) -> Admission {
        self.manager.lock().admission()
    }

    /// Where a cluster may be found now.
    pub(super) fn contacts(&self) -> Vec<String> {
        let mut manager = self.manager.lock();
        manager.decide(Sight {
            mono_ms: self.mono_ms(),
            found: &self.discovery.watch().borrow(),
            map: None,
            connected: &BTreeSet::new(),
            leads_meta: false,
        });
        manager.contacts().map(|(address, _)| address.to_owned()).filter(|address| *address != self.own).collect()
    }

    fn mono_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Does what the manager decides while the node runs, until `stop`.
    pub(super) async fn follow(self, seeker: Seeker, view: NodeView, metrics: NodeMetrics, stop: CancellationToken) {
        let mut watch = self.discovery.watch();
        let mut contacts = Contacts { seeker, unknown: self.contacts().into_iter().collect(), asked: None };
        let work = async {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            loop {
                let goes_on = tokio::select! {
                    changed = watch.changed() => changed.is_ok(),
                    _ = ticks.tick() => true,
                };
                if !goes_on {
                    return;
                }
                let found = watch.borrow_and_update().clone();
                let living = found.iter().filter(|peer| peer.state == PeerState::Alive).count();
                metrics.memberlist_nodes.set(living as u64);
                self.look(&view, &mut contacts).await;
            }
        };
        let _ = stop.run_until_cancelled(work).await;
    }

    async fn look(&self, view: &NodeView, contacts: &mut Contacts) {
        let found = self.discovery.watch().borrow().clone();
        let decisions = view.with_runtime(|map, runtime| {
            let connected = runtime.peers().sessions().into_iter().map(|session| session.peer).collect();
            let leads_meta = view.meta_leader() == Some(view.id());
            let (mono_ms, map) = (self.mono_ms(), Some(&**map));
            self.manager.lock().decide(Sight { mono_ms, found: &found, map, connected: &connected, leads_meta })
        });
        for decision in decisions.into_iter().flatten() {
            match decision {
                PeerDecision::Contact { address, .. } if address != self.own => {
                    contacts.unknown.insert(address);
                }
                PeerDecision::Contact { .. } => {}
                PeerDecision::Forget { address } => {
                    contacts.unknown.remove(&address);
                }
                PeerDecision::Propose(command) => propose(view, command).await,
            }
        }
        contacts.ask(view).await;
    }
}

/// Contacts of which it is not known to what cluster they belong.
struct Contacts {
    seeker: Seeker,
    unknown: BTreeSet<String>,
    asked: Option<Instant>,
}

impl Contacts {
    /// Asks some of them. One of another cluster is a mistake in what the discovery was given, and is said once; one
    /// without a cluster will find this one by itself.
    async fn ask(&mut self, view: &NodeView) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return;
        }
        let Some(ours) = view.map() else { return };
        self.asked = Some(Instant::now());
        self.unknown.retain(|address| ours.members.values().all(|member| member.address != *address));
        // Those that don't answer let the others go first.
        let mut next: Vec<String> = self.unknown.iter().take(ASK_AT_ONCE).cloned().collect();
        if self.unknown.len() > ASK_AT_ONCE {
            let skip = rand::random_range(0..self.unknown.len());
            next = self.unknown.iter().cycle().skip(skip).take(ASK_AT_ONCE).cloned().collect();
        }
        let answers = join_all(next.iter().map(|address| ask_map(self.seeker, address))).await;
        for (address, answer) in next.iter().zip(answers) {
            let Ok(theirs) = answer else { continue };
            self.unknown.remove(address);
            if theirs.uid != ours.uid {
                let (ours, theirs) = (ours.uid, theirs.uid);
                tracing::error!(address, %theirs, %ours, "discovery has found a node of another cluster; it is left alone");
            }
        }
    }
}

async fn propose(view: &NodeView, command: MetaCommand) {
    tracing::info!(?command, "discovery proposes");
    if let Err(error) = view.govern(command, None, PROPOSAL_TIMEOUT).await {
        tracing::warn!(%error, "what discovery proposed was not done");
    }
}

fn describe(error: &DiscoveryError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
