//! One connection: pipelines out, replies in, each as the bytes that came.

use std::net::SocketAddr;

use crema_tests::wire::{self, Raw};

use crate::generator::Command;

pub(crate) struct Session {
    raw: Raw,
    input: Vec<u8>,
}

impl Session {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self { raw: Raw::open(address), input: Vec::new() }
    }

    /// Sends commands and returns the bytes of their replies.
    pub(crate) fn ask(&mut self, commands: &[Command]) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        for command in commands {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            bytes.extend(wire::command(&words));
        }
        self.raw.send(&bytes).expect("the commands are taken");
        (0..commands.len()).map(|_| self.reply()).collect()
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(length) = reply_length(&self.input) {
                return self.input.drain(..length).collect();
            }
            self.raw.read_more(&mut self.input);
        }
    }
}

/// How many bytes the first reply takes; `None` while it is not whole.
fn reply_length(input: &[u8]) -> Option<usize> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&input[1..end - 2]).ok()?.parse::<i64>().ok();
    let items =
        |count: i64| (0..count.max(0)).try_fold(end, |at, _| reply_length(&input[at..]).map(|length| at + length));
    match input[0] {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Some(end),
        b'$' | b'=' => match number()? {
            length if length < 0 => Some(end),
            length => Some(end + length as usize + 2).filter(|whole| *whole <= input.len()),
        },
        b'*' | b'~' | b'>' => items(number()?),
        b'%' => items(number()? * 2),
        kind => panic!("no reply begins with {:?}: {:?}", char::from(kind), input.escape_ascii().to_string()),
    }
}

/// The items of a list; none of what is no list.
pub(crate) fn items(reply: &[u8]) -> Vec<&[u8]> {
    let Some(header) = reply.windows(2).position(|pair| pair == b"\r\n") else { return Vec::new() };
    let mut rest = if reply[0] == b'*' { &reply[header + 2..] } else { &[] };
    let mut items = Vec::new();
    while let Some(length) = (!rest.is_empty()).then(|| reply_length(rest)).flatten() {
        let (item, behind) = rest.split_at(length);
        items.push(item);
        rest = behind;
    }
    items
}
