//! How bytes travel: HTTP/2 settings that both ends of a peer stream share.

use std::{io, net::SocketAddr, time::Duration};

use crema_api::v1::peer_client::PeerClient;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};

/// The longest gRPC message, in bytes (DESIGN 8).
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Large enough that a stream is bound by the receiver, never by the window, on a fast network.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 frames: fewer, larger ones cost less than the default of 16 KiB.
const HTTP2_FRAME_BYTES: u32 = 256 << 10;
/// A connection that does not answer a ping is dead after the interval and the timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A tonic server with the windows and keepalive that peer streams need; add the services to it.
#[must_use]
pub fn server_builder() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// Listens for `serve_with_incoming`, without Nagle's delay: the server builder's own setting has no effect there.
pub fn listen(address: SocketAddr) -> io::Result<TcpIncoming> {
    Ok(TcpIncoming::bind(address)?.with_nodelay(Some(true)))
}

/// Where a peer is reached. The name is resolved at each connect.
pub(crate) fn endpoint(address: &str, connect_timeout: Duration) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// A client with the message limit of peers.
pub(super) fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
}
