//! The Rust client: one connection to each node, requests sent to the leader of their shard, and retries of
//! what is safe.
//!
//! A read may be sent again after any failure. A write is sent again only when it certainly was not applied:
//! the server said so, or the connection never came about. Everything else is
//! [`ClientError::OutcomeUnknown`], for the caller to resolve by reading.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Channel};

use crate::{
    LEADER_METADATA, MAX_MESSAGE_BYTES,
    v1::{ErrorDetail, ErrorKind, TopologyRequest, TopologyResponse, cache_client::CacheClient},
};

mod admin;
mod calls;
mod error;
mod pool;
mod retry;
mod routing;
#[cfg(test)]
mod tests;

pub use admin::{AdminClient, AdminError};
pub use error::ClientError;

use error::{Verdict, give_up, judge};
use pool::Pool;
use retry::Backoff;
use routing::Routing;

/// What a call may take, and how connections are kept.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The deadline of each call, retries included. Default 5 s.
    pub timeout: Duration,
    /// How long a connection may take to come about. Default 1 s.
    pub connect_timeout: Duration,
    /// How often an idle connection is checked, and how long the answer may take. Default 5 s.
    pub keepalive: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            keepalive: Duration::from_secs(5),
        }
    }
}

/// How old the known topology may be before a call starts a refresh in the background.
const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// A client of one cluster. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct CremaClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ClientOptions,
    seeds: Vec<String>,
    pool: Pool,
    routing: Routing,
    /// When the topology was last asked for. Held while it is.
    refreshed: tokio::sync::Mutex<Instant>,
    turn: AtomicUsize,
}

/// Where a request goes and what a repetition could do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    shard: Option<u32>,
    writes: bool,
}

impl CremaClient {
    /// Connects to a cluster by any of its nodes' gRPC addresses (`host:port`) with the default options.
    ///
    /// # Errors
    /// `Invalid` when an endpoint is no address or there is none; `Unavailable` when no node answers in time.
    pub async fn connect<I>(endpoints: I) -> Result<Self, ClientError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::connect_with(endpoints, ClientOptions::default()).await
    }

    /// [`Self::connect`] with options.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_with<I>(endpoints: I, options: ClientOptions) -> Result<Self, ClientError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let seeds: Vec<String> = endpoints.into_iter().map(|e| normalised(e.into())).collect();
        if seeds.is_empty() {
            return Err(ClientError::Invalid { field: "endpoints".into(), reason: "there are none".into() });
        }
        let inner = Inner {
            pool: Pool::new(options.clone()),
            options,
            seeds,
            routing: Routing::default(),
            refreshed: tokio::sync::Mutex::new(Instant::now()),
            turn: AtomicUsize::new(0),
        };
        for seed in &inner.seeds {
            inner.pool.channel(seed)?;
        }
        let client = Self { inner: Arc::new(inner) };
        client.refresh().await?;
        Ok(client)
    }

    /// Asks a node how keys map to shards and who leads each. Calls do it by themselves when they need to.
    ///
    /// # Errors
    /// `Unavailable` when no node answers in time.
    pub async fn refresh(&self) -> Result<(), ClientError> {
        let mut refreshed = self.inner.refreshed.lock().await;
        let topology = self.topology().await?;
        self.inner.routing.learn(topology);
        let known = self.inner.routing.addresses();
        let seeds = &self.inner.seeds;
        self.inner.pool.retain(|a| seeds.iter().chain(&known).any(|k| k == a));
        *refreshed = Instant::now();
        Ok(())
    }

    async fn topology(&self) -> Result<TopologyResponse, ClientError> {
        let ask = TopologyRequest { known_version: self.inner.routing.version() };
        let plan = Plan { shard: None, writes: false };
        self.attempt(plan, ask, |mut c, r| async move { c.topology(r).await }).await
    }

    /// The plan of a request about one key.
    fn plan(&self, key: &[u8], writes: bool) -> Plan {
        Plan { shard: self.inner.routing.shard_of(key), writes }
    }

    /// Sends a request, again where that is safe, until it has an answer or the deadline passes.
    async fn call<Req, Res, F, Fut>(&self, plan: Plan, request: Req, send: F) -> Result<Res, ClientError>
    where
        Req: Clone,
        F: Fn(CacheClient<Channel>, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.refresh_if_old();
        self.attempt(plan, request, send).await
    }

    async fn attempt<Req, Res, F, Fut>(&self, plan: Plan, request: Req, send: F) -> Result<Res, ClientError>
    where
        Req: Clone,
        F: Fn(CacheClient<Channel>, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let deadline = Instant::now() + self.inner.options.timeout;
        let mut backoff = Backoff::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let address = self.inner.pick(plan.shard);
            let client = CacheClient::new(self.inner.pool.channel(&address)?)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            let limit = self.limit(plan, deadline);
            let mut message = Request::new(request.clone());
            message.set_timeout(limit);
            let status = match tokio::time::timeout(limit, send(client, message)).await {
                Ok(Ok(answer)) => {
                    self.inner.learn_from_metadata(answer.metadata());
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => status,
                // The node is silent. A read can be asked elsewhere; a write may yet happen.
                Err(_) => Status::cancelled(format!("no answer from {address} within {} ms", limit.as_millis())),
            };
            let Verdict::Again { detail, unreachable } = judge(&status, plan.writes) else {
                return Err(give_up(&status, plan.writes, attempts));
            };
            let pause = match self.inner.learn_from_failure(&address, detail.as_deref(), unreachable) {
                Next::Now if attempts == 1 => Duration::ZERO,
                Next::Now | Next::Later => backoff.pause(),
            };
            if Instant::now() + pause >= deadline {
                return Err(give_up(&status, plan.writes, attempts));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// How long one attempt may take. A read leaves time for another node; a write is only sent once.
    fn limit(&self, plan: Plan, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if plan.writes { left } else { (left / 2).max(Duration::from_millis(50)).min(left) }
    }

    fn refresh_if_old(&self) {
        let due = self.inner.refreshed.try_lock().is_ok_and(|mut at| {
            let due = at.elapsed() > REFRESH_AFTER;
            if due {
                *at = Instant::now();
            }
            due
        });
        if due {
            let client = self.clone();
            // A failure leaves the old hints in place; the next calls will say more.
            tokio::spawn(async move { client.refresh().await.ok() });
        }
    }
}

/// When the next attempt goes out.
enum Next {
    Now,
    Later,
}

impl Inner {
    /// Where to send: to the shard's leader if it is known, else to each node in turn; to those that could not
    /// be reached lately only when no other is left.
    fn pick(&self, shard: Option<u32>) -> String {
        if let Some(leader) = shard.and_then(|s| self.routing.leader(s)).filter(|l| !self.pool.is_shunned(l)) {
            return leader;
        }
        let mut all = self.seeds.clone();
        all.extend(self.routing.addresses());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..all.len()).map(|i| &all[turn.wrapping_add(i) % all.len()]);
        let reachable = in_turn.clone().find(|a| !self.pool.is_shunned(a));
        reachable.or(in_turn.clone().next()).cloned().unwrap_or_default()
    }

    fn learn_from_metadata(&self, metadata: &MetadataMap) {
        let Some(hint) = metadata.get(LEADER_METADATA).and_then(|v| v.to_str().ok()) else { return };
        let mut words = hint.splitn(3, ' ');
        let (shard, node, address) = (words.next(), words.next(), words.next());
        if let (Some(Ok(shard)), Some(Ok(node))) = (shard.map(str::parse), node.map(str::parse)) {
            self.routing.learn_leader(shard, node, address.unwrap_or_default());
        }
    }

    fn learn_from_failure(&self, address: &str, detail: Option<&ErrorDetail>, unreachable: bool) -> Next {
        if unreachable {
            self.pool.shun(address);
            self.routing.forget_leader(address);
            return Next::Now;
        }
        let Some(detail) = detail else { return Next::Later };
        match (detail.kind(), detail.shard, &detail.leader) {
            (ErrorKind::NotLeader, Some(shard), Some(leader)) => {
                self.routing.learn_leader(shard, leader.node, &leader.address);
                Next::Now
            }
            (ErrorKind::ShuttingDown, _, _) => {
                self.pool.shun(address);
                self.routing.forget_leader(address);
                Next::Now
            }
            (ErrorKind::NotLeader | ErrorKind::Moved, _, _) => {
                self.routing.forget_leader(address);
                Next::Later
            }
            _ => Next::Later,
        }
    }
}

/// `http://host:port/` and `host:port` are one node.
fn normalised(endpoint: String) -> String {
    endpoint.strip_prefix("http://").unwrap_or(&endpoint).trim_end_matches('/').to_owned()
}
