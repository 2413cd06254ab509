//! The records of a headless service, looked up again and again.
//!
//! `SRV` records of `_peer._tcp.NAME` name the pods; without them the `A` and `AAAA` records of NAME give addresses.
//! The service should publish addresses that are not ready (`publishNotReadyAddresses`): nodes find each other before
//! they serve anybody. Nothing here filters by readiness, priority or weight.
//!
//! "No such name" and "no records" are answers: nobody is there yet. A server that fails or is silent is none, and
//! the last answer is kept for a while.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, join};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cluster::discovery::{
    ClusterDiscovery, Discovered, DiscoveryError, Found,
    periodic::{Owned, Periodic},
};

/// More records than any cluster has nodes; what goes beyond is left out.
const MAX_RECORDS: usize = 4_096;

/// Finds the pods of a headless service.
#[derive(Debug)]
pub struct DnsDiscovery {
    periodic: Owned,
    settings: Settings,
    /// Made at the first look: it needs a runtime, and may fail.
    looker: Mutex<Option<Arc<Looker>>>,
}

#[derive(Clone, Debug)]
struct Settings {
    name: String,
    port: u16,
    resolver: Option<String>,
    interval: Duration,
    timeout: Duration,
    keep: Duration,
}

impl DnsDiscovery {
    /// For a service's name (`crema.ns.svc.cluster.local`; it is taken as it is when it has a final dot or a resolver
    /// is given, else with the system's search domains). The port goes with addresses that no SRV record names.
    #[must_use]
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        let settings = Settings {
            name: name.into(),
            port,
            resolver: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            keep: Duration::from_secs(60),
        };
        Self { periodic: Owned::new("dns"), settings, looker: Mutex::default() }
    }

    /// Asks this server, `host:port` with the host as an address, instead of the system's.
    #[must_use]
    pub fn with_resolver(mut self, address: impl Into<String>) -> Self {
        self.settings.resolver = Some(address.into());
        self
    }

    /// How often it looks (5 s).
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.settings.interval = interval;
        self
    }

    /// How long a server may take to answer one question before it is asked a second and last time (2 s).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How long the last answer counts while the servers fail (60 s).
    #[must_use]
    pub fn with_stale_answers_for(mut self, keep: Duration) -> Self {
        self.settings.keep = keep;
        self
    }

    fn looker(&self) -> Result<Arc<Looker>, DiscoveryError> {
        let mut slot = self.looker.lock();
        if let Some(looker) = &*slot {
            return Ok(looker.clone());
        }
        let looker = Arc::new(Looker::new(&self.settings, self.periodic.share())?);
        *slot = Some(looker.clone());
        Ok(looker)
    }
}

impl ClusterDiscovery for DnsDiscovery {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn start(&self) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        Box::pin(async {
            let looker = self.looker()?;
            let every = self.settings.interval;
            if every.is_zero() {
                return Err(invalid("interval", "0"));
            }
            self.periodic.every(every, move || {
                let looker = looker.clone();
                // What went wrong is in the log already, once for each change.
                async move { _ = looker.look().await }
            });
            Ok(())
        })
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, DiscoveryError>> {
        Box::pin(async { self.looker()?.look().await })
    }

    fn watch(&self) -> watch::Receiver<Found> {
        self.periodic.watch()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.periodic.shutdown()
    }
}

/// Asks, and remembers the last answer.
#[derive(Debug)]
struct Looker {
    periodic: Arc<Periodic>,
    resolver: TokioResolver,
    peers: Name,
    hosts: Name,
    port: u16,
    keep: Duration,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    answered: Option<Instant>,
    /// The trouble that the log has heard of; empty when all is well.
    said: String,
}

impl Looker {
    fn new(settings: &Settings, periodic: Arc<Periodic>) -> Result<Self, DiscoveryError> {
        let absolute = settings.resolver.is_some() && !settings.name.ends_with('.');
        let hosts = if absolute { format!("{}.", settings.name) } else { settings.name.clone() };
        let parse =
            |name: &str| Name::from_utf8(name).map_err(|error| invalid("name", &format!("{name:?}: {error}")));
        if settings.name.trim_matches('.').is_empty() {
            return Err(invalid("name", "it is empty"));
        }
        if settings.port == 0 {
            return Err(invalid("port", "0"));
        }
        Ok(Self {
            periodic,
            resolver: resolver(settings)?,
            peers: parse(&format!("_peer._tcp.{hosts}"))?,
            hosts: parse(&hosts)?,
            port: settings.port,
            keep: settings.keep,
            memory: Mutex::default(),
        })
    }

    async fn look(&self) -> Result<Found, DiscoveryError> {
        let asked = self.ask().await;
        let mut memory = self.memory.lock();
        match asked {
            Ok(found) => {
                memory.answered = Some(Instant::now());
                if !std::mem::take(&mut memory.said).is_empty() {
                    info!(name = %self.hosts, "the DNS answers again");
                }
                Ok(self.periodic.publish(found))
            }
            Err(error) => {
                let text = error.to_string();
                if memory.said != text {
                    warn!(reason = text, keep = ?self.keep, "no answer from the DNS");
                    memory.said = text;
                }
                if memory.answered.is_some_and(|at| at.elapsed() <= self.keep) {
                    return Ok(self.periodic.found());
                }
                memory.answered = None;
                self.periodic.publish(Vec::new());
                Err(error)
            }
        }
    }

    /// Names where there are names. A failed question about them is not answered with addresses: the peers would seem
    /// to change.
    async fn ask(&self) -> Result<Vec<Discovered>, DiscoveryError> {
        let named = answers(&self.peers, self.resolver.srv_lookup(self.peers.clone()).await)?;
        let named: Vec<_> = named.iter().filter_map(target).take(MAX_RECORDS).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let (v4, v6) =
            join(self.resolver.ipv4_lookup(self.hosts.clone()), self.resolver.ipv6_lookup(self.hosts.clone())).await;
        let both = match (answers(&self.hosts, v4), answers(&self.hosts, v6)) {
            (Ok(v4), Ok(v6)) => [v4, v6].concat(),
            // Some servers know no AAAA and say so with an error.
            (Ok(some), Err(_)) | (Err(_), Ok(some)) if !some.is_empty() => some,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let port = self.port;
        let addresses = both.iter().filter_map(RData::ip_addr).map(|ip| SocketAddr::new(ip, port).to_string());
        Ok(addresses.map(Discovered::at).take(MAX_RECORDS).collect())
    }
}

/// A resolver without a memory of its own: the interval bounds the questions, and a change is seen at once.
fn resolver(settings: &Settings) -> Result<TokioResolver, DiscoveryError> {
    let mut builder = match &settings.resolver {
        None => TokioResolver::builder_tokio().map_err(|error| invalid("resolver", &error.to_string()))?,
        Some(address) => {
            let address: SocketAddr =
                address.parse().map_err(|_| invalid("resolver", &format!("{address:?} is no address and port")))?;
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            (udp.port, tcp.port) = (address.port(), address.port());
            let server = NameServerConfig::new(address.ip(), true, vec![udp, tcp]);
            let config = ResolverConfig::from_name_servers(vec![server]);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.timeout = settings.timeout;
    options.attempts = 1;
    builder.build().map_err(|error| invalid("resolver", &error.to_string()))
}

/// The records of an answer; none of them when the answer is that there are none.
fn answers(name: &Name, looked: Result<Lookup, NetError>) -> Result<Vec<RData>, DiscoveryError> {
    match looked {
        Ok(lookup) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(DiscoveryError::Lookup { name: name.to_string(), reason: error.to_string() }),
    }
}

/// Host and port of an SRV record. A root target says that the service is not there (RFC 2782).
fn target(data: &RData) -> Option<Discovered> {
    let RData::SRV(srv) = data else { return None };
    let host = srv.target.to_string();
    let host = host.trim_end_matches('.');
    (!host.is_empty() && srv.port != 0).then(|| Discovered::at(format!("{host}:{}", srv.port)))
}

fn invalid(field: &'static str, reason: &str) -> DiscoveryError {
    DiscoveryError::Invalid { field, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
