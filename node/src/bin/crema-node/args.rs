//! The settings of a node, each defined once, and the flags of `dev`.
//!
//! A setting of `start` is a flag here. Its variable, its key in a config file and its place in `--help` follow: the
//! heading is the table and the flag's name is the key ([`crate::config`]). Each is checked here as far as one alone can
//! be.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, ValueEnum, value_parser};
use crema::{
    partitioning::{DEFAULT_SHARDS, SLOTS},
    types::NodeId,
};

mod parse;
mod storage;
mod timings;

use self::parse::{address, discovery, duration, log_filter, member, node_id, socket};
pub(crate) use self::{
    storage::{StorageFlags, StorageKind},
    timings::RaftFlags,
};

/// Flags of `start`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Start {
    /// Settings from this file, in TOML: those that neither a flag nor a variable gives.
    #[arg(long, value_name = "FILE", env = "CREMA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) entry: EntryFlags,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    #[command(flatten)]
    pub(crate) doors: Doors,
    #[command(flatten)]
    pub(crate) raft: RaftFlags,
    #[command(flatten)]
    pub(crate) storage: StorageFlags,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// This node alone.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Node")]
pub(crate) struct Node {
    /// This member's number, 1 or more; or the name of its pod in a StatefulSet: `cache-0` is member 1.
    #[arg(long, value_parser = node_id, env = "CREMA_NODE_ID")]
    pub(crate) node_id: NodeId,
    /// The zone of this node: the replicas of a shard are spread over zones.
    #[arg(long, default_value = "", env = "CREMA_ZONE")]
    pub(crate) zone: String,
    /// A file that somebody else writes the zone to, or `-` for none: without --zone a node waits up to 5 s for it when it
    /// starts.
    #[arg(long, value_name = "FILE", env = "CREMA_ZONE_FILE")]
    pub(crate) zone_file: Option<PathBuf>,
    /// The machine that this node runs on: two replicas of a shard avoid one host.
    #[arg(long, default_value = "", env = "CREMA_HOST_NAME")]
    pub(crate) host_name: String,
    /// Bytes that the replicas on this node may hold together; 0 is not known. Replicas move here only while they fit, and
    /// a drain that would leave the other nodes too little memory is refused.
    #[arg(long, default_value_t = 0, env = "CREMA_MAX_MEMORY")]
    pub(crate) max_memory: u64,
    /// After SIGTERM: how long this node goes on to serve, unready, while proxies and clients learn that it leaves. After its
    /// removal 7.5 s at most: its peers part with it soon.
    #[arg(long, default_value = "3s", value_parser = duration, env = "CREMA_LINGER")]
    pub(crate) linger: Duration,
    /// After SIGTERM: when it has not stopped in an orderly way by then, it ends at once.
    #[arg(long, default_value = "30s", value_parser = duration, env = "CREMA_SHUTDOWN_TIMEOUT")]
    pub(crate) shutdown_timeout: Duration,
}

/// How the node comes into a cluster: one of the first four.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct EntryFlags {
    /// The first members of the cluster, this one included, by their gRPC ports: `1=host:port,2=host:port,…`. The
    /// cluster forms once all of them are there; a node that finds it formed joins it.
    #[arg(long, value_delimiter = ',', value_parser = member, env = "CREMA_PEERS")]
    pub(crate) peers: Vec<(NodeId, String)>,
    /// gRPC ports of some nodes of a cluster that this one joins: `host:port,…`. It waits until there is one.
    #[arg(long, value_delimiter = ',', value_parser = address, env = "CREMA_JOIN")]
    pub(crate) join: Vec<String>,
    /// Finds the nodes of a cluster to join, as --join does, by the records of a headless service: `dns:NAME[:PORT]`. The
    /// port, 7000 if none is given, goes with A and AAAA records; SRV records of _peer._tcp.NAME have their own.
    #[arg(long, value_parser = discovery, env = "CREMA_DISCOVERY")]
    pub(crate) discovery: Option<Discovery>,
    /// Forms a new cluster of this node alone; others join it. Only for its first start: without a data directory it forms
    /// another one each time.
    #[arg(long, env = "CREMA_BOOTSTRAP")]
    pub(crate) bootstrap: bool,
    /// The name server that --discovery asks, `address:port` [default: the system's].
    #[arg(long, value_parser = socket, env = "CREMA_DNS_SERVER")]
    pub(crate) dns_server: Option<SocketAddr>,
}

/// How other nodes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// By the records of a name.
    Dns { name: String, port: u16 },
}

/// What a cluster is to be; the same on every member.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// Shards, each a Raft group of its own: 1 to 16384.
    #[arg(long, default_value_t = DEFAULT_SHARDS, value_parser = value_parser!(u32).range(1..=i64::from(SLOTS)), env = "CREMA_SHARDS")]
    pub(crate) shards: u32,
    /// Replicas of each shard [default: 3, or the number of nodes if that is less].
    #[arg(long, value_parser = value_parser!(u32).range(1..), env = "CREMA_REPLICATION")]
    pub(crate) replication: Option<u32>,
    /// Entries that one shard holds at most; 0 is no limit.
    #[arg(long, default_value_t = 0, env = "CREMA_SHARD_MAX_ENTRIES")]
    pub(crate) shard_max_entries: u64,
    /// Bytes that one shard holds at most (keys, values and 128 bytes for each entry); 0 is no limit.
    #[arg(long, default_value_t = 0, env = "CREMA_SHARD_MAX_BYTES")]
    pub(crate) shard_max_bytes: u64,
    /// How a full shard chooses what goes.
    #[arg(long, value_enum, default_value_t = Eviction::TinyLfu, env = "CREMA_EVICTION")]
    pub(crate) eviction: Eviction,
    /// The life of keys that are set without one, in milliseconds [default: for ever].
    #[arg(long, value_parser = value_parser!(u64).range(1..), env = "CREMA_DEFAULT_TTL_MS")]
    pub(crate) default_ttl_ms: Option<u64>,
    /// What a Redis client is told whose key another node leads: `proxy` answers it, `cluster` sends it there, as Redis
    /// Cluster does with clients that know it.
    #[arg(long, value_enum, help_heading = "Doors", default_value_t = RespMode::Proxy, env = "CREMA_RESP_MODE")]
    pub(crate) resp_mode: RespMode,
    /// Threads that own shards [default: half the cores].
    #[arg(long, help_heading = "Node", value_parser = value_parser!(u32).range(1..=64), env = "CREMA_WORKERS")]
    pub(crate) workers: Option<u32>,
}

/// How a full shard chooses what goes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Eviction {
    /// By frequency of use.
    TinyLfu,
    /// By the last use.
    Lru,
}

/// What a Redis client is told whose key another node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RespMode {
    /// The answer: any node takes any key.
    Proxy,
    /// Which node to ask.
    Cluster,
}

/// Where others reach the node, and what it bears.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Doors")]
pub(crate) struct Doors {
    /// Where the gRPC port listens: other nodes, crema.v1.Cache and crema.v1.Admin.
    #[arg(long, default_value = "127.0.0.1:7000", value_parser = socket, env = "CREMA_PEER_ADDR")]
    pub(crate) peer_addr: SocketAddr,
    /// The gRPC port as other nodes reach it, `host:port` [default: as in --peers, else --peer-addr].
    #[arg(long, value_parser = address, env = "CREMA_ADVERTISE_ADDR")]
    pub(crate) advertise_addr: Option<String>,
    /// Where Redis clients connect.
    #[arg(long, default_value = "127.0.0.1:6379", value_parser = socket, env = "CREMA_RESP_ADDR")]
    pub(crate) resp_addr: SocketAddr,
    /// The Redis port as clients reach it, `host:port`; with --resp-mode cluster they are sent there [default: the host of
    /// the gRPC port as other nodes reach it, and the port of --resp-addr].
    #[arg(long, value_parser = address, env = "CREMA_RESP_ADVERTISE_ADDR")]
    pub(crate) resp_advertise_addr: Option<String>,
    /// Where /metrics, /livez, /readyz and /status are.
    #[arg(long, default_value = "127.0.0.1:9090", value_parser = socket, env = "CREMA_HTTP_ADDR")]
    pub(crate) http_addr: SocketAddr,
    /// Opens crema.v1.Admin to whoever knows it; without one Admin is closed.
    #[arg(long, env = "CREMA_CLUSTER_TOKEN", hide_env_values = true)]
    pub(crate) cluster_token: Option<String>,
    /// Redis connections; more are refused.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..), env = "CREMA_MAX_CLIENTS")]
    pub(crate) max_clients: u32,
    /// A Redis client that takes none of its replies for so long is cut off, in seconds.
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(1..), env = "CREMA_WRITE_TIMEOUT_S")]
    pub(crate) write_timeout_s: u64,
    /// How a Redis client reads that has said neither READONLY nor READWRITE.
    #[arg(long, value_enum, default_value_t = ReadLevel::Linearizable, env = "CREMA_READ_LEVEL")]
    pub(crate) read_level: ReadLevel,
}

/// How a read is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadLevel {
    /// By the shard's leader: every write that was acknowledged before is seen.
    Linearizable,
    /// By whatever replica the node has: at once, perhaps old.
    Local,
}

/// What the process tells of itself, on standard error.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Log")]
pub(crate) struct Log {
    /// What is logged, as `level` or `target=level,…` (tracing's filter).
    #[arg(long, default_value = "info", value_parser = log_filter, env = "CREMA_LOG")]
    pub(crate) log: String,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "CREMA_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// A form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Flags of `dev`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Dev {
    /// How many nodes: 1 to 9.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=9))]
    pub(crate) nodes: u16,
    /// The first node's port for Redis clients; the others follow.
    #[arg(long, default_value_t = 6379, value_parser = value_parser!(u16).range(1..=65_000))]
    pub(crate) port: u16,
    /// The first node's HTTP port; the others follow.
    #[arg(long, default_value_t = 9090, value_parser = value_parser!(u16).range(1..=65_000))]
    pub(crate) http_port: u16,
    /// The first node's gRPC port; the others follow.
    #[arg(long, default_value_t = 7000, value_parser = value_parser!(u16).range(1..=65_000))]
    pub(crate) grpc_port: u16,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    #[command(flatten)]
    pub(crate) log: Log,
}
