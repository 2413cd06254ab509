//! Snapshots on their way to a lagging replica: on a connection of their own, so that they never delay frames.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use crema_api::v1::{RaftMessage, SnapshotHead, SnapshotPart, SnapshotReceipt, snapshot_part::Part};
use futures::{Stream, stream};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::Streaming;

use crate::{
    error::chain,
    network::{
        NetworkSettings, PeerSink, Shared,
        peer::Peer,
        session::describe,
        transport::{client, endpoint},
    },
    types::NodeId,
};

/// The longest chunk, in bytes.
const CHUNK_BYTES: usize = 1 << 20;
/// Received bytes are accounted in units of this size.
const BUDGET_UNIT_BYTES: u64 = 64 << 10;

/// How a send ends: told exactly once, also when its task is dropped.
pub(super) struct Done(Option<DoneFn>);

type DoneFn = Box<dyn FnOnce(Result<(), String>) + Send>;

impl Done {
    pub(super) fn new(done: impl FnOnce(Result<(), String>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    pub(super) fn tell(mut self, result: Result<(), String>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err("the send was cancelled".to_owned()));
        }
    }
}

/// How many snapshots leave, and how many bytes of them arrive, at one time.
#[derive(Debug)]
pub(super) struct SnapshotBudget {
    sends: Semaphore,
    receive_units: Semaphore,
    receive_bytes: u64,
}

impl SnapshotBudget {
    pub(super) fn new(settings: &NetworkSettings) -> Self {
        let units = (settings.snapshot_receive_bytes / BUDGET_UNIT_BYTES).min(u64::from(u32::MAX) >> 3);
        Self {
            sends: Semaphore::new(settings.snapshot_sends.max(1)),
            receive_units: Semaphore::new(usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS)),
            receive_bytes: settings.snapshot_receive_bytes,
        }
    }

    fn reserve(&self, total_bytes: u64) -> Result<SemaphorePermit<'_>, String> {
        let limit = self.receive_bytes;
        let units = u32::try_from(total_bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX);
        self.receive_units.try_acquire_many(units).map_err(|_| {
            format!(
                "a snapshot of {total_bytes} bytes does not fit: {limit} bytes are allowed, others may be arriving"
            )
        })
    }
}

/// Spreads the bytes of all sends evenly over time.
#[derive(Debug)]
pub(super) struct Pace {
    /// 0 is no limit.
    bytes_per_s: AtomicU64,
    free_at: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_s: Option<u64>) -> Self {
        let pace = Self { bytes_per_s: AtomicU64::new(0), free_at: Mutex::new(Instant::now()) };
        pace.set(bytes_per_s);
        pace
    }

    /// Holds for every chunk from now on, of the sends under way too.
    pub(super) fn set(&self, bytes_per_s: Option<u64>) {
        self.bytes_per_s.store(bytes_per_s.map_or(0, |rate| rate.max(1)), Ordering::Relaxed);
    }

    fn rate(&self) -> Option<u64> {
        Some(self.bytes_per_s.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Several to the second even at a low rate, so that a slow send never looks stalled.
    fn chunk_bytes(&self) -> usize {
        let wanted = self.rate().map_or(usize::MAX, |rate| usize::try_from(rate / 8).unwrap_or(usize::MAX));
        wanted.clamp(4 << 10, CHUNK_BYTES)
    }

    async fn wait(&self, bytes: usize) {
        let Some(rate) = self.rate() else { return };
        let start = {
            let mut free_at = self.free_at.lock();
            let start = (*free_at).max(Instant::now());
            *free_at = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
            start
        };
        sleep_until(start).await;
    }
}

/// Sends a snapshot and tells how it ended.
pub(super) async fn send(shared: Arc<Shared>, peer: Arc<Peer>, message: RaftMessage, chunks: Vec<Bytes>, done: Done) {
    let result = tokio::select! {
        () = shared.stop.cancelled() => Err("this node is shutting down".to_owned()),
        () = peer.life.cancelled() => Err(format!("node {} is no peer any more", peer.node)),
        result = try_send(&shared, &peer, message, chunks) => result,
    };
    done.tell(result);
}

async fn try_send(shared: &Arc<Shared>, peer: &Peer, message: RaftMessage, chunks: Vec<Bytes>) -> Result<(), String> {
    let _permit = shared.budget.sends.acquire().await.map_err(|_| "sends are closed".to_owned())?;
    let total_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let hello = Some(shared.members.identity().hello(peer.node, 0, String::new()));
    let head = SnapshotHead { hello, message: Some(message), total_bytes };
    let limit = shared.settings.connect_timeout;
    let endpoint = endpoint(&peer.address, limit).map_err(|error| format!("address: {error}"))?;
    let channel = match timeout(limit, endpoint.connect()).await {
        Err(_) => return Err(format!("no connection within {limit:?}")),
        Ok(connected) => connected.map_err(|error| chain(&error))?,
    };
    let moved = Arc::new(AtomicU64::new(0));
    let parts = parts(shared.clone(), head, chunks, moved.clone());
    let mut client = client(channel);
    let receipt = tokio::select! {
        receipt = client.snapshot(parts) => receipt.map_err(|status| describe(&status))?.into_inner(),
        () = stalled(&moved, shared.settings.snapshot_stall) => return Err("the peer takes nothing".to_owned()),
    };
    let SnapshotReceipt { accepted, reason } = receipt;
    if accepted { Ok(()) } else { Err(reason) }
}

/// The head, then the chunks at their pace.
fn parts(
    shared: Arc<Shared>,
    head: SnapshotHead,
    chunks: Vec<Bytes>,
    moved: Arc<AtomicU64>,
) -> impl Stream<Item = SnapshotPart> + Send + 'static {
    let first = SnapshotPart { part: Some(Part::Head(head)) };
    let state = (shared, chunks.into_iter(), Bytes::new(), moved);
    let rest = stream::unfold(state, |(shared, mut chunks, mut open, moved)| async move {
        while open.is_empty() {
            open = chunks.next()?;
        }
        let chunk = open.split_to(open.len().min(shared.pace.chunk_bytes()));
        shared.pace.wait(chunk.len()).await;
        moved.fetch_add(1, Ordering::Relaxed);
        Some((SnapshotPart { part: Some(Part::Chunk(chunk)) }, (shared, chunks, open, moved)))
    });
    futures::StreamExt::chain(stream::iter([first]), rest)
}

/// Ends when nothing has moved for `limit` (noticed after at most twice that).
async fn stalled(moved: &AtomicU64, limit: Duration) {
    let mut last = moved.load(Ordering::Relaxed);
    loop {
        sleep(limit).await;
        let now = moved.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}

/// Takes a snapshot in and hands it to the sink, whole.
pub(super) async fn receive<S: PeerSink>(
    shared: &Shared,
    sink: &S,
    mut parts: Streaming<SnapshotPart>,
) -> SnapshotReceipt {
    let result = match collect(shared, &mut parts).await {
        Ok((_held, from, message, bytes)) => sink.snapshot(from, message, bytes).await,
        Err(reason) => Err(reason),
    };
    SnapshotReceipt { accepted: result.is_ok(), reason: result.err().unwrap_or_default() }
}

type Collected<'a> = (SemaphorePermit<'a>, NodeId, RaftMessage, Vec<Bytes>);

async fn collect<'a>(shared: &'a Shared, parts: &mut Streaming<SnapshotPart>) -> Result<Collected<'a>, String> {
    let limit = shared.settings.snapshot_stall;
    let Some(Part::Head(head)) = next(parts, limit).await? else {
        return Err("the first part is not a head".to_owned());
    };
    let SnapshotHead { hello, message, total_bytes } = head;
    let from = shared.members.identity().check(&hello.ok_or("no hello")?)?;
    let message = message.ok_or("no message")?;
    let held = shared.budget.reserve(total_bytes)?;
    let mut chunks = Vec::new();
    let mut received = 0_u64;
    while let Some(part) = next(parts, limit).await? {
        let Part::Chunk(chunk) = part else { return Err("a second head".to_owned()) };
        received += chunk.len() as u64;
        if received > total_bytes {
            return Err(format!("more than the {total_bytes} bytes that were announced"));
        }
        chunks.push(chunk);
    }
    if received != total_bytes {
        return Err(format!("{received} bytes came, {total_bytes} were announced"));
    }
    Ok((held, from, message, chunks))
}

async fn next(parts: &mut Streaming<SnapshotPart>, limit: Duration) -> Result<Option<Part>, String> {
    match timeout(limit, parts.message()).await {
        Err(_) => Err(format!("nothing came for {limit:?}")),
        Ok(Err(status)) => Err(describe(&status)),
        Ok(Ok(None)) => Ok(None),
        Ok(Ok(Some(SnapshotPart { part: None }))) => Err("an empty part".to_owned()),
        Ok(Ok(Some(SnapshotPart { part: Some(part) }))) => Ok(Some(part)),
    }
}
