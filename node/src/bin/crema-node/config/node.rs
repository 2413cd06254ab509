//! The settings together: what a node is started with, or everything that does not fit.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crema::{
    cache::{Entry, HAS_ROCKSDB, NodeOptions, Storage, default_replication, default_workers},
    cluster::{
        ClusterSpec,
        discovery::{ClusterDiscovery, DnsDiscovery},
        map::SharedSettings,
    },
    grpc::ClusterToken,
    machine::store::{Capacity, EvictionPolicy},
    multiraft::node::Limits,
    partitioning::NODE_SLOT_HASH,
};

use super::{
    catalogue::catalogue,
    problem::{Names, Problem},
};
use crate::args::{Cluster, Discovery, EntryFlags, Eviction, RaftFlags, RespMode, Start, StorageKind};

/// What leaving takes beyond lingering, at most: leaderships, then requests under way.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The ways into a cluster, of which a node has one.
const ENTRIES: [&str; 4] = ["peers", "join", "discovery", "bootstrap"];

/// What was found wrong on the way. A part whose settings are wrong alone is left out: that was told, and what follows
/// from it is no news.
struct Findings<'a> {
    names: &'a Names,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn take<T>(&mut self, about: &[&str], part: impl FnOnce() -> Result<T, Problem>) -> Option<T> {
        let part = self.names.sound(about).then(part)?;
        part.map_err(|problem| self.problems.push(problem)).ok()
    }
}

/// What a node is started with.
///
/// # Errors
/// All that does not fit together, as far as the settings alone are right.
pub(super) fn options(start: &Start, names: &Names) -> Result<NodeOptions, Vec<Problem>> {
    let mut findings = Findings { names, problems: Vec::new() };
    let entry = findings.take(&ENTRIES, || entry(start, names));
    let discovery = findings.take(&["discovery", "dns_server"], || discovery(&start.entry, names));
    let advertise = findings.take(&["node_id", "peers", "peer_addr", "advertise_addr"], || advertise(start, names));
    let resp = advertise.as_deref().and_then(|grpc| {
        findings.take(&["resp_addr", "resp_advertise_addr", "resp_mode"], || resp_advertise(start, grpc, names))
    });
    findings.take(&["linger", "shutdown_timeout"], || times(start, names));
    findings.take(&["election_ticks", "heartbeat_ticks"], || clock(&start.raft, names));
    let storage = findings.take(&["storage", "data_dir"], || storage(start, names));
    let (Some(entry), Some(discovery), Some(advertise), Some(client_address), Some(storage)) =
        (entry, discovery, advertise, resp, storage)
    else {
        return Err(findings.problems);
    };
    let members = match &entry {
        Entry::Listed(members) => members.len(),
        Entry::Bootstrap => 1,
        // Who waits for Init does not know yet of how many members: it takes no more replicas than there are.
        Entry::Join(_) | Entry::Discover => usize::MAX,
    };
    let spec = spec(&start.cluster, members);
    let options = NodeOptions {
        node: start.node.node_id,
        listen: start.doors.peer_addr,
        advertise,
        entry,
        client_address,
        host: start.node.host_name.clone(),
        zone: start.node.zone.clone(),
        workers: start.cluster.workers.unwrap_or_else(|| default_workers(spec.num_shards)),
        spec,
        timings: start.raft.timings(),
        limits: Limits { memory_bytes: start.node.max_memory, ..Limits::default() },
        token: start.doors.cluster_token.clone().and_then(ClusterToken::new),
        discovery,
        storage,
    };
    findings.take(&["node_id", "peers", "shards", "replication"], || whole(&options, names));
    if findings.problems.is_empty() { Ok(options) } else { Err(findings.problems) }
}

/// What the flags say of the cluster, for so many members.
pub(crate) fn spec(cluster: &Cluster, members: usize) -> ClusterSpec {
    ClusterSpec {
        num_shards: cluster.shards,
        slot_hash: NODE_SLOT_HASH,
        replication_factor: cluster.replication.unwrap_or(default_replication(members)),
        settings: SharedSettings {
            capacity: Capacity { max_entries: cluster.shard_max_entries, max_bytes: cluster.shard_max_bytes },
            eviction: match cluster.eviction {
                Eviction::TinyLfu => EvictionPolicy::TinyLfu,
                Eviction::Lru => EvictionPolicy::Lru,
            },
            default_ttl_ms: cluster.default_ttl_ms,
            ..SharedSettings::default()
        },
    }
}

/// How the node is to find its cluster.
fn entry(start: &Start, names: &Names) -> Result<Entry, Problem> {
    let EntryFlags { peers, join, discovery, bootstrap, dns_server: _ } = &start.entry;
    match (peers.as_slice(), join.as_slice(), discovery, bootstrap) {
        ([_, ..], [], None, false) => {
            let own = start.node.node_id;
            let is_known = names.sound(&["node_id"]);
            if !is_known || peers.iter().any(|(id, _)| *id == own) {
                return Ok(Entry::Listed(peers.clone()));
            }
            Err(names.problem("peers", format!("it does not hold this node; add {own}=host:port, or use --join")))
        }
        ([], [_, ..], None, false) => Ok(Entry::Join(join.clone())),
        ([], [], Some(_), false) => Ok(Entry::Discover),
        ([], [], None, true) => Ok(Entry::Bootstrap),
        ([], [], None, false) => Err(Problem {
            setting: "peers".to_owned(),
            place: "how to find the cluster is not said".to_owned(),
            error:
                "give --peers with all first members, --join with addresses of a cluster that exists, --discovery to \
                    find them by name, or --bootstrap to form a new one of this node"
                    .to_owned(),
        }),
        _ => {
            let given: Vec<_> = ENTRIES.into_iter().filter(|id| names.given(id)).map(|id| names.name(id)).collect();
            let error =
                "--peers, --join, --discovery and --bootstrap exclude each other; give one of them".to_owned();
            Err(Problem { setting: "peers".to_owned(), place: given.join(", "), error })
        }
    }
}

/// What finds the others.
fn discovery(entry: &EntryFlags, names: &Names) -> Result<Option<Arc<dyn ClusterDiscovery>>, Problem> {
    let Some(Discovery::Dns { name, port }) = &entry.discovery else {
        return match entry.dns_server {
            Some(_) => Err(names.problem("dns_server", "only --discovery asks it, and that is not given")),
            None => Ok(None),
        };
    };
    let dns = DnsDiscovery::new(name.clone(), *port);
    Ok(Some(match entry.dns_server {
        Some(server) => Arc::new(dns.with_resolver(server.to_string())),
        None => Arc::new(dns),
    }))
}

/// The gRPC port as others reach it.
fn advertise(start: &Start, names: &Names) -> Result<String, Problem> {
    let listed = || start.entry.peers.iter().find(|(id, _)| *id == start.node.node_id).map(|(_, own)| own.clone());
    let listen = start.doors.peer_addr;
    match start.doors.advertise_addr.clone().or_else(listed) {
        Some(address) => Ok(address),
        None if listen.ip().is_unspecified() => {
            let error =
                format!("missing: others can't reach this node at {listen}; give a name or address and a port");
            Err(names.problem("advertise_addr", error))
        }
        None => Ok(listen.to_string()),
    }
}

/// The RESP port as clients reach it; empty when that can't be told and nobody is sent there.
fn resp_advertise(start: &Start, grpc: &str, names: &Names) -> Result<String, Problem> {
    let anywhere = |address: &str| address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
    let error =
        |address: &str| format!("clients can't reach this node at {address}; give a name or address and a port");
    if let Some(given) = &start.doors.resp_advertise_addr {
        let wrong = anywhere(given).then(|| names.problem("resp_advertise_addr", error(given)));
        return wrong.map_or_else(|| Ok(given.clone()), Err);
    }
    let host = grpc.rsplit_once(':').map_or(grpc, |(host, _)| host);
    let address = format!("{host}:{}", start.doors.resp_addr.port());
    match (anywhere(&address), start.cluster.resp_mode) {
        (false, _) => Ok(address),
        (true, RespMode::Proxy) => Ok(String::new()),
        (true, RespMode::Cluster) => {
            Err(names.problem("resp_advertise_addr", format!("missing: {}", error(&address))))
        }
    }
}

fn times(start: &Start, names: &Names) -> Result<(), Problem> {
    let (all, linger) = (start.node.shutdown_timeout, start.node.linger);
    if all >= linger.saturating_add(STOP_TIME) {
        return Ok(());
    }
    let error = format!("is {all:?}; beyond {} ({linger:?}) a stop takes up to {STOP_TIME:?}", names.name("linger"));
    Err(names.problem("shutdown_timeout", error))
}

/// A leader that is there must be heard of before anybody stands for election.
fn clock(raft: &RaftFlags, names: &Names) -> Result<(), Problem> {
    let (election, heartbeat) = (raft.election_ticks, raft.heartbeat_ticks);
    if election >= heartbeat.saturating_mul(2) {
        return Ok(());
    }
    let error = format!("is {election}; it must be at least twice {} ({heartbeat})", names.name("heartbeat_ticks"));
    Err(names.problem("election_ticks", error))
}

/// Where the logs are. A setting that does nothing is a mistake: whoever gave it believes that there is a disk.
fn storage(start: &Start, names: &Names) -> Result<Storage, Problem> {
    let flags = &start.storage;
    match (flags.storage, &flags.data_dir) {
        (StorageKind::Memory, _) => {
            let of_disks =
                catalogue().into_iter().filter(|key| key.table.starts_with("storage") && key.id() != "storage");
            let given: Vec<_> =
                of_disks.filter(|key| names.given(key.id())).map(|key| names.name(key.id())).collect();
            if given.is_empty() {
                return Ok(Storage::Memory);
            }
            let error = "of no use with the storage memory; give --storage rocksdb, too".to_owned();
            Err(Problem { setting: "storage".to_owned(), place: given.join(", "), error })
        }
        (StorageKind::RocksDb, _) if !HAS_ROCKSDB => {
            Err(names.problem("storage", "this build has no RocksDB; build crema-node with --features rocksdb"))
        }
        (StorageKind::RocksDb, Some(dir)) => Ok(Storage::Disk(flags.disk(dir.clone()))),
        (StorageKind::RocksDb, None) => {
            Err(names.problem("data_dir", "missing; with the storage rocksdb it says where the logs go"))
        }
    }
}

/// What the library would refuse.
fn whole(options: &NodeOptions, names: &Names) -> Result<(), Problem> {
    let about = |error: &str| ["replication", "shards"].into_iter().find(|id| error.contains(id)).unwrap_or("peers");
    options.validate().map_err(|error| {
        let error = error.to_string();
        names.problem(about(&error), error)
    })
}
