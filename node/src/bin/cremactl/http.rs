//! One HTTP/1.1 GET: all that `status` and `shards` need, so no client crate is pulled in for it.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// More than any status page; a peer that sends more is not a Crema node.
const LARGEST_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// Fetches a path and returns the body of a 200 answer.
pub(crate) async fn get(addr: &str, path: &str, limit: Duration) -> anyhow::Result<Vec<u8>> {
    let answer = timeout(limit, exchange(addr, path)).await;
    let answer = answer.with_context(|| format!("{addr} has not answered in {} ms", limit.as_millis()))??;
    body_of(&answer).with_context(|| format!("GET http://{addr}{path}"))
}

async fn exchange(addr: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await.with_context(|| format!("connect to {addr}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.with_context(|| format!("send to {addr}"))?;
    let mut answer = Vec::new();
    let mut bounded = stream.take(LARGEST_ANSWER_BYTES);
    bounded.read_to_end(&mut answer).await.with_context(|| format!("read from {addr}"))?;
    Ok(answer)
}

/// Splits an answer that ended with its connection.
fn body_of(answer: &[u8]) -> anyhow::Result<Vec<u8>> {
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer is not HTTP")?;
    let head = std::str::from_utf8(&answer[..split]).context("the answer is not HTTP")?;
    let body = &answer[split + 4..];
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        bail!("status {status}: {}", String::from_utf8_lossy(body).trim());
    }
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("content-length") && value.trim().parse() != Ok(body.len()) {
            bail!("the answer was cut off: {} bytes of {}", body.len(), value.trim());
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("transfer encoding '{}' is not understood", value.trim());
        }
    }
    Ok(body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::body_of;

    #[test]
    fn bodies_and_their_errors() {
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap(), b"{}");
        for (answer, error) in [
            (&b"HTTP/1.1 503 x\r\n\r\nnot ready"[..], "status 503: not ready"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "the answer was cut off: 2 bytes of 9"),
            (b"+PONG\r\n", "the answer is not HTTP"),
        ] {
            assert_eq!(body_of(answer).unwrap_err().to_string(), error);
        }
    }
}
