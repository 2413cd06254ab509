//! The RESP door: Redis clients in, operations on shards out.
//!
//! [`serve`] is called by the node's wiring with a listener and an [`Executor`](crate::multiraft::execute::Executor).
//! One task owns one connection: `framing` cuts the input into commands, `commands` plans each as a `Reply` or as
//! requests to shards, `transaction` keeps what waits for `EXEC`, `batch` runs a pipeline's requests in one `execute` call and `connection` writes the replies
//! in order. The door holds no data: what a command does is decided in `machine`.
//!
//! It must never reorder the replies of a connection, never send a write to `execute` twice, and never panic or
//! grow without bound on any input.
//!
//! **Several keys.** A command over keys of several shards is split: the keys of one shard go as one atomic
//! `Batch` (or one `Multi` read), the shards are independent. It isn't atomic across shards; `{hash tags}` put keys
//! in one shard. If a part of such a write may have happened and another has not, the answer is `OUTCOMEUNKNOWN`.
//!
//! **`READONLY`** makes the reads of a connection local: answered from this node's state at once, perhaps old. A
//! read behind a write of the same pipeline, or of a shard without a replica here, goes the linearizable way.
//! `READWRITE` (the default, but for `local_reads`) makes all reads linearizable.
//!
//! **Cluster mode** ([`RespMode`]) redirects keys that another node leads, as a Redis cluster does; `cluster` says
//! when. Everything else is the same: what is not redirected is forwarded.
//!
//! # Errors
//!
//! A prefix that clients retry by themselves (`CLUSTERDOWN`, `TRYAGAIN`, `LOADING`) is only used when nothing was
//! applied, so that such a retry never repeats a write.
//!
//! | [`crate::Error`] | reply | what clients do |
//! |---|---|---|
//! | `Unavailable` | `-CLUSTERDOWN unavailable: …` | retry with backoff |
//! | `Busy`, `NotLeader`, `Moved` | `-TRYAGAIN …` | retry |
//! | `ShuttingDown` | `-LOADING this node is shutting down` | reconnect, as to a Redis that restarts |
//! | `OutcomeUnknown` | `-OUTCOMEUNKNOWN …` | no client retries an unknown prefix |
//! | `Invalid`, `Fatal` | `-ERR …` | show it |
//!
//! A [`Refusal`](crate::machine::command::Refusal) has the text of Redis for the same condition.
//!
//! # Where it differs from Redis 7
//!
//! Keys have 1 byte to 64 KiB and values up to 8 MiB; there is one database, and only strings. The keys of
//! `MULTI`, `MSETNX`, `RENAME` and `COPY` must be of one shard (`CROSSSLOT` otherwise), and what asks every shard
//! (`KEYS`, `DBSIZE`, ...) can't be in a transaction. A key that was absent at `WATCH`, came and went again counts as
//! unchanged. `OBJECT` tells neither idle times nor frequencies; `SLOWLOG` times pipelines. `GETEX` looks at its options
//! before the key. A key without a stated deadline gets the cluster's default one, if there is one. `INFO` shows
//! only fields that are true here. `CLIENT SETINFO` and `NO-TOUCH` are those of 7.2.

mod args;
mod batch;
mod cluster;
mod commands;
mod config;
mod connection;
mod errors;
mod framing;
mod glob;
mod inline;
mod number;
mod reply;
mod server;
mod session;
mod slowlog;
mod stats;
mod transaction;

/// The names of all commands of this door, in lower case: the labels of its metrics.
#[must_use]
pub fn command_names() -> Vec<&'static str> {
    commands::names()
}

pub use cluster::{RespMode, Whereabouts};
pub use config::{CommandObserver, NodeFacts, RespConfig};
pub use server::serve;
pub use stats::{CommandStats, RespStats};

#[cfg(test)]
mod tests;
