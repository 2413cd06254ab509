//! One client of the bench: batches, reconnects, and what it measured.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crema::types::Draw;
use hdrhistogram::Histogram;
use redis_protocol::resp2::types::BytesFrame;

use super::Bench;
use crate::resp::{Connection, push_command};

/// After a failed connection: short enough to see when a node is back, long enough not to spin.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// Latencies are kept in microseconds up to this; beyond it they count as this.
pub(super) const LONGEST_US: u64 = 120_000_000;

/// When to stop.
#[derive(Clone)]
pub(super) enum Quota {
    /// At a moment.
    Until(Instant),
    /// When these are used up.
    Requests(Arc<AtomicU64>),
}

impl Quota {
    /// How many of `wanted` commands may still be sent; 0 is the end.
    fn take(&self, wanted: u64) -> u64 {
        match self {
            Self::Until(end) => u64::from(Instant::now() < *end) * wanted,
            Self::Requests(left) => {
                let taken =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(wanted)));
                taken.map_or(0, |before| before.min(wanted))
            }
        }
    }
}

/// What one client measured.
pub(super) struct Measured {
    /// Latencies of reads, in microseconds.
    pub(super) reads: Histogram<u64>,
    /// Latencies of writes, in microseconds.
    pub(super) writes: Histogram<u64>,
    /// Reads that found no key.
    pub(super) misses: u64,
    /// How many commands failed, by what the error says.
    pub(super) errors: BTreeMap<String, u64>,
    /// Connections opened after the first.
    pub(super) reconnects: u64,
    /// The longest time between two successes, or between the start or the end and one.
    pub(super) longest_pause: Duration,
    /// Successes in each second since the start.
    pub(super) per_second: Vec<u64>,
}

/// A closed loop over one connection at a time.
pub(super) struct Worker {
    bench: Arc<Bench>,
    number: u16,
    quota: Quota,
    started: Instant,
    draw: Draw,
    value: Vec<u8>,
    last_success: Instant,
    measured: Measured,
}

impl Worker {
    pub(super) fn new(bench: Arc<Bench>, number: u16, quota: Quota, started: Instant) -> Self {
        let mut draw = Draw::new(bench.seed.wrapping_add(u64::from(number) << 32));
        let value = (0..bench.value_size).map(|_| b'a' + draw.below(26) as u8).collect();
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds that HdrHistogram takes");
        let measured = Measured {
            reads: histogram(),
            writes: histogram(),
            misses: 0,
            errors: BTreeMap::new(),
            reconnects: 0,
            longest_pause: Duration::ZERO,
            per_second: Vec::new(),
        };
        Self { bench, number, quota, started, draw, value, last_success: started, measured }
    }

    /// Runs until the quota is used up.
    pub(super) async fn run(mut self) -> Measured {
        let mut connection = None;
        let mut attempts = 0_usize;
        loop {
            let batch = self.quota.take(u64::from(self.bench.pipeline));
            if batch == 0 {
                break;
            }
            if connection.is_none() {
                connection = self.connect(attempts).await;
                attempts += 1;
            }
            let Some(open) = &mut connection else {
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            };
            if let Err((error, unanswered)) = self.batch(open, batch).await {
                self.failed(&format!("connection: {}", kind(&error)), unanswered);
                connection = None;
            }
        }
        self.pause_until(Instant::now());
        self.measured
    }

    /// The first attempt goes to this client's own node, each later one to the next.
    async fn connect(&mut self, attempts: usize) -> Option<Connection> {
        let addr = &self.bench.addr[(usize::from(self.number) + attempts) % self.bench.addr.len()];
        match Connection::open(addr, self.bench.common.timeout()).await {
            Ok(connection) => {
                self.measured.reconnects += u64::from(attempts > 0);
                Some(connection)
            }
            Err(error) => {
                self.failed(&format!("connect: {}", kind(&error)), 1);
                None
            }
        }
    }

    /// Sends a batch and reads its replies; an error says how many commands have none.
    async fn batch(&mut self, connection: &mut Connection, size: u64) -> Result<(), (io::Error, u64)> {
        let (commands, reads) = self.commands(size);
        let sent = Instant::now();
        connection.send(&commands).await.map_err(|error| (error, size))?;
        for (done, is_read) in (0..size).zip(reads) {
            let reply = connection.reply().await.map_err(|error| (error, size - done))?;
            self.note(is_read, &reply, sent);
        }
        Ok(())
    }

    /// Encodes a batch, and says which of its commands are reads.
    fn commands(&mut self, size: u64) -> (Vec<u8>, Vec<bool>) {
        let mut commands = Vec::new();
        let mut reads = Vec::new();
        for _ in 0..size {
            let key = format!("key:{:012}", self.draw.below(self.bench.keys));
            let is_read = (self.draw.next_u64() as f64 / u64::MAX as f64) < self.bench.ratio;
            match is_read {
                true => push_command(&mut commands, &[b"GET", key.as_bytes()]),
                false => push_command(&mut commands, &[b"SET", key.as_bytes(), &self.value]),
            }
            reads.push(is_read);
        }
        (commands, reads)
    }

    fn note(&mut self, is_read: bool, reply: &BytesFrame, sent: Instant) {
        if let BytesFrame::Error(error) = reply {
            return self.failed(error, 1);
        }
        let now = Instant::now();
        let latency_us = u64::try_from((now - sent).as_micros()).unwrap_or(LONGEST_US);
        let histogram = if is_read { &mut self.measured.reads } else { &mut self.measured.writes };
        histogram.saturating_record(latency_us);
        self.measured.misses += u64::from(matches!(reply, BytesFrame::Null));
        let second = (now - self.started).as_secs() as usize;
        if self.measured.per_second.len() <= second {
            self.measured.per_second.resize(second + 1, 0);
        }
        self.measured.per_second[second] += 1;
        self.pause_until(now);
        self.last_success = now;
    }

    fn pause_until(&mut self, now: Instant) {
        self.measured.longest_pause = self.measured.longest_pause.max(now - self.last_success);
    }

    fn failed(&mut self, kind: &str, commands: u64) {
        *self.measured.errors.entry(kind.to_owned()).or_default() += commands;
    }
}

/// The system's own text, without what differs from try to try.
fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => error.to_string(),
        kind => kind.to_string(),
    }
}

#[test]
fn quotas_end() {
    let quota = Quota::Requests(Arc::new(AtomicU64::new(10)));
    assert_eq!([quota.take(8), quota.take(8), quota.take(8)], [8, 2, 0]);
    assert_eq!(Quota::Until(Instant::now()).take(8), 0);
}
