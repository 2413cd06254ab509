//! Inline commands: a line of words, as people type in telnet and `redis-benchmark` sends in `PING_INLINE`.
//!
//! The quoting rules are those of Redis: `"…"` with `\n \r \t \b \a \xHH` and any other escaped byte as itself,
//! `'…'` with `\'` only; a closing quote ends its word, so a space or the end must follow.

use bytes::BytesMut;
use redis_protocol::resp2::types::RangeFrame;

use super::args::Args;

/// Quotes that don't close, or are followed by a letter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnbalancedQuotes;

/// The words of a line (without its end); `None` for a line without words.
pub(super) fn split(line: &[u8]) -> Result<Option<Args>, UnbalancedQuotes> {
    let mut words = Words { rest: line, text: BytesMut::with_capacity(line.len()), ranges: Vec::new() };
    while words.next_word()? {}
    let Words { rest: _, text, ranges } = words;
    Ok(Args::new(text.freeze(), ranges))
}

struct Words<'a> {
    rest: &'a [u8],
    text: BytesMut,
    ranges: Vec<RangeFrame>,
}

impl Words<'_> {
    fn next_word(&mut self) -> Result<bool, UnbalancedQuotes> {
        self.rest = self.rest.trim_ascii_start();
        if self.rest.is_empty() {
            return Ok(false);
        }
        let start = self.text.len();
        // As in Redis, a quote may open in the middle of a word, and its end is the end of the word.
        loop {
            match self.rest {
                [] => break,
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    self.double_quoted()?;
                    break;
                }
                [b'\'', rest @ ..] => {
                    self.rest = rest;
                    self.single_quoted()?;
                    break;
                }
                [byte, rest @ ..] => {
                    self.rest = rest;
                    if is_space(*byte) {
                        break;
                    }
                    self.text.extend_from_slice(&[*byte]);
                }
            }
        }
        self.ranges.push(RangeFrame::BulkString((start, self.text.len())));
        Ok(true)
    }

    fn double_quoted(&mut self) -> Result<(), UnbalancedQuotes> {
        loop {
            let (byte, rest) = match self.rest {
                [] => return Err(UnbalancedQuotes),
                [b'"', rest @ ..] => return self.close(rest),
                [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    (hex(*high) << 4 | hex(*low), rest)
                }
                [b'\\', escaped, rest @ ..] => (unescape(*escaped), rest),
                [byte, rest @ ..] => (*byte, rest),
            };
            self.text.extend_from_slice(&[byte]);
            self.rest = rest;
        }
    }

    fn single_quoted(&mut self) -> Result<(), UnbalancedQuotes> {
        loop {
            let (byte, rest) = match self.rest {
                [] => return Err(UnbalancedQuotes),
                [b'\'', rest @ ..] => return self.close(rest),
                [b'\\', b'\'', rest @ ..] => (b'\'', rest),
                [byte, rest @ ..] => (*byte, rest),
            };
            self.text.extend_from_slice(&[byte]);
            self.rest = rest;
        }
    }
}

impl<'a> Words<'a> {
    fn close(&mut self, rest: &'a [u8]) -> Result<(), UnbalancedQuotes> {
        self.rest = rest;
        match rest.first() {
            Some(byte) if !is_space(*byte) => Err(UnbalancedQuotes),
            _ => Ok(()),
        }
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// The value of a hexadecimal digit; only called for one.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
        Ok(split(line.as_bytes())?.map_or(Vec::new(), |args| args.to_words()))
    }

    #[test]
    fn words_and_quotes() {
        assert_eq!(words("  set  a\tb "), Ok(vec![b"set".to_vec(), b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(
            words(r#"a "b\x41\n\"" '' 'it\'s\n'"#),
            Ok(vec![b"a".to_vec(), b"bA\n\"".to_vec(), b"".to_vec(), b"it's\\n".to_vec()])
        );
        assert_eq!(words(r#"x"y z""#), Ok(vec![b"xy z".to_vec()]));
        assert_eq!(words("   "), Ok(vec![]));
    }

    #[test]
    fn unbalanced() {
        for line in ["\"abc", "'abc", "\"a\"b", "'a'b", "\"a\\", "\"a\\x4"] {
            assert_eq!(words(line), Err(UnbalancedQuotes), "{line}");
        }
    }
}
