//! One HTTP/2 connection for each node, made when first used and kept.
//!
//! Used by the client's calls only. Remembers which nodes could not be reached lately, so that others are
//! asked first; it never refuses to try one.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use tonic::transport::{Channel, Endpoint};

use super::{ClientError, ClientOptions};

/// How long an unreachable node is asked last.
const SHUN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pool {
    options: ClientOptions,
    nodes: Mutex<HashMap<String, Node>>,
}

#[derive(Debug)]
struct Node {
    channel: Channel,
    shunned_until: Option<Instant>,
}

impl Pool {
    pub(super) fn new(options: ClientOptions) -> Self {
        Self { options, nodes: Mutex::default() }
    }

    /// The connection to `host:port`; it connects when first used, and again whenever it broke.
    pub(super) fn channel(&self, address: &str) -> Result<Channel, ClientError> {
        let mut nodes = self.lock();
        if let Some(node) = nodes.get(address) {
            return Ok(node.channel.clone());
        }
        let channel = self.endpoint(address)?.connect_lazy();
        nodes.insert(address.to_owned(), Node { channel: channel.clone(), shunned_until: None });
        Ok(channel)
    }

    /// Notes that a node could not be reached.
    pub(super) fn shun(&self, address: &str) {
        if let Some(node) = self.lock().get_mut(address) {
            node.shunned_until = Some(Instant::now() + SHUN);
        }
    }

    /// Whether a node could not be reached lately.
    pub(super) fn is_shunned(&self, address: &str) -> bool {
        let nodes = self.lock();
        nodes.get(address).and_then(|node| node.shunned_until).is_some_and(|until| Instant::now() < until)
    }

    /// Drops the connections to nodes that are not of the cluster any more.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|address, _| keep(address));
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, ClientError> {
        let invalid = |source: tonic::transport::Error| ClientError::Invalid {
            field: "endpoint".into(),
            reason: format!("{address:?} is not host:port or a URL ({source})"),
        };
        let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        Ok(Endpoint::from_shared(url)
            .map_err(invalid)?
            .connect_timeout(self.options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.options.keepalive)
            .keep_alive_timeout(self.options.keepalive)
            .keep_alive_while_idle(true))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Node>> {
        // A panic can't leave the map half changed: every change is one insert or retain.
        self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
