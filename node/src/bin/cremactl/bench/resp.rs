//! Pipelines over one RESP2 connection. Lean, for it shares the machine with what it measures: replies are skipped, not
//! decoded, and buffers are kept.

use std::{io, time::Instant};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    door::{Op, Reply, Words},
    keys::{DIGITS, push_name},
};

/// Room for a pipeline of replies; grows for large values.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The longest line that a server may answer with: an error's text.
const LONGEST_LINE: usize = 64 * 1024;

/// An open connection.
pub(super) struct Resp {
    stream: TcpStream,
    commands: Vec<u8>,
    unread: BytesMut,
}

impl Resp {
    pub(super) async fn open(addr: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).await.map_err(|error| kind(&error))?;
        stream.set_nodelay(true).map_err(|error| kind(&error))?;
        Ok(Self { stream, commands: Vec::new(), unread: BytesMut::with_capacity(READ_BUFFER_BYTES) })
    }

    /// Sends a pipeline and awaits its replies. Those that arrive together have one time.
    ///
    /// # Errors
    /// The connection is lost, or what it says is no RESP.
    pub(super) async fn batch(
        &mut self,
        ops: &[Op],
        words: &Words,
        note: &mut impl FnMut(&Op, Reply, Instant),
    ) -> Result<(), String> {
        self.commands.clear();
        ops.iter().for_each(|op| push_command(&mut self.commands, op, words));
        self.stream.write_all(&self.commands).await.map_err(|error| kind(&error))?;
        let mut waiting = ops.iter();
        while !waiting.as_slice().is_empty() {
            self.unread.reserve(READ_BUFFER_BYTES / 4);
            if self.stream.read_buf(&mut self.unread).await.map_err(|error| kind(&error))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.to_string());
            }
            let now = Instant::now();
            while let Some((reply, length)) = parse(&self.unread)? {
                self.unread.advance(length);
                note(waiting.next().ok_or("a reply to no command")?, reply, now);
            }
        }
        Ok(())
    }
}

/// The system's own text, without what differs from try to try.
fn kind(error: &io::Error) -> String {
    error.kind().to_string()
}

fn push_command(into: &mut Vec<u8>, op: &Op, words: &Words) {
    into.extend_from_slice(if op.is_read { b"*2\r\n$3\r\nGET\r\n$" } else { b"*3\r\n$3\r\nSET\r\n$" });
    push_length(into, words.prefix.len() + DIGITS);
    push_name(into, &words.prefix, op.key);
    into.extend_from_slice(b"\r\n");
    if !op.is_read {
        into.push(b'$');
        push_length(into, words.value.len());
        into.extend_from_slice(&words.value);
        into.extend_from_slice(b"\r\n");
    }
}

fn push_length(into: &mut Vec<u8>, length: usize) {
    // A vector takes all that is written to it.
    let _ = io::Write::write_fmt(into, format_args!("{length}\r\n"));
}

/// The first reply of `bytes` and its length; `None` when it has not arrived as a whole.
///
/// # Errors
/// It is none that GET or SET have.
fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some(end) = rest.iter().position(|byte| *byte == b'\r') else {
        return if rest.len() > LONGEST_LINE { Err("a line without an end".to_owned()) } else { Ok(None) };
    };
    // With both bytes of the line's end.
    let (line, head) = (&rest[..end], end + 3);
    let reply = match first {
        b'+' | b':' => Reply::Done,
        b'_' => Reply::Missing,
        b'-' => Reply::Refused(String::from_utf8_lossy(line).into_owned()),
        b'$' if line == b"-1" => Reply::Missing,
        b'$' => {
            let length = std::str::from_utf8(line).ok().and_then(|digits| digits.parse::<usize>().ok());
            let whole = length.and_then(|length| head.checked_add(length)?.checked_add(2));
            let whole = whole.ok_or("a reply with a length that is none")?;
            return Ok((bytes.len() >= whole).then_some((Reply::Done, whole)));
        }
        other => return Err(format!("a reply that begins with byte {other}")),
    };
    Ok((bytes.len() >= head).then_some((reply, head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let words = Words { prefix: "k".to_owned(), value: "v\r\n".into() };
        let mut out = Vec::new();
        for is_read in [true, false] {
            push_command(&mut out, &Op { is_read, key: 7, begun: Instant::now() }, &words);
        }
        let want =
            b"*2\r\n$3\r\nGET\r\n$13\r\nk000000000007\r\n*3\r\n$3\r\nSET\r\n$13\r\nk000000000007\r\n$3\r\nv\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(want));
    }

    #[test]
    fn replies_are_skipped_at_any_cut() {
        let stream = b"+OK\r\n$4\r\na\r\nb\r\n$-1\r\n-ERR no\r\n:1\r\n_\r\n$0\r\n\r\n";
        let (mut replies, mut from) = (Vec::new(), 0);
        for until in 0..=stream.len() {
            while let Some((reply, length)) = parse(&stream[from..until]).expect("RESP") {
                replies.push(reply);
                from += length;
            }
        }
        let refused = Reply::Refused("ERR no".to_owned());
        let want = [Reply::Done, Reply::Done, Reply::Missing, refused, Reply::Done, Reply::Missing, Reply::Done];
        assert_eq!((replies, from), (want.into(), stream.len()));
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b"$x\r\n", b"$18446744073709551615\r\n", &[b'+'; LONGEST_LINE + 2]] {
            assert!(parse(bytes).is_err(), "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(20)]));
        }
    }
}
