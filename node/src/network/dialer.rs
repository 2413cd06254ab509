//! The dialing half: the node with the lower id keeps one stream to each peer above it.

use std::sync::Arc;

use crema_api::v1::Frame;
use tokio::time::{sleep, timeout};
use tonic::Streaming;
use tracing::{debug, info, warn};

use crate::{
    error::chain,
    network::{
        PeerSink, Shared,
        backoff::Backoff,
        lane::Lane,
        peer::Peer,
        session::{self, Outgoing, describe, first_hello},
        transport::{client, endpoint},
    },
};

/// Dials again and again, until this life of the peer is over or the network stops; a session that is up then ends
/// with it.
pub(super) async fn run<S: PeerSink>(shared: Arc<Shared>, peer: Arc<Peer>, sink: Arc<S>) {
    let over = peer.life.clone().cancelled_owned();
    tokio::select! {
        () = over => {}
        () = dial(shared, peer, sink) => {}
    }
}

async fn dial<S: PeerSink>(shared: Arc<Shared>, peer: Arc<Peer>, sink: Arc<S>) {
    let mut backoff = Backoff::new(shared.settings.backoff_min, shared.settings.backoff_max);
    let mut said = String::new();
    loop {
        match connect(&shared, &peer).await {
            Ok(stream) => {
                said.clear();
                backoff.reset();
                hold(&shared, &peer, &sink, stream).await;
            }
            Err(reason) if reason == said => debug!(peer = %peer.node, reason, "still no session"),
            Err(reason) => {
                warn!(peer = %peer.node, address = peer.address, reason, "no session with peer");
                said = reason;
            }
        }
        sleep(backoff.pause()).await;
    }
}

/// A stream whose handshake is done.
struct Stream {
    session: u64,
    lane: Arc<Lane>,
    incoming: Streaming<Frame>,
}

async fn connect(shared: &Shared, peer: &Peer) -> Result<Stream, String> {
    let limit = shared.settings.connect_timeout;
    let endpoint = endpoint(&peer.address, limit).map_err(|error| format!("address: {error}"))?;
    let channel = match timeout(limit, endpoint.connect()).await {
        Err(_) => return Err(format!("no connection within {limit:?}")),
        Ok(connected) => connected.map_err(|error| chain(&error))?,
    };
    let session: u64 = rand::random();
    let lane = Arc::<Lane>::default();
    let hello = shared.members.identity().hello(peer.node, session, String::new());
    let mut incoming = match timeout(limit, client(channel).exchange(Outgoing::new(hello, lane.clone()))).await {
        Err(_) => return Err(format!("no answer within {limit:?}")),
        Ok(answered) => answered.map_err(|status| describe(&status))?.into_inner(),
    };
    let answer = first_hello(&mut incoming, limit).await?;
    if !answer.refused.is_empty() {
        // It may know more than this node does.
        shared.refused.notify_one();
    }
    let from = shared.members.identity().check(&answer)?;
    if from != peer.node || answer.session != session {
        return Err(format!("node {from} answered for session {}", answer.session));
    }
    Ok(Stream { session, lane, incoming })
}

/// Lives through one session.
async fn hold<S: PeerSink>(shared: &Shared, peer: &Arc<Peer>, sink: &Arc<S>, stream: Stream) {
    let Stream { session, lane, incoming } = stream;
    let Some(open) = peer.begin(session, lane, sink.clone()).await else { return };
    info!(peer = %peer.node, session, "session up");
    let why = session::run(open, incoming, shared.settings.silence).await;
    info!(peer = %peer.node, session, why, "session down");
}
