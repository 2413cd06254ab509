//! One lane's way to a server, whatever is spoken there.

use std::time::Instant;

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use super::{Target, etcd::Etcd, grpc::Grpc, resp::Resp};

/// A command to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    /// A read; else a write.
    pub(super) is_read: bool,
    /// The number of its key.
    pub(super) key: u64,
    /// From when on its latency counts.
    pub(super) begun: Instant,
}

/// What a server said to a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is done.
    Done,
    /// There is no such key.
    Missing,
    /// An error, by its text.
    Refused(String),
}

/// What commands are made of.
#[derive(Debug)]
pub(super) struct Words {
    /// What keys begin with.
    pub(super) prefix: String,
    /// What is written.
    pub(super) value: Bytes,
}

/// How the lanes of one client reach each of its addresses.
pub(super) enum Ways {
    /// By a connection for each lane.
    Resp(Vec<String>),
    /// By connections that they share, made when first used.
    Grpc(Vec<Channel>),
    /// The same.
    Etcd(Vec<Channel>),
}

impl Ways {
    /// The ways of a client that begins at its own address and goes to the next one when it must.
    ///
    /// # Errors
    /// An address that is none, by its text.
    pub(super) fn new(target: Target, addrs: &[String], client: usize) -> Result<Self, String> {
        let mut addrs = addrs.to_vec();
        let first = client % addrs.len().max(1);
        addrs.rotate_left(first);
        let channels = || {
            let channel = |addr: &String| {
                let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(|error| error.to_string())?;
                Ok(endpoint.tcp_nodelay(true).connect_lazy())
            };
            addrs.iter().map(channel).collect::<Result<_, String>>()
        };
        Ok(match target {
            Target::Resp => Self::Resp(addrs),
            Target::Grpc => Self::Grpc(channels()?),
            Target::Etcd => Self::Etcd(channels()?),
        })
    }

    /// Opens a door; each attempt goes to the next address.
    ///
    /// # Errors
    /// No connection, by its text. Over gRPC that shows only when the door is used.
    pub(super) async fn open(&self, attempt: usize) -> Result<Door, String> {
        Ok(match self {
            Self::Resp(addrs) => Door::Resp(Resp::open(&addrs[attempt % addrs.len()]).await?),
            Self::Grpc(channels) => Door::Grpc(Grpc::new(channels[attempt % channels.len()].clone())),
            Self::Etcd(channels) => Door::Etcd(Etcd::new(channels[attempt % channels.len()].clone())),
        })
    }
}

/// An open way.
pub(super) enum Door {
    /// RESP.
    Resp(Resp),
    /// `crema.v1.Cache`.
    Grpc(Grpc),
    /// `etcdserverpb.KV`.
    Etcd(Etcd),
}

impl Door {
    /// Whether it was opened without a connection, which it then makes by itself: a failure may mean that there is none.
    pub(super) fn is_lazy(&self) -> bool {
        match self {
            Self::Resp(_) => false,
            Self::Grpc(_) | Self::Etcd(_) => true,
        }
    }

    /// Sends all commands and passes the replies on, in their order.
    ///
    /// # Errors
    /// The connection is lost, by its text; what was not passed on has no reply.
    pub(super) async fn batch(
        &mut self,
        ops: &[Op],
        words: &Words,
        note: &mut impl FnMut(&Op, Reply, Instant),
    ) -> Result<(), String> {
        match self {
            Self::Resp(resp) => resp.batch(ops, words, note).await,
            Self::Grpc(grpc) => {
                for op in ops {
                    let reply = grpc.call(op, words).await?;
                    note(op, reply, Instant::now());
                }
                Ok(())
            }
            Self::Etcd(etcd) => {
                for op in ops {
                    let reply = etcd.call(op, words).await?;
                    note(op, reply, Instant::now());
                }
                Ok(())
            }
        }
    }
}

/// A failed call: an answer of the server, or else a lost connection, by what is at the bottom of it.
pub(super) fn failed(status: &tonic::Status) -> Result<Reply, String> {
    let causes = std::iter::successors(std::error::Error::source(status), |error| error.source());
    match causes.last() {
        Some(cause) => Err(cause.to_string()),
        None => Ok(Reply::Refused(format!("{:?}: {}", status.code(), status.message()))),
    }
}
