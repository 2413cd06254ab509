//! The command line, checked as far as one flag alone can be.

use std::net::SocketAddr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use crema::{partitioning::DEFAULT_SHARDS, types::NodeId};
use tracing_subscriber::EnvFilter;

/// A strongly consistent, sharded cache.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    /// How the log is written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "CREMA_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// What is logged, as `level` or `target=level,…` (tracing's filter).
    #[arg(long, global = true, default_value = "info", value_parser = log_filter, env = "CREMA_LOG")]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one node of a cluster.
    Start(Start),
    /// Runs a whole cluster in this process, on loopback ports, in memory.
    Dev(Dev),
}

/// Flags of `start`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Start {
    /// This member's number, 1 or more; it must be in --peers.
    #[arg(long, value_parser = node_id, env = "CREMA_NODE_ID")]
    pub(crate) node_id: NodeId,
    /// Where the gRPC port listens: other nodes, crema.v1.Cache and crema.v1.Admin.
    #[arg(long, default_value = "127.0.0.1:7000", env = "CREMA_PEER_ADDR")]
    pub(crate) peer_addr: SocketAddr,
    /// Where Redis clients connect.
    #[arg(long, default_value = "127.0.0.1:6379", env = "CREMA_RESP_ADDR")]
    pub(crate) resp_addr: SocketAddr,
    /// Where /metrics, /livez, /readyz and /status are.
    #[arg(long, default_value = "127.0.0.1:9090", env = "CREMA_HTTP_ADDR")]
    pub(crate) http_addr: SocketAddr,
    /// Every member of the cluster, this one included, by its gRPC port: `1=host:port,2=host:port,…`. The cluster
    /// forms once all of them are there.
    #[arg(long, value_delimiter = ',', value_parser = member, required = true, env = "CREMA_PEERS")]
    pub(crate) peers: Vec<(NodeId, String)>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// Opens crema.v1.Admin to whoever knows it; without one Admin is closed.
    #[arg(long, env = "CREMA_CLUSTER_TOKEN", hide_env_values = true)]
    pub(crate) cluster_token: Option<String>,
    /// Redis connections; more are refused.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..), env = "CREMA_MAX_CLIENTS")]
    pub(crate) max_clients: u32,
    /// A Redis client that takes none of its replies for so long is cut off, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..), env = "CREMA_WRITE_TIMEOUT_S")]
    pub(crate) write_timeout_s: u64,
}

/// What a cluster is to be; the same on every member.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Cluster {
    /// Shards, each a Raft group of its own: 1 to 16384.
    #[arg(long, default_value_t = DEFAULT_SHARDS, env = "CREMA_SHARDS")]
    pub(crate) shards: u32,
    /// Replicas of each shard [default: 3, or the number of nodes if that is less].
    #[arg(long, env = "CREMA_REPLICATION")]
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
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), env = "CREMA_DEFAULT_TTL_MS")]
    pub(crate) default_ttl_ms: Option<u64>,
    /// Threads that own shards [default: half the cores].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64), env = "CREMA_WORKERS")]
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

/// Flags of `dev`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Dev {
    /// How many nodes: 1 to 9.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: u16,
    /// The first node's port for Redis clients; the others follow.
    #[arg(long, default_value_t = 6379, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) port: u16,
    /// The first node's HTTP port; the others follow.
    #[arg(long, default_value_t = 9090, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) http_port: u16,
    /// The first node's gRPC port; the others follow.
    #[arg(long, default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) grpc_port: u16,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write a level or target=level,…")),
    }
}

fn node_id(text: &str) -> Result<NodeId, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a member has a whole number from 1 on".to_owned()),
        Ok(id) => Ok(NodeId(id)),
    }
}

fn member(text: &str) -> Result<(NodeId, String), String> {
    let (id, address) = text.split_once('=').ok_or("a member is written id=host:port")?;
    let id = node_id(id)?;
    let (host, port) = address.rsplit_once(':').ok_or("a member is written id=host:port; the port is missing")?;
    let port: u16 = port.parse().map_err(|_| format!("{port:?} is not a port (1 to 65535)"))?;
    if host.is_empty() || port == 0 {
        return Err("a member is written id=host:port".to_owned());
    }
    Ok((id, address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn members_are_parsed_or_refused() {
        assert_eq!(member("2=db-1.svc:7000"), Ok((NodeId(2), "db-1.svc:7000".to_owned())));
        assert_eq!(member("2=[::1]:7000"), Ok((NodeId(2), "[::1]:7000".to_owned())));
        for wrong in ["", "2", "0=a:1", "x=a:1", "2=a", "2=:1", "2=a:0", "2=a:70000"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }
}
