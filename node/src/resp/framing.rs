//! Cuts a connection's input into commands.
//!
//! A walk over the length headers comes first: it goes on where the last read ended, so a large value that comes in
//! small pieces is never read twice, and it judges every length before anything is stored. It admits only what
//! Redis admits (an array of byte strings, or a line), so `redis_protocol` parses flat, complete frames only and
//! its recursion meets no hostile nesting.
//!
//! A request over our own limits is skipped as it arrives, without keeping it, and answered with an error; a
//! request that is no RESP ends the connection with the text of Redis.

use bytes::{Buf, BytesMut};
use redis_protocol::resp2::{decode::decode_range, types::RangeFrame};

use super::{args::Args, inline, number::parse_i64};

/// The longest line: a header or an inline command (`PROTO_INLINE_MAX_SIZE` of Redis).
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Above this a length can't be honest (`proto-max-bulk-len` of Redis), so the stream is not worth skipping.
const MAX_SKIPPED_BULK_BYTES: i64 = 512 * 1024 * 1024;
/// The end of a line or a byte string.
const CRLF_BYTES: usize = 2;

/// What a request may measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// One byte string.
    pub(super) bulk_bytes: usize,
    /// A whole request.
    pub(super) request_bytes: usize,
    /// Words of a request.
    pub(super) words: usize,
}

/// One request.
#[derive(Debug)]
pub(super) enum Frame {
    /// To be carried out.
    Command(Args),
    /// Skipped; to be answered with an error.
    TooLarge(TooLarge),
}

/// Why a request was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// A byte string of so many bytes.
    Bulk(usize),
    /// The whole of it.
    Request,
}

/// Input that is not RESP; the connection ends with this text behind `ERR Protocol error: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("invalid multibulk length")]
    MultibulkLength,
    #[error("invalid bulk length")]
    BulkLength,
    #[error("too big mbulk count string")]
    MultibulkLine,
    #[error("too big bulk count string")]
    BulkLine,
    #[error("too big inline request")]
    InlineLine,
    #[error("unbalanced quotes in request")]
    Quotes,
    #[error("expected '$', got '{}'", char::from(*.0))]
    NotABulk(u8),
}

/// Where the walk stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a request.
    Start,
    /// Before a `$length` line; so many words are missing.
    Header { words: usize },
    /// In a byte string: so many bytes of it, its CRLF included, are still to come.
    Body { words: usize, bytes: usize },
}

/// The walk over one connection's input.
#[derive(Debug)]
pub(super) struct Decoder {
    limits: Limits,
    state: State,
    /// How far the walk is in the buffer, which begins with the request.
    walked: usize,
    /// How far behind `walked` the end of the current line was looked for.
    searched: usize,
    /// The request is thrown away as it comes.
    skipping: Option<TooLarge>,
}

impl Decoder {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: State::Start, walked: 0, searched: 0, skipping: None }
    }

    /// Takes the next whole request out of `input`; `None` when more must be read.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        loop {
            let whole = match self.state {
                State::Start => match input.first() {
                    None => return Ok(None),
                    Some(b'*') => self.multibulk_header(input)?,
                    Some(_) => match self.inline(input)? {
                        Line::Missing => return Ok(None),
                        Line::Blank => Some(false),
                        Line::Command(args) => return Ok(Some(Frame::Command(args))),
                    },
                },
                State::Header { words } => self.bulk_header(input, words)?,
                State::Body { words, bytes } => self.body(input, words, bytes),
            };
            match whole {
                None => return Ok(None),
                Some(false) => {}
                Some(true) => return self.finish(input).map(Some),
            }
        }
    }

    /// Whether the input ends inside a request.
    pub(super) fn is_amid_request(&self, input: &BytesMut) -> bool {
        !input.is_empty() || !matches!(self.state, State::Start)
    }

    /// Steps answer `None` for "more input", else whether the request is complete.
    fn multibulk_header(&mut self, input: &mut BytesMut) -> Result<Option<bool>, ProtocolError> {
        let Some(line) = self.find_line_end(input, ProtocolError::MultibulkLine)? else { return Ok(None) };
        let words = parse_header(&input[1..], line - 1).ok_or(ProtocolError::MultibulkLength)?;
        if words > i64::try_from(self.limits.words).unwrap_or(i64::MAX) {
            return Err(ProtocolError::MultibulkLength);
        }
        match usize::try_from(words) {
            // An empty or negative count is no request and gets no answer.
            Err(_) | Ok(0) => {
                input.advance(line + CRLF_BYTES);
                self.restart();
            }
            Ok(words) => {
                self.walked = line + CRLF_BYTES;
                self.state = State::Header { words };
            }
        }
        Ok(Some(false))
    }

    fn bulk_header(&mut self, input: &mut BytesMut, words: usize) -> Result<Option<bool>, ProtocolError> {
        let Some(line) = self.find_line_end(input, ProtocolError::BulkLine)? else { return Ok(None) };
        let header = &input[self.walked..];
        if header[0] != b'$' {
            return Err(ProtocolError::NotABulk(header[0]));
        }
        let length = parse_header(&header[1..], line - 1).ok_or(ProtocolError::BulkLength)?;
        if length > MAX_SKIPPED_BULK_BYTES {
            return Err(ProtocolError::BulkLength);
        }
        let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
        self.walked += line + CRLF_BYTES;
        self.judge(length);
        self.state = State::Body { words, bytes: length + CRLF_BYTES };
        Ok(Some(false))
    }

    /// Decides from a header alone whether the request is kept.
    fn judge(&mut self, length: usize) {
        let too_large = if length > self.limits.bulk_bytes {
            TooLarge::Bulk(length)
        } else if self.walked + length > self.limits.request_bytes {
            TooLarge::Request
        } else {
            return;
        };
        self.skipping.get_or_insert(too_large);
    }

    fn body(&mut self, input: &mut BytesMut, words: usize, bytes: usize) -> Option<bool> {
        let here = bytes.min(input.len() - self.walked);
        self.walked += here;
        if self.skipping.is_some() {
            input.advance(self.walked);
            self.walked = 0;
        }
        if here < bytes {
            self.state = State::Body { words, bytes: bytes - here };
            return None;
        }
        self.state = State::Header { words: words - 1 };
        Some(words == 1)
    }

    /// Takes a request whose last byte was walked over.
    fn finish(&mut self, input: &mut BytesMut) -> Result<Frame, ProtocolError> {
        let frame = input.split_to(self.walked).freeze();
        let skipped = self.skipping;
        self.restart();
        if let Some(too_large) = skipped {
            return Ok(Frame::TooLarge(too_large));
        }
        let words = match decode_range(&frame) {
            Ok(Some((RangeFrame::Array(words), _))) => words,
            _ => return Err(ProtocolError::MultibulkLength),
        };
        Args::new(frame, words).map(Frame::Command).ok_or(ProtocolError::MultibulkLength)
    }

    fn inline(&mut self, input: &mut BytesMut) -> Result<Line, ProtocolError> {
        let Some(end) = find(b'\n', &input[self.searched..]) else {
            if input.len() > MAX_LINE_BYTES {
                return Err(ProtocolError::InlineLine);
            }
            self.searched = input.len();
            return Ok(Line::Missing);
        };
        let line = input.split_to(self.searched + end + 1);
        self.restart();
        let text = &line[..line.len() - 1];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        match inline::split(text) {
            Ok(Some(args)) => Ok(Line::Command(args)),
            Ok(None) => Ok(Line::Blank),
            Err(inline::UnbalancedQuotes) => Err(ProtocolError::Quotes),
        }
    }

    /// The length of the line at `walked` without its CRLF, once both bytes of that are here.
    fn find_line_end(&mut self, input: &BytesMut, too_long: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let rest = &input[self.walked..];
        let Some(end) = find(b'\r', &rest[self.searched..]).map(|end| end + self.searched) else {
            self.searched = rest.len();
            return if rest.len() > MAX_LINE_BYTES { Err(too_long) } else { Ok(None) };
        };
        if rest.len() < end + CRLF_BYTES {
            self.searched = end;
            return Ok(None);
        }
        self.searched = 0;
        Ok(Some(end))
    }

    fn restart(&mut self) {
        self.state = State::Start;
        self.walked = 0;
        self.searched = 0;
        self.skipping = None;
    }
}

/// What an inline request came to.
enum Line {
    Missing,
    Blank,
    Command(Args),
}

/// The number in a header of `digits` bytes; `None` unless it is one and CRLF follows.
fn parse_header(rest: &[u8], digits: usize) -> Option<i64> {
    if rest.get(digits + 1) != Some(&b'\n') {
        return None;
    }
    parse_i64(&rest[..digits])
}

fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|candidate| *candidate == byte)
}

#[cfg(test)]
mod tests;
