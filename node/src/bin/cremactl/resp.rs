//! One RESP2 connection: write commands, read replies. No retries: the caller decides what is safe.

use std::{io, time::Duration};

use bytes::{Buf, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes_mut, types::BytesFrame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Room for a pipeline of replies; grows for large values.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: BytesMut,
    reply_timeout: Duration,
}

impl Connection {
    /// Connects within the timeout, which then also bounds the wait for each reply.
    pub(crate) async fn open(addr: &str, limit: Duration) -> io::Result<Self> {
        let stream = timeout(limit, TcpStream::connect(addr)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: BytesMut::with_capacity(READ_BUFFER_BYTES), reply_timeout: limit })
    }

    /// Sends one command and waits for its reply.
    pub(crate) async fn call(&mut self, args: &[&[u8]]) -> io::Result<BytesFrame> {
        let mut command = Vec::new();
        push_command(&mut command, args);
        self.send(&command).await?;
        self.reply().await
    }

    /// Sends encoded commands; there must follow one [`Self::reply`] for each.
    pub(crate) async fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        timeout(self.reply_timeout, self.stream.write_all(commands)).await?
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self) -> io::Result<BytesFrame> {
        loop {
            if self.unread.has_remaining() {
                let decoded = decode_bytes_mut(&mut self.unread);
                if let Some((frame, _, _)) = decoded.map_err(|error| bad_data(&error))? {
                    return Ok(frame);
                }
            }
            if timeout(self.reply_timeout, self.stream.read_buf(&mut self.unread)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn bad_data(error: &redis_protocol::error::RedisProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the reply is not RESP: {error}"))
}

/// Appends a command in RESP's form: an array of bulk strings.
pub(crate) fn push_command(into: &mut Vec<u8>, args: &[&[u8]]) {
    into.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        into.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        into.extend_from_slice(arg);
        into.extend_from_slice(b"\r\n");
    }
}

#[test]
fn commands_are_arrays_of_bulk_strings() {
    let mut out = Vec::new();
    push_command(&mut out, &[b"SET", b"k", b""]);
    assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
}
