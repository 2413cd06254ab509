//! One command as it came: its words, as ranges of the input buffer.

use bytes::Bytes;
use redis_protocol::resp2::types::RangeFrame;

use super::{errors, number::parse_i64, reply::Reply};
use crate::types::{Key, MAX_KEY_BYTES};

/// The words of a command, its name first. Never empty.
///
/// Words are handed out as slices of the connection's input buffer: nothing is copied, and whoever keeps one for
/// long should copy it, since it keeps the whole buffer alive.
#[derive(Debug)]
pub(super) struct Args {
    frame: Bytes,
    words: Vec<RangeFrame>,
}

impl Args {
    /// Words that lie in `frame`; `None` unless there is one and all are byte strings.
    pub(super) fn new(frame: Bytes, words: Vec<RangeFrame>) -> Option<Self> {
        let sound = |word: &RangeFrame| match word {
            RangeFrame::BulkString((start, end)) => start <= end && *end <= frame.len(),
            RangeFrame::SimpleString(_)
            | RangeFrame::Error(_)
            | RangeFrame::Integer(_)
            | RangeFrame::Array(_)
            | RangeFrame::Null => false,
        };
        let all_sound = !words.is_empty() && words.iter().all(sound);
        all_sound.then_some(Self { frame, words })
    }

    /// The same words in memory of their own, for whoever keeps them.
    pub(super) fn detached(&self) -> Self {
        Self { frame: Bytes::copy_from_slice(&self.frame), words: self.words.clone() }
    }

    /// How many words there are, the name included.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// How many bytes of input the command took.
    pub(super) fn wire_bytes(&self) -> usize {
        self.frame.len()
    }

    /// A word; empty when there are not so many.
    pub(super) fn word(&self, index: usize) -> &[u8] {
        let (start, end) = self.range(index);
        &self.frame[start..end]
    }

    /// A word as a slice of the input that lives on its own.
    pub(super) fn bytes(&self, index: usize) -> Bytes {
        let (start, end) = self.range(index);
        self.frame.slice(start..end)
    }

    /// A word that is a key.
    pub(super) fn key(&self, index: usize) -> Result<Key, Reply> {
        let key = self.bytes(index);
        match key.len() {
            0 => Err(Reply::error("ERR key must not be empty")),
            length if length > MAX_KEY_BYTES => Err(errors::key_too_long(length)),
            _ => Ok(key),
        }
    }

    /// A word that is a whole number.
    pub(super) fn integer(&self, index: usize) -> Result<i64, Reply> {
        parse_i64(self.word(index)).ok_or_else(|| Reply::error(errors::NOT_AN_INTEGER))
    }

    /// A word that is the number of a database: there is only 0.
    pub(super) fn database(&self, index: usize) -> Result<(), Reply> {
        match i32::try_from(self.integer(index)?) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Reply::error("ERR DB index is out of range")),
            Err(_) => Err(Reply::error(errors::NOT_AN_INT)),
        }
    }

    /// Whether a word is this one, in whatever case.
    pub(super) fn is(&self, index: usize, word: &str) -> bool {
        self.word(index).eq_ignore_ascii_case(word.as_bytes())
    }

    fn range(&self, index: usize) -> (usize, usize) {
        match self.words.get(index) {
            Some(RangeFrame::BulkString(range)) => *range,
            _ => (0, 0),
        }
    }
}

#[cfg(test)]
impl Args {
    /// The words as owned lists, to compare.
    pub(super) fn to_words(&self) -> Vec<Vec<u8>> {
        (0..self.len()).map(|index| self.word(index).to_vec()).collect()
    }
}
