//! The queue of one session: plain threads push frames, the stream's task takes messages.

use crema_api::v1::Frame;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

use crate::network::{
    NetworkSettings, SendError, SendRefusal,
    frames::{MAX_FRAME_BYTES, PACK_BYTES, PACK_OVERHEAD_BYTES, Sized, fit},
};

/// A bounded queue that ends with its session: what is in it then is lost.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Sized>,
    bytes: usize,
    closed: bool,
}

impl Lane {
    /// Queues a frame, cut to fit.
    pub(super) fn push(&self, frame: Frame, settings: &NetworkSettings) -> Result<(), SendError> {
        let refuse = |reason, frame| Err(SendError { reason, frame });
        {
            // Before the cut: a full queue is no reason to measure the frame.
            let queue = self.queue.lock();
            if queue.closed {
                return refuse(SendRefusal::Down, Box::new(frame));
            }
            if queue.frames.len() >= settings.queue_frames {
                return refuse(SendRefusal::Full, Box::new(frame));
            }
        }
        let mut pieces = match fit(frame, MAX_FRAME_BYTES) {
            Ok(pieces) => pieces,
            Err(frame) => return refuse(SendRefusal::TooLarge, frame),
        };
        let bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
        let mut queue = self.queue.lock();
        let full = queue.bytes > 0 && queue.bytes + bytes > settings.queue_bytes;
        if full || queue.closed {
            let reason = if queue.closed { SendRefusal::Down } else { SendRefusal::Full };
            return refuse(reason, Box::new(join(pieces)));
        }
        queue.bytes += bytes;
        queue.frames.extend(pieces.drain(..));
        drop(queue);
        self.changed.notify_one();
        Ok(())
    }

    /// The next message: as many waiting frames as fit, in order. `None` once the session has ended.
    pub(super) async fn next_message(&self) -> Option<Frame> {
        loop {
            {
                let mut queue = self.queue.lock();
                if queue.closed {
                    return None;
                }
                if let Some(message) = queue.pack() {
                    return Some(message);
                }
            }
            self.changed.notified().await;
        }
    }

    pub(super) fn close(&self) {
        let dropped = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            queue.bytes = 0;
            std::mem::take(&mut queue.frames)
        };
        drop(dropped);
        self.changed.notify_one();
    }

    /// Frames and bytes that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.frames.len(), queue.bytes)
    }
}

impl Queue {
    fn pack(&mut self) -> Option<Frame> {
        let first = self.frames.pop_front()?;
        self.bytes -= first.bytes;
        let mut message = first.frame;
        let mut packed = first.bytes;
        while let Some(next) = self.frames.front() {
            let with_next = packed + next.bytes + PACK_OVERHEAD_BYTES;
            if with_next > PACK_BYTES {
                break;
            }
            packed = with_next;
            self.bytes -= next.bytes;
            message.more.extend(self.frames.pop_front().map(|sized| sized.frame));
        }
        Some(message)
    }
}

/// Puts the pieces of one frame together again, to give it back.
fn join(pieces: Vec<Sized>) -> Frame {
    let mut whole = Frame::default();
    for Sized { frame, .. } in pieces {
        let Frame {
            hello,
            raft,
            heartbeats,
            forwards,
            forward_replies,
            beats,
            sleeps,
            hashes,
            stamps,
            more,
            reports,
            gone,
            maps,
        } = frame;
        whole.hello = whole.hello.or(hello);
        whole.raft.extend(raft);
        whole.heartbeats.extend(heartbeats);
        whole.forwards.extend(forwards);
        whole.forward_replies.extend(forward_replies);
        whole.beats.extend(beats);
        whole.sleeps.extend(sleeps);
        whole.hashes.extend(hashes);
        whole.stamps.extend(stamps);
        whole.more.extend(more);
        whole.reports.extend(reports);
        whole.gone.extend(gone);
        whole.maps.extend(maps);
    }
    whole
}
