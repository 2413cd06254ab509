//! A worker's way to the disk: its turns become durable on a thread of their own, in order, while the worker goes on
//! (PROTOCOL 20).
//!
//! What the thread has to do is bounded by the core, which holds back what is not synced yet. Turns that come while a
//! sync is under way share the next one. After a failure nothing is written any more and every worker hears of it.

use std::{
    collections::BTreeMap,
    io, mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::mailbox::{Mail, Mailbox};
use crate::{
    cluster::map::ClusterMap,
    error::chain,
    machine::store::EntryStore,
    multiraft::node::{CheckpointPiece, Lanes, PersistBatch, Piece, Restart, lane_of},
    storage::{
        CheckpointManager, LogStore, StoreError,
        checkpoints::{BackgroundWriter, CheckpointId, CheckpointSink, Report},
    },
    types::{GroupId, LogIndex, ReplicaId},
};

/// Writes of several turns that share one sync: enough for any, and no batch grows beyond all bounds.
const SHARED_WRITES: usize = 4_096;

/// What a runtime with a disk is given.
pub struct Disk<S> {
    /// One for each worker.
    pub logs: Vec<Box<dyn LogStore>>,
    /// Where checkpoints go.
    pub checkpoints: CheckpointManager,
    /// What the disk has of this life.
    pub restart: Restart<S>,
}

/// What the disk's threads have done so far, and whether the disk has failed.
#[derive(Debug, Default)]
pub struct DiskBoard {
    syncs: AtomicU64,
    turns: AtomicU64,
    sync_micros: AtomicU64,
    checkpoints: AtomicU64,
    checkpoint_bytes: AtomicU64,
    failure: OnceLock<String>,
}

/// What was done, as of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Synced writes of logs.
    pub syncs: u64,
    /// Turns that they have made durable.
    pub turns: u64,
    /// How long they took in sum.
    pub sync_time: Duration,
    /// Checkpoints of this node's own that were published.
    pub checkpoints: u64,
    /// Their bytes.
    pub checkpoint_bytes: u64,
}

impl DiskBoard {
    /// What was done until now.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskCounts {
            syncs: read(&self.syncs),
            turns: read(&self.turns),
            sync_time: Duration::from_micros(read(&self.sync_micros)),
            checkpoints: read(&self.checkpoints),
            checkpoint_bytes: read(&self.checkpoint_bytes),
        }
    }

    /// Why nothing is written any more; `None` while all is well.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// Who is told what becomes of writes.
#[derive(Clone)]
pub(super) struct Listeners {
    pub(super) mailboxes: Arc<[Mailbox]>,
    pub(super) board: Arc<DiskBoard>,
}

impl Listeners {
    /// The disk can't be trusted any more: every worker's replicas stop.
    pub(super) fn fail(&self, reason: &str) {
        // Only the first failure tells why.
        let _ = self.board.failure.set(reason.to_owned());
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::PersistFailed { reason: reason.to_owned() }));
    }
}

/// Starts the thread that writes the checkpoints of all workers.
pub(super) fn checkpoint_writer(manager: CheckpointManager, tell: Listeners) -> io::Result<Arc<BackgroundWriter>> {
    let report = move |Report { id, result }: Report| {
        let CheckpointId { group, replica, index } = id;
        let mailbox = &tell.mailboxes[lane_of(group) as usize % tell.mailboxes.len()];
        match result {
            Ok(published) => {
                tell.board.checkpoints.fetch_add(1, Ordering::Relaxed);
                tell.board.checkpoint_bytes.fetch_add(published.bytes, Ordering::Relaxed);
                mailbox.send(Mail::Checkpointed { group, replica, index });
            }
            Err(error) if error.is_fatal() => tell.fail(&chain(&error)),
            Err(error) => {
                tracing::error!(%id, error = chain(&error), "a checkpoint was not written; it is tried again later");
                mailbox.send(Mail::CheckpointFailed { group, replica, index });
            }
        }
    };
    Ok(Arc::new(BackgroundWriter::start(manager, report)?))
}

/// One worker's thread, and the checkpoints that it has begun.
pub(super) struct Journal {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
    checkpoints: Arc<BackgroundWriter>,
    sinks: BTreeMap<(GroupId, ReplicaId), CheckpointSink>,
    tell: Listeners,
}

enum Job {
    Write(PersistBatch),
    /// Behind the writes that it relies on (PROTOCOL 17).
    Publish(CheckpointSink),
}

impl Journal {
    pub(super) fn start(
        worker: u32,
        store: Box<dyn LogStore>,
        checkpoints: Arc<BackgroundWriter>,
        tell: Listeners,
    ) -> io::Result<Self> {
        let (jobs, inbox) = unbounded();
        let writer = Writer { worker, store, checkpoints: checkpoints.clone(), tell: tell.clone() };
        let thread = std::thread::Builder::new().name(format!("log-{worker}")).spawn(move || writer.run(&inbox))?;
        Ok(Self { jobs, thread, checkpoints, sinks: BTreeMap::new(), tell })
    }

    /// Makes a turn durable; then the worker gets [`Mail::Persisted`].
    pub(super) fn persist(&mut self, batch: PersistBatch) {
        for destroyed in &batch.destroyed {
            self.sinks.remove(destroyed);
        }
        self.job(Job::Write(batch));
    }

    /// Takes the next part of a checkpoint, behind the writes of its turn.
    pub(super) fn checkpoint(&mut self, piece: CheckpointPiece) {
        let CheckpointPiece { group, replica, point, piece } = piece;
        let id = CheckpointId { group, replica, index: LogIndex(point.index) };
        match piece {
            Piece::Begin(bytes) => {
                let sink = self.checkpoints.begin(id);
                sink.write(bytes);
                self.sinks.insert((group, replica), sink);
            }
            Piece::Block(bytes) => {
                if let Some(sink) = self.sinks.get(&(group, replica)) {
                    sink.write(bytes);
                }
            }
            Piece::End(bytes) => {
                if let Some(sink) = self.sinks.remove(&(group, replica)) {
                    sink.write(bytes);
                    self.job(Job::Publish(sink));
                }
            }
            Piece::Abandon => drop(self.sinks.remove(&(group, replica))),
        }
    }

    /// Whether a capture should go on now. All sinks feed one queue.
    pub(super) fn has_room(&self) -> bool {
        self.sinks.values().next().is_none_or(CheckpointSink::has_room)
    }

    /// Ends when everything that was handed over is done, or can't be.
    pub(super) fn close(self) {
        let Self { jobs, thread, checkpoints: _, sinks, tell: _ } = self;
        drop((jobs, sinks));
        if thread.join().is_err() {
            tracing::error!("a thread that writes logs had panicked");
        }
    }

    fn job(&self, job: Job) {
        // The thread reads until this end is closed, unless it has panicked.
        if self.jobs.send(job).is_err() {
            self.tell.fail("the thread that writes the log has ended");
        }
    }
}

/// The thread's own.
struct Writer {
    worker: u32,
    store: Box<dyn LogStore>,
    checkpoints: Arc<BackgroundWriter>,
    tell: Listeners,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Job>) {
        let mut ahead = None;
        while let Some(job) = ahead.take().or_else(|| inbox.recv().ok()) {
            match job {
                Job::Publish(sink) => sink.publish(),
                Job::Write(first) => {
                    let (batch, turns, next) = gather(first, inbox);
                    ahead = next;
                    if let Err(error) = self.write(batch, turns) {
                        self.tell.fail(&chain(&error));
                        // Nothing that follows is written or published.
                        return inbox.iter().for_each(drop);
                    }
                }
            }
        }
    }

    fn write(&mut self, batch: PersistBatch, turns: u64) -> Result<(), StoreError> {
        let PersistBatch { number, destroyed, writes } = batch;
        let begun = Instant::now();
        self.store.commit(&destroyed, &writes)?;
        self.tell.board.syncs.fetch_add(1, Ordering::Relaxed);
        self.tell.board.turns.fetch_add(turns, Ordering::Relaxed);
        self.tell.board.sync_micros.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.tell.mailboxes[self.worker as usize].send(Mail::Persisted { number });
        for (group, replica) in destroyed {
            self.checkpoints.forget(group, replica);
        }
        Ok(())
    }
}

/// A turn and those that have come meanwhile, as one batch; how many they are, and what comes after them.
fn gather(first: PersistBatch, inbox: &Receiver<Job>) -> (PersistBatch, u64, Option<Job>) {
    let (mut batch, mut turns) = (first, 1);
    while batch.writes.len() < SHARED_WRITES {
        match inbox.try_recv() {
            Ok(Job::Write(PersistBatch { number, destroyed, writes })) => {
                batch.number = number;
                batch.destroyed.extend(destroyed);
                batch.writes.extend(writes);
                turns += 1;
            }
            Ok(job) => return (batch, turns, Some(job)),
            Err(_) => break,
        }
    }
    (batch, turns, None)
}

/// What a worker begins with, and its way to the disk if there is one.
pub(super) struct Part<S> {
    pub(super) restart: Restart<S>,
    pub(super) journal: Option<Journal>,
}

/// One part for each worker.
pub(super) fn parts<S: EntryStore>(
    disk: Option<Disk<S>>,
    workers: u32,
    map: &Arc<ClusterMap>,
    tell: Listeners,
) -> io::Result<Vec<Part<S>>> {
    let Some(Disk { logs, checkpoints, restart }) = disk else {
        return Ok((0..workers).map(|_| Part { restart: Restart::fresh(map.clone()), journal: None }).collect());
    };
    let Restart { birth, mut groups, held } = restart;
    let checkpoints = checkpoint_writer(checkpoints, tell.clone())?;
    let part = |(worker, store)| {
        let lanes = Lanes { worker, workers };
        let (own, rest) = mem::take(&mut groups).into_iter().partition(|(group, _)| lanes.owns(*group));
        groups = rest;
        let journal = Journal::start(worker, store, checkpoints.clone(), tell.clone())?;
        let restart = Restart { birth: birth.clone(), groups: own, held: held.clone() };
        Ok(Part { restart, journal: Some(journal) })
    };
    (0..workers).zip(logs).map(part).collect()
}
