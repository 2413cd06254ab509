//! A session at work, the same on both ends: messages in until it ends, messages out as the stream asks for them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crema_api::v1::{Frame, Hello};
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::network::{PeerSink, frames::unpack, lane::Lane, peer::Open};

/// What a peer is told first, then what the lane holds. The stream takes a message only when the connection has
/// room for it, so frames that wait meanwhile leave together.
///
/// A type of its own: around a bare `dyn Stream` the compiler can't prove that tonic's future is `Send`.
pub(super) struct Outgoing(BoxStream<'static, Frame>);

impl Outgoing {
    pub(super) fn new(hello: Hello, lane: Arc<Lane>) -> Self {
        let first = stream::once(async move { Frame { hello: Some(hello), ..Frame::default() } });
        let rest = stream::unfold(lane, |lane| async move {
            let message = lane.next_message().await?;
            Some((message, lane))
        });
        Self(first.chain(rest).boxed())
    }
}

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.0.poll_next_unpin(context)
    }
}

/// The hello that must come first, within the time of a handshake.
pub(super) async fn first_hello(incoming: &mut Streaming<Frame>, limit: Duration) -> Result<Hello, String> {
    match timeout(limit, incoming.message()).await {
        Err(_) => Err(format!("no hello within {limit:?}")),
        Ok(Err(status)) => Err(describe(&status)),
        Ok(Ok(None)) => Err("the stream ended before a hello".to_owned()),
        Ok(Ok(Some(frame))) => frame.hello.ok_or_else(|| "the first frame is not a hello".to_owned()),
    }
}

/// Hands frames to the sink until the session ends; says why it did.
pub(super) async fn run<S: PeerSink>(open: Open<S>, mut incoming: Streaming<Frame>, silence: Duration) -> String {
    let end = open.end.clone();
    tokio::select! {
        () = end.cancelled() => "superseded or shut down".to_owned(),
        why = receive(&open, &mut incoming, silence) => why,
    }
}

async fn receive<S: PeerSink>(open: &Open<S>, incoming: &mut Streaming<Frame>, silence: Duration) -> String {
    loop {
        let message = match timeout(silence, incoming.message()).await {
            Err(_) => return format!("nothing came for {silence:?}"),
            Ok(Err(status)) => return describe(&status),
            Ok(Ok(None)) => return "the peer ended the stream".to_owned(),
            Ok(Ok(Some(message))) => message,
        };
        let frames = match unpack(message) {
            Ok(frames) => frames,
            Err(reason) => return reason,
        };
        for frame in frames {
            open.sink.frame(open.peer.node, open.session, frame).await;
        }
    }
}

/// A status in a few words, without its metadata.
pub(super) fn describe(status: &Status) -> String {
    format!("{}: {}", status.code(), status.message())
}
