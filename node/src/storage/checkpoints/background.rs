//! Writes checkpoints of all shards on one thread of its own, no faster than allowed, while the shards go on.
//!
//! Workers hand pieces over and never wait: what is on the way to the disk is bounded by pausing captures
//! ([`CheckpointSink::has_room`]). One thread, first in, first out: a replica that is forgotten stays so.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{CheckpointError, CheckpointId, CheckpointManager, Draft, Published, pace::Pace};
use crate::types::{GroupId, ReplicaId};

/// Written in one go: small enough for an even pace.
const SLICE_BYTES: usize = 256 << 10;
/// A stop is noticed after so long at a low rate.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// What became of a checkpoint: told exactly once, unless it was abandoned or the writer has stopped.
#[derive(Debug)]
pub struct Report {
    /// Which.
    pub id: CheckpointId,
    /// How it ended. The error may be [fatal](CheckpointError::is_fatal) for the node.
    pub result: Result<Published, CheckpointError>,
}

/// The thread that writes. Dropped, it stops at once: what is unfinished is removed.
#[derive(Debug)]
pub struct BackgroundWriter {
    queue: Queue,
    next_job: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

/// One checkpoint on its way to the writer. Dropped unfinished, the checkpoint is abandoned.
#[derive(Debug)]
pub struct CheckpointSink {
    queue: Queue,
    job: u64,
    finished: bool,
}

/// The way to the thread. The channel has no bound of its own: `waiting_bytes` has.
#[derive(Clone, Debug)]
struct Queue {
    tasks: Sender<Task>,
    waiting_bytes: Arc<AtomicU64>,
    bound_bytes: u64,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Task {
    Begin { job: u64, id: CheckpointId },
    Piece { job: u64, bytes: Bytes },
    Publish { job: u64 },
    Abandon { job: u64 },
    Forget { group: GroupId, replica: ReplicaId },
    Stop,
}

impl BackgroundWriter {
    /// Starts the thread; `report` is called on it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(manager: CheckpointManager, report: impl FnMut(Report) + Send + 'static) -> io::Result<Self> {
        let (tasks, inbox) = unbounded();
        let queue = Queue {
            tasks,
            waiting_bytes: Arc::default(),
            bound_bytes: manager.config().queue_bytes,
            stop: Arc::default(),
        };
        let pace = Pace::new(manager.config().bytes_per_s);
        let (waiting_bytes, stop) = (Arc::clone(&queue.waiting_bytes), Arc::clone(&queue.stop));
        let report = Box::new(report);
        let writer = Writer { manager, report, drafts: BTreeMap::new(), pace, started: Instant::now(), stop };
        let thread =
            thread::Builder::new().name("checkpoints".into()).spawn(move || writer.run(&inbox, &waiting_bytes))?;
        Ok(Self { queue, next_job: AtomicU64::new(0), thread: Some(thread) })
    }

    /// Begins a checkpoint. Whether its file could be created shows in the report.
    #[must_use]
    pub fn begin(&self, id: CheckpointId) -> CheckpointSink {
        let job = self.next_job.fetch_add(1, Ordering::Relaxed);
        self.queue.send(Task::Begin { job, id });
        CheckpointSink { queue: self.queue.clone(), job, finished: false }
    }

    /// Removes every file of a destroyed replica, behind what was handed over before. What can't be removed stays
    /// until the next start.
    pub fn forget(&self, group: GroupId, replica: ReplicaId) {
        self.queue.send(Task::Forget { group, replica });
    }
}

impl Drop for BackgroundWriter {
    fn drop(&mut self) {
        self.queue.stop.store(true, Ordering::SeqCst);
        self.queue.send(Task::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes checkpoints had panicked");
        }
    }
}

impl CheckpointSink {
    /// Whether the next piece should be made now. While not, a capture is better paused: it then holds only what
    /// changes meanwhile, instead of all that is left of the shard.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.waiting_bytes.load(Ordering::Relaxed) < self.queue.bound_bytes
    }

    /// Hands the next piece over. It is always taken; asked before each piece, [`has_room`](Self::has_room) bounds what
    /// waits to the configured bytes and one piece of each capture.
    pub fn write(&self, piece: Bytes) {
        self.queue.waiting_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.queue.send(Task::Piece { job: self.job, bytes: piece });
    }

    /// All pieces were handed over, the footer last, and the log is synced up to the checkpoint's index: it is
    /// published and reported.
    pub fn publish(mut self) {
        self.finished = true;
        self.queue.send(Task::Publish { job: self.job });
    }
}

impl Drop for CheckpointSink {
    fn drop(&mut self) {
        if !self.finished {
            self.queue.send(Task::Abandon { job: self.job });
        }
    }
}

impl Queue {
    /// A writer that has stopped takes nothing more, and nobody waits for it then.
    fn send(&self, task: Task) {
        let _ = self.tasks.send(task);
    }
}

/// The thread's own.
struct Writer {
    manager: CheckpointManager,
    report: Box<dyn FnMut(Report) + Send>,
    /// Those under way. A job that has failed is no longer among them, and the rest of its pieces are dropped.
    drafts: BTreeMap<u64, Draft>,
    pace: Pace,
    started: Instant,
    stop: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Task>, waiting_bytes: &AtomicU64) {
        while let Ok(task) = inbox.recv() {
            if self.stopped() {
                return;
            }
            match task {
                Task::Begin { job, id } => self.begin(job, id),
                Task::Piece { job, bytes } => {
                    self.write(job, &bytes);
                    waiting_bytes.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                }
                Task::Publish { job } => self.publish(job),
                Task::Abandon { job } => drop(self.drafts.remove(&job)),
                Task::Forget { group, replica } => self.forget(group, replica),
                Task::Stop => return,
            }
        }
    }

    fn begin(&mut self, job: u64, id: CheckpointId) {
        match self.manager.begin(id) {
            Ok(draft) => drop(self.drafts.insert(job, draft)),
            Err(error) => (self.report)(Report { id, result: Err(error) }),
        }
    }

    fn write(&mut self, job: u64, bytes: &[u8]) {
        for slice in bytes.chunks(SLICE_BYTES) {
            if !self.drafts.contains_key(&job) || !self.wait_for_turn(slice.len()) {
                return;
            }
            let Some(draft) = self.drafts.get_mut(&job) else { return };
            if let Err(error) = draft.write(slice) {
                let id = draft.id();
                self.drafts.remove(&job);
                return (self.report)(Report { id, result: Err(error) });
            }
        }
    }

    fn publish(&mut self, job: u64) {
        let Some(draft) = self.drafts.remove(&job) else { return };
        let id = draft.id();
        (self.report)(Report { id, result: draft.publish() });
    }

    fn forget(&self, group: GroupId, replica: ReplicaId) {
        if let Err(error) = self.manager.forget(group, replica) {
            tracing::warn!(%group, %replica, %error, "checkpoints of a destroyed replica could not be removed");
        }
    }

    /// Sleeps as the pace asks; false when the writer is to stop.
    fn wait_for_turn(&mut self, bytes: usize) -> bool {
        let now = self.started.elapsed();
        let until = now + self.pace.delay(now, bytes);
        while !self.stopped() {
            match until.checked_sub(self.started.elapsed()) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(LONGEST_SLEEP)),
                Some(_) | None => return true,
            }
        }
        false
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
