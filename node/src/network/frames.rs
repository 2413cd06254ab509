//! Frames and messages: several frames share a message under load, and an oversized frame becomes several (pure).

use crema_api::v1::Frame;
use prost::Message;

use crate::network::transport::MAX_MESSAGE_BYTES;

/// The longest frame, in bytes; the rest of the message limit is for framing. A 12 MiB entry fits with room to spare.
pub const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES - (64 << 10);

/// Frames are packed into one message up to about so many bytes.
pub(super) const PACK_BYTES: usize = 1 << 20;

/// What a frame costs beyond its own bytes when it is packed: tag and length.
pub(super) const PACK_OVERHEAD_BYTES: usize = 8;

/// A frame that fits into a message, and its encoded length.
#[derive(Debug)]
pub(super) struct Sized {
    pub(super) frame: Frame,
    pub(super) bytes: usize,
}

/// Cuts a frame into pieces that fit; the frame comes back when a single message of it does not.
pub(super) fn fit(frame: Frame, limit: usize) -> Result<Vec<Sized>, Box<Frame>> {
    let bytes = frame.encoded_len();
    if bytes <= limit {
        return Ok(vec![Sized { frame, bytes }]);
    }
    let mut pieces = Pieces { limit, done: Vec::new(), open: Frame::default(), bytes: 0 };
    // The order of the fields is the order in which a receiver reads them.
    macro_rules! cut {
        ($($field:ident),*) => {
            if [$(frame.$field.iter().any(|item| item_bytes(item) > limit)),*].contains(&true) {
                return Err(Box::new(frame));
            }
            $(for item in frame.$field {
                pieces.make_room(item_bytes(&item));
                pieces.open.$field.push(item);
            })*
        };
    }
    cut!(raft, heartbeats, forwards, forward_replies, beats, sleeps, hashes, stamps, reports, gone, maps);
    pieces.close();
    Ok(pieces.done)
}

fn item_bytes(item: &impl Message) -> usize {
    item.encoded_len() + PACK_OVERHEAD_BYTES
}

struct Pieces {
    limit: usize,
    done: Vec<Sized>,
    open: Frame,
    bytes: usize,
}

impl Pieces {
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes > self.limit {
            self.close();
        }
        self.bytes += bytes;
    }

    fn close(&mut self) {
        let frame = std::mem::take(&mut self.open);
        let bytes = frame.encoded_len();
        self.bytes = 0;
        if bytes > 0 {
            self.done.push(Sized { frame, bytes });
        }
    }
}

/// The frames of a message in order; `Err` when it is nested deeper than a sender ever packs.
pub(super) fn unpack(mut message: Frame) -> Result<impl Iterator<Item = Frame>, String> {
    let more = std::mem::take(&mut message.more);
    if message.hello.is_some() || more.iter().any(|frame| frame.hello.is_some() || !frame.more.is_empty()) {
        return Err("a message holds frames within frames, or a second hello".to_owned());
    }
    Ok(std::iter::once(message).chain(more))
}

#[cfg(test)]
mod tests {
    use super::{Frame, fit, unpack};
    use crema_api::v1::{Forward, Heartbeat, Hello, RaftMessage};
    use prost::Message;

    fn frame(raft: &[usize], forwards: u64) -> Frame {
        let message = |(at, bytes): (usize, &usize)| RaftMessage {
            index: at as u64,
            context: vec![7; *bytes].into(),
            ..RaftMessage::default()
        };
        Frame {
            raft: raft.iter().enumerate().map(message).collect(),
            forwards: (0..forwards).map(|sequence| Forward { sequence, ..Forward::default() }).collect(),
            heartbeats: vec![Heartbeat::default()],
            ..Frame::default()
        }
    }

    #[test]
    fn a_small_frame_stays_whole() {
        let pieces = fit(frame(&[10, 20], 3), 1000).expect("fits");
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].frame, frame(&[10, 20], 3));
    }

    #[test]
    fn a_large_frame_is_cut_in_order_and_loses_nothing() {
        let whole = frame(&[400, 500, 100, 900], 20);
        let pieces = fit(whole.clone(), 1000).expect("each part fits");
        assert!(pieces.len() > 2);
        let mut joined = Frame::default();
        for piece in pieces {
            assert!(piece.bytes <= 1000 && piece.bytes == piece.frame.encoded_len());
            joined.merge(piece.frame.encode_to_vec().as_slice()).expect("protobuf joins by appending");
        }
        assert_eq!(joined, whole);
    }

    #[test]
    fn what_can_never_fit_comes_back_whole() {
        let whole = frame(&[10, 2000], 1);
        assert_eq!(fit(whole.clone(), 1000).expect_err("too large"), Box::new(whole));
    }

    #[test]
    fn frames_within_frames_are_refused() {
        let packed = Frame { more: vec![frame(&[1], 0)], ..frame(&[2], 0) };
        assert_eq!(unpack(packed.clone()).expect("sound").count(), 2);
        assert!(unpack(Frame { more: vec![packed], ..Frame::default() }).is_err());
        assert!(unpack(Frame { hello: Some(Hello::default()), ..Frame::default() }).is_err());
    }
}
