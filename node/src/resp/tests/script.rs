//! Golden scripts: commands and the raw replies to them, over a real connection.
//!
//! A script has blocks of one directive and its reply, escaped, on the next line:
//! - `> WORD…` sends a command as an array of byte strings (words quoted as in inline commands);
//!   ` ; ` between commands makes them one pipeline, which a transaction must be, since `ECHO` would be queued;
//! - `raw BYTES` sends bytes as they are (with `\r \n \xHH`);
//! - `advance MS` moves the machines' clock, `reconnect` opens a new connection; neither has a reply.
//!
//! After each directive an `ECHO` is sent, and what comes before its answer is the reply; `<closed>` stands for the
//! end of the connection. `CREMA_REWRITE=1` writes what came into the scripts.

use std::{fmt::Write as _, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::executor::MachineExecutor;
use crate::resp::inline;

const SENTINEL: &[u8] = b"*2\r\n$4\r\nECHO\r\n$12\r\n--the-end-!!\r\n";
const SENTINEL_REPLY: &[u8] = b"$12\r\n--the-end-!!\r\n";

/// Runs a script and returns it with the replies that came.
pub(super) async fn run(script: &str, door: SocketAddr, executor: &MachineExecutor) -> String {
    let mut transcript = String::new();
    let mut stream = None;
    for line in script.lines() {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let input = match verb {
            ">" => rest.split(" ; ").flat_map(array).collect(),
            "raw" => unescape(rest),
            "#" | "advance" | "reconnect" => {
                match verb {
                    "advance" => executor.advance_ms(rest.parse().unwrap()),
                    "reconnect" => stream = None,
                    _ => {}
                }
                writeln!(transcript, "{line}").unwrap();
                continue;
            }
            _ if line.is_empty() => {
                transcript.push('\n');
                continue;
            }
            // The reply of an earlier run.
            _ => continue,
        };
        let mut connection = match stream.take() {
            Some(connection) => connection,
            None => TcpStream::connect(door).await.unwrap(),
        };
        let (reply, open) = exchange(&mut connection, &input).await;
        stream = open.then_some(connection);
        writeln!(transcript, "{line}\n{}", escape(&reply, open)).unwrap();
    }
    transcript
}

/// A command as an array of byte strings.
pub(super) fn array(line: &str) -> Vec<u8> {
    let words = inline::split(line.as_bytes()).ok().flatten().unwrap().to_words();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(&word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Sends bytes and returns what comes back, and whether the connection is still open.
pub(super) async fn exchange(stream: &mut TcpStream, input: &[u8]) -> (Vec<u8>, bool) {
    // A connection that the door has closed may refuse the rest; what it said before is what counts.
    let _ = stream.write_all(&[input, SENTINEL].concat()).await;
    let mut reply = Vec::new();
    loop {
        if let Some(before) = reply.strip_suffix(SENTINEL_REPLY) {
            return (before.to_vec(), true);
        }
        if stream.read_buf(&mut reply).await.unwrap_or(0) == 0 {
            return (reply, false);
        }
    }
}

fn escape(reply: &[u8], open: bool) -> String {
    let end = if open { "" } else { "<closed>" };
    // A prefix keeps a reply apart from directives.
    format!("  {}{end}", reply.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\""))
}

fn unescape(text: &str) -> Vec<u8> {
    // The escapes of a quoted inline word are these.
    let quoted = format!("\"{}\"", text.replace('"', "\\\""));
    inline::split(quoted.as_bytes()).ok().flatten().unwrap().to_words().remove(0)
}
