//! The server's half: the tonic service `crema.v1.Peer`, on the node's one gRPC port.
//!
//! It exists before the network does: while forming only `Form` is answered, everything else is refused.

use std::{fmt, sync::Arc, time::Duration};

use crema_api::v1::{
    FormReply, FormRequest, Frame, GovernReply, GovernRequest, Hello, SnapshotPart, SnapshotReceipt,
    peer_server::{Peer as PeerRpc, PeerServer},
};
use futures::{StreamExt, future::BoxFuture, stream};
use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use crate::{
    cluster::{
        ClusterMap, Former,
        command::{MetaCommand, decode_command},
    },
    network::{
        ClusterToken, MAX_MESSAGE_BYTES, PeerSink, Shared,
        backoff::Throttle,
        govern::{GovernStatus, Governor},
        lane::Lane,
        session::{self, Outgoing, first_hello},
        snapshot,
    },
};

/// Refusals in the log: at most one a second, however often a stranger knocks.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The door for peers. Clones share one state.
#[derive(Clone, Debug)]
pub struct PeerDoor {
    shared: Arc<Door>,
}

struct Door {
    former: Mutex<Former>,
    network: Mutex<Option<Arc<dyn Accept>>>,
    governor: Mutex<Option<Arc<dyn Governor>>>,
    token: Mutex<Option<ClusterToken>>,
    refusals: Throttle,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("former", &self.former).finish_non_exhaustive()
    }
}

impl PeerDoor {
    /// A door that answers for forming only, until a network starts.
    #[must_use]
    pub fn new(former: Former) -> Self {
        let refusals = Throttle::new(REFUSAL_LOG_INTERVAL);
        Self {
            shared: Arc::new(Door {
                former: Mutex::new(former),
                network: Mutex::new(None),
                governor: Mutex::new(None),
                token: Mutex::new(None),
                refusals,
            }),
        }
    }

    /// The service to add to the node's gRPC server.
    #[must_use]
    pub fn service(&self) -> PeerServer<PeerService> {
        PeerServer::new(PeerService { door: self.clone() })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The meta group has committed a newer map: those that come late are answered with it.
    pub fn on_map(&self, map: &ClusterMap) {
        self.shared.former.lock().on_map(map);
    }

    /// Changes of the map are carried out by `governor` from now on.
    pub fn set_governor(&self, governor: Arc<dyn Governor>) {
        *self.shared.governor.lock() = Some(governor);
    }

    /// From now on a change of the map, other than a Join, needs the cluster's token.
    pub fn set_token(&self, token: Option<ClusterToken>) {
        *self.shared.token.lock() = token;
    }

    fn may_govern(&self, request: &GovernRequest) -> bool {
        let fits = self.shared.token.lock().as_ref().is_none_or(|token| token.is(request.token.as_bytes()));
        fits || matches!(decode_command(&request.command), Ok(MetaCommand::Join { .. }))
    }

    /// The node has joined a cluster that others had formed: from now on `former`, which knows it, answers.
    pub fn set_former(&self, former: Former) {
        *self.shared.former.lock() = former;
    }

    pub(crate) fn former(&self) -> &Mutex<Former> {
        &self.shared.former
    }

    pub(super) fn open<S: PeerSink>(&self, shared: &Arc<Shared>, sink: &Arc<S>) {
        *self.shared.network.lock() = Some(Arc::new(Opened { shared: shared.clone(), sink: sink.clone() }));
    }

    fn network(&self) -> Result<Arc<dyn Accept>, String> {
        let network = self.shared.network.lock().clone();
        network.filter(|network| network.is_open()).ok_or_else(|| "it takes no part in a cluster now".to_owned())
    }

    fn log_refusal(&self, what: &str, from: Option<std::net::SocketAddr>, reason: &str) {
        if let Some(unsaid) = self.shared.refusals.pass() {
            warn!(?from, reason, unsaid, "refused a peer's {what}");
        }
    }
}

/// The service behind [`PeerDoor::service`].
#[derive(Clone, Debug)]
pub struct PeerService {
    door: PeerDoor,
}

#[tonic::async_trait]
impl PeerRpc for PeerService {
    type ExchangeStream = futures::stream::BoxStream<'static, Result<Frame, Status>>;

    async fn exchange(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::ExchangeStream>, Status> {
        let from = request.remote_addr();
        let result = match self.door.network() {
            Ok(network) => network.exchange(request.into_inner()).await,
            Err(reason) => Err(Hello { refused: reason, ..Hello::default() }),
        };
        let frames = match result {
            Ok(frames) => frames.map(Ok).boxed(),
            Err(hello) => {
                self.door.log_refusal("stream", from, &hello.refused);
                let frame = Frame { hello: Some(hello), ..Frame::default() };
                stream::iter([Ok(frame)]).boxed()
            }
        };
        Ok(Response::new(frames))
    }

    async fn snapshot(&self, request: Request<Streaming<SnapshotPart>>) -> Result<Response<SnapshotReceipt>, Status> {
        let from = request.remote_addr();
        let receipt = match self.door.network() {
            Ok(network) => network.snapshot(request.into_inner()).await,
            Err(reason) => SnapshotReceipt { accepted: false, reason },
        };
        if !receipt.accepted {
            self.door.log_refusal("snapshot", from, &receipt.reason);
        }
        Ok(Response::new(receipt))
    }

    async fn govern(&self, request: Request<GovernRequest>) -> Result<Response<GovernReply>, Status> {
        let from = request.remote_addr();
        let request = request.into_inner();
        if !self.door.may_govern(&request) {
            let reason = "the cluster token is missing or wrong; without it a node may only join";
            self.door.log_refusal("change", from, reason);
            return Ok(Response::new(GovernStatus::Refused.because(reason)));
        }
        let governor = self.door.shared.governor.lock().clone();
        let reply = match (self.door.network(), governor) {
            (Ok(_), Some(governor)) => governor.govern(request).await,
            (Err(reason), _) => GovernStatus::Unavailable.because(reason),
            (Ok(_), None) => GovernStatus::Unavailable.because("it takes no part in a cluster yet"),
        };
        Ok(Response::new(reply))
    }

    async fn form(&self, request: Request<FormRequest>) -> Result<Response<FormReply>, Status> {
        let from = request.remote_addr();
        let request = request.into_inner();
        // Who names no list only looks whether there is a cluster.
        let only_looks = request.listed.is_empty();
        let reply = self.door.former().lock().on_request(request);
        if !reply.refused.is_empty() && !only_looks {
            self.door.log_refusal("forming request", from, &reply.refused);
        }
        Ok(Response::new(reply))
    }
}

/// A network without the type of its sink.
trait Accept: Send + Sync {
    fn is_open(&self) -> bool;
    /// `Err` is the hello that refuses.
    fn exchange(&self, incoming: Streaming<Frame>) -> BoxFuture<'_, Result<Outgoing, Hello>>;
    fn snapshot(&self, parts: Streaming<SnapshotPart>) -> BoxFuture<'_, SnapshotReceipt>;
}

struct Opened<S> {
    shared: Arc<Shared>,
    sink: Arc<S>,
}

impl<S: PeerSink> Accept for Opened<S> {
    fn is_open(&self) -> bool {
        !self.shared.stop.is_cancelled()
    }

    fn exchange(&self, incoming: Streaming<Frame>) -> BoxFuture<'_, Result<Outgoing, Hello>> {
        Box::pin(accept(&self.shared, &self.sink, incoming))
    }

    fn snapshot(&self, parts: Streaming<SnapshotPart>) -> BoxFuture<'_, SnapshotReceipt> {
        Box::pin(snapshot::receive(&self.shared, &*self.sink, parts))
    }
}

/// The answering half of the handshake, and the session behind it.
async fn accept<S: PeerSink>(
    shared: &Arc<Shared>,
    sink: &Arc<S>,
    mut incoming: Streaming<Frame>,
) -> Result<Outgoing, Hello> {
    let settings = &shared.settings;
    let hello = first_hello(&mut incoming, settings.connect_timeout)
        .await
        .map_err(|refused| Hello { refused, ..Hello::default() })?;
    let session = hello.session;
    let identity = shared.members.identity().clone();
    let refuse = |refused| identity.hello(hello.node.into(), session, refused);
    let from = identity.check(&hello).map_err(refuse)?;
    let node = identity.node();
    if node < from {
        return Err(refuse(format!("node {node} dials node {from}, not the other way")));
    }
    let no_peer = || refuse(format!("node {from} is no peer of node {node} any more"));
    let peer = shared.members.peers().get(&from).cloned().ok_or_else(no_peer)?;
    let lane = Arc::<Lane>::default();
    let open = peer.begin(session, lane.clone(), sink.clone()).await.ok_or_else(no_peer)?;
    let silence = settings.silence;
    tokio::spawn(async move {
        info!(peer = %from, session, "session up");
        let why = session::run(open, incoming, silence).await;
        info!(peer = %from, session, why, "session down");
    });
    Ok(Outgoing::new(identity.hello(from, session, String::new()), lane))
}
