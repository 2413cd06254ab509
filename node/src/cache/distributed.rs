//! The embedded library's cache: a node of the cluster inside a Rust program.

use std::time::Duration;

use bytes::Bytes;

use super::{config::CacheConfig, coordinator::MultiRaftCoordinator, node::RunningNode, router::Router};
use crate::{
    error::{Error, Result},
    machine::command::{Command, Condition, Expiry, Found, Op, Outcome, Put, Query},
    metrics::{self, MetricsRegistry},
    multiraft::execute::{Executor, Request},
    types::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

/// How long one operation may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A strongly consistent cache, replicated with the other members of its cluster.
///
/// ```no_run
/// use crema::{CacheConfig, DistributedCache};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = DistributedCache::new(CacheConfig::new(1, "127.0.0.1:9000".parse()?)).await?;
/// cache.put("user:123", "Alice").await?;
/// assert_eq!(cache.consistent_get(b"user:123").await?.as_deref(), Some(&b"Alice"[..]));
/// cache.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct DistributedCache {
    router: Router,
    metrics: MetricsRegistry,
    coordinator: Option<MultiRaftCoordinator>,
    node: tokio::sync::Mutex<Option<RunningNode>>,
}

impl DistributedCache {
    /// Starts the node and waits until it belongs to its cluster: with seed nodes, until all of them are there; with a
    /// discovery and no seed nodes, until it has found a cluster that takes it in.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a wrong field of the configuration; [`Error::Fatal`] says why this process can't
    /// take part.
    pub async fn new(config: CacheConfig) -> Result<Self> {
        let (sharded, discovery) = (config.is_sharded(), config.discovery());
        let node = RunningNode::start(config.into_options()?).await?;
        let router = node.router().clone();
        let view = node.view().clone();
        let metrics = node.metrics().registry.clone().with_live(move || metrics::gauges(&view));
        let coordinator = sharded.then(|| MultiRaftCoordinator::new(router.clone(), node.view().clone(), None));
        if let (Some(coordinator), Some((discovery, debounce))) = (&coordinator, discovery) {
            if let Some(gossip) = discovery.leader_gossip() {
                gossip.set_debounce(debounce);
            }
            coordinator.follow_gossip(discovery);
        }
        Ok(Self { router, metrics, coordinator, node: tokio::sync::Mutex::new(Some(node)) })
    }

    /// The value on this node, at once: one that was committed, perhaps an old one, or `None`. Takes no lock and no
    /// queue, and never waits for the network.
    #[expect(clippy::unused_async, reason = "the library's reference awaits it")]
    pub async fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.router.get_local(key).map(|entry| entry.value_bytes())
    }

    /// The value as of now: linearizable, on any node.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no quorum confirms it.
    pub async fn consistent_get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let key = checked_key(Bytes::copy_from_slice(key))?;
        match self.run(key.clone(), Op::Read(Query::Get { key })).await? {
            Outcome::Value(found) => Ok(found.map(|Found { value, .. }| value)),
            other => Err(unexpected(&other)),
        }
    }

    /// Sets a value, with the cache's default time to live.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when it may or may not have happened; any other: it has not.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<()> {
        self.put_until(key.into(), value.into(), Expiry::Default).await
    }

    /// Sets a value that lives for `ttl`.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_with_ttl(&self, key: impl Into<Bytes>, value: impl Into<Bytes>, ttl: Duration) -> Result<()> {
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return Err(Error::Invalid { field: "ttl", reason: format!("{ttl:?}; at least 1 ms") });
        }
        self.put_until(key.into(), value.into(), Expiry::AfterMs(ms)).await
    }

    async fn put_until(&self, key: Bytes, value: Bytes, expiry: Expiry) -> Result<()> {
        let key = checked_key(key)?;
        if value.len() > MAX_VALUE_BYTES {
            let reason = format!("{} bytes; a value may have {MAX_VALUE_BYTES}", value.len());
            return Err(Error::Invalid { field: "value", reason });
        }
        let put = Put { key: key.clone(), value, expiry, condition: Condition::Always, return_old: false };
        match self.run(key, Op::Write(Command::Put(put))).await? {
            Outcome::Stored { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes a key; says whether it was there.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        let key = checked_key(key.into())?;
        let delete = Command::Delete { key: key.clone(), condition: Condition::Always };
        match self.run(key, Op::Write(delete)).await? {
            Outcome::Deleted(existed) => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    async fn run(&self, key: Bytes, op: Op) -> Result<Outcome> {
        let shard = self.router.shard_map().shard_of(&key);
        let mut results = self.router.execute(vec![Request { shard, op }], TIMEOUT).await;
        results.pop().unwrap_or(Err(Error::ShuttingDown))
    }

    /// Every operation there is, conditional and atomic ones included.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The shards; `None` in the mode with one Raft group.
    #[must_use]
    pub fn multiraft_coordinator(&self) -> Option<&MultiRaftCoordinator> {
        self.coordinator.as_ref()
    }

    /// The node's metrics: what it counts, and gauges of itself and its shards that are asked for at each look.
    ///
    /// ```no_run
    /// # fn example(cache: crema::DistributedCache) {
    /// let hits = cache.metrics().read("cache_hits_total", &[]);
    /// let entries = cache.metrics().read("shard_entries", &[("shard", "0")]);
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> &MetricsRegistry {
        &self.metrics
    }

    /// Hands leaderships over and stops the node. One in memory has lost everything then, and comes back as another life
    /// that is rebuilt from the others; one with a data directory goes on where it was.
    pub async fn shutdown(&self) {
        if let Some(node) = self.node.lock().await.take() {
            node.resign().await;
            node.shutdown().await;
        }
    }
}

fn checked_key(key: Bytes) -> Result<Bytes> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let reason = format!("{} bytes; a key has 1 to {MAX_KEY_BYTES}", key.len());
        return Err(Error::Invalid { field: "key", reason });
    }
    Ok(key)
}

fn unexpected(outcome: &Outcome) -> Error {
    Error::Fatal(format!("the state machine answered {outcome:?}, which does not fit the command"))
}
