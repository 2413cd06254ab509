//! A reply, and its bytes in RESP2 and RESP3.

use bytes::{BufMut, Bytes, BytesMut};

use super::number::Decimal;

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Proto {
    /// Since 1.2; every connection begins with it.
    #[default]
    Resp2,
    /// Chosen by `HELLO 3`.
    Resp3,
}

impl Proto {
    /// The number that `HELLO` takes and shows.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A short text: `OK`, `PONG`.
    Simple(&'static str),
    /// An error, its prefix first; without line breaks.
    Error(Bytes),
    /// A number.
    Integer(i64),
    /// A byte string.
    Bulk(Bytes),
    /// No value.
    Null,
    /// No list.
    NullArray,
    /// A list.
    Array(Vec<Reply>),
    /// Pairs; a flat list in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// A list without order; a list in RESP2.
    Set(Vec<Reply>),
    /// Text for people; a byte string in RESP2.
    Text(Bytes),
}

impl Reply {
    /// `+OK`.
    pub(super) const OK: Self = Self::Simple("OK");

    /// An error with a fixed text.
    pub(super) fn error(text: &'static str) -> Self {
        Self::Error(Bytes::from_static(text.as_bytes()))
    }

    /// An error with a text made of foreign bytes: line breaks become spaces, but for those at
    /// its end, which go, as in Redis.
    pub(super) fn error_from(text: impl Into<Vec<u8>>) -> Self {
        let mut text = text.into();
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        text.truncate(end);
        for byte in &mut text {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        Self::Error(text.into())
    }

    /// A byte string with a fixed text.
    pub(super) fn bulk(text: &'static str) -> Self {
        Self::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// A number of things; what doesn't fit an `i64` is shown as its largest.
    pub(super) fn count(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// 1 or 0.
    pub(super) fn flag(yes: bool) -> Self {
        Self::Integer(i64::from(yes))
    }

    /// A byte string or nothing.
    pub(super) fn optional(value: Option<Bytes>) -> Self {
        value.map_or(Self::Null, Self::Bulk)
    }

    /// Whether it is an error.
    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// About how many bytes it is on the wire, never too few by more than its headers.
    pub(super) fn wire_bytes(&self) -> usize {
        const HEADER_BYTES: usize = 16;
        HEADER_BYTES
            + match self {
                Self::Simple(text) => text.len(),
                Self::Error(text) | Self::Bulk(text) | Self::Text(text) => text.len(),
                Self::Integer(_) | Self::Null | Self::NullArray => 0,
                Self::Array(items) | Self::Set(items) => items.iter().map(Self::wire_bytes).sum(),
                Self::Map(pairs) => pairs.iter().map(|(key, value)| key.wire_bytes() + value.wire_bytes()).sum(),
            }
    }

    /// Appends its bytes.
    pub(super) fn encode(&self, proto: Proto, out: &mut BytesMut) {
        match (self, proto) {
            (Self::Simple(text), _) => put_line(out, b'+', text.as_bytes()),
            (Self::Error(text), _) => put_line(out, b'-', text),
            (Self::Integer(number), _) => put_line(out, b':', Decimal::new(*number).as_bytes()),
            (Self::Bulk(bytes), _) | (Self::Text(bytes), Proto::Resp2) => put_bulk(out, bytes),
            (Self::Null | Self::NullArray, Proto::Resp3) => out.put_slice(b"_\r\n"),
            (Self::Null, Proto::Resp2) => out.put_slice(b"$-1\r\n"),
            (Self::NullArray, Proto::Resp2) => out.put_slice(b"*-1\r\n"),
            (Self::Array(items), _) | (Self::Set(items), Proto::Resp2) => put_items(out, b'*', items, proto),
            (Self::Set(items), Proto::Resp3) => put_items(out, b'~', items, proto),
            (Self::Map(pairs), Proto::Resp2) => put_pairs(out, b'*', pairs.len() * 2, pairs, proto),
            (Self::Map(pairs), Proto::Resp3) => put_pairs(out, b'%', pairs.len(), pairs, proto),
            (Self::Text(bytes), Proto::Resp3) => {
                put_header(out, b'=', bytes.len() + 4);
                out.put_slice(b"txt:");
                out.put_slice(bytes);
                out.put_slice(b"\r\n");
            }
        }
    }
}

/// Appends the header of a list, a map or a string.
pub(super) fn put_header(out: &mut BytesMut, kind: u8, length: usize) {
    put_line(out, kind, Decimal::new(i64::try_from(length).unwrap_or(i64::MAX)).as_bytes());
}

fn put_line(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.reserve(text.len() + 3);
    out.put_u8(kind);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn put_bulk(out: &mut BytesMut, bytes: &[u8]) {
    put_header(out, b'$', bytes.len());
    out.reserve(bytes.len() + 2);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

fn put_items(out: &mut BytesMut, kind: u8, items: &[Reply], proto: Proto) {
    put_header(out, kind, items.len());
    for item in items {
        item.encode(proto, out);
    }
}

fn put_pairs(out: &mut BytesMut, kind: u8, length: usize, pairs: &[(Reply, Reply)], proto: Proto) {
    put_header(out, kind, length);
    for (key, value) in pairs {
        key.encode(proto, out);
        value.encode(proto, out);
    }
}
