//! `get`, `put` and `del`.

use std::io::{self, Read};

use anyhow::{Context, bail};
use clap::Args;
use redis_protocol::resp2::types::BytesFrame;
use serde_json::json;

use crate::{Answer, Output, RespArgs, resp::Connection};

/// Prints the value of a key.
#[derive(Args)]
pub(crate) struct Get {
    /// The key
    key: String,
    #[command(flatten)]
    resp: RespArgs,
}

/// Sets the value of a key.
#[derive(Args)]
pub(crate) struct Put {
    /// The key
    key: String,
    /// The value; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Forget the key after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    ttl: Option<u64>,
    #[command(flatten)]
    resp: RespArgs,
}

/// Removes keys.
#[derive(Args)]
pub(crate) struct Del {
    /// The keys
    #[arg(required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    resp: RespArgs,
}

impl Get {
    /// An absent key is no error, but exit code 1, and nothing on standard output.
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let value = match call(&self.resp, &[b"GET", self.key.as_bytes()]).await? {
            BytesFrame::BulkString(value) => Some(value),
            BytesFrame::Null => None,
            other => bail!("unexpected reply to GET: {other:?}"),
        };
        let text = match (self.resp.common.output, &value) {
            (Output::Table, Some(value)) => [value, &b"\n"[..]].concat(),
            (Output::Table, None) => {
                eprintln!("cremactl: no key '{}'", self.key);
                Vec::new()
            }
            (Output::Json, value) => line(&json!({ "key": self.key, "value": value.as_deref().map(readable) })),
        };
        Ok(Answer { text, found: value.is_some() })
    }
}

impl Put {
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let mut value = self.value.into_bytes();
        if value == b"-" {
            value.clear();
            io::stdin().lock().read_to_end(&mut value).context("read the value from standard input")?;
        }
        let ttl = self.ttl.map(|seconds| seconds.to_string());
        let mut args: Vec<&[u8]> = vec![b"SET", self.key.as_bytes(), &value];
        if let Some(seconds) = &ttl {
            args.extend([&b"EX"[..], seconds.as_bytes()]);
        }
        match call(&self.resp, &args).await? {
            BytesFrame::SimpleString(_) => {}
            other => bail!("unexpected reply to SET: {other:?}"),
        }
        Ok(Answer::found(match self.resp.common.output {
            Output::Table => b"OK\n".to_vec(),
            Output::Json => line(&json!({ "key": self.key, "stored": true })),
        }))
    }
}

impl Del {
    /// Exit code 1 when none of the keys was there.
    pub(crate) async fn run(self) -> anyhow::Result<Answer> {
        let args: Vec<&[u8]> = [&b"DEL"[..]].into_iter().chain(self.keys.iter().map(String::as_bytes)).collect();
        let removed = match call(&self.resp, &args).await? {
            BytesFrame::Integer(removed) => removed,
            other => bail!("unexpected reply to DEL: {other:?}"),
        };
        let text = match self.resp.common.output {
            Output::Table => format!("{removed} of {} removed\n", self.keys.len()).into_bytes(),
            Output::Json => line(&json!({ "asked": self.keys.len(), "removed": removed })),
        };
        Ok(Answer { text, found: removed > 0 })
    }
}

/// One command on a connection of its own; an error reply is an error.
async fn call(resp: &RespArgs, args: &[&[u8]]) -> anyhow::Result<BytesFrame> {
    let addr = &resp.addr;
    let opened = Connection::open(addr, resp.common.timeout()).await;
    let mut connection = opened.with_context(|| format!("connect to {addr}"))?;
    let command = String::from_utf8_lossy(args[0]);
    match connection.call(args).await.with_context(|| format!("{command} at {addr}"))? {
        BytesFrame::Error(error) => bail!("{command} at {addr}: {error}"),
        reply => Ok(reply),
    }
}

/// A value in JSON: text as it is, other bytes as an object with hexadecimal digits.
pub(crate) fn readable(value: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": value.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}
