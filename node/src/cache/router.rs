//! From operations to the workers that run them: the one [`Executor`] of a node.
//!
//! Groups the operations of a call by shard and worker, cuts what is too large for one log entry, and answers in the
//! order of the call. Reads what may be read without asking anybody: local reads, and linearizable ones of a shard
//! whose only voter is here.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{readers::Readers, store::Reader};
use crate::{
    error::Error,
    machine::{
        codec,
        command::{Op, Outcome, Query, Refusal},
        read,
        store::Entry,
    },
    metrics::NodeMetrics,
    multiraft::{
        execute::{Executor, Request},
        runtime::RuntimeHandle,
    },
    partitioning::ShardMap,
    types::{LogIndex, MAX_KEY_BYTES, MAX_VALUE_BYTES, ShardId, Timestamp},
};

/// Operations of one shard that go into one log entry at most: below the entry's limit by more than any framing.
const MAX_CALL_BYTES: usize = 10 << 20;

/// What a node has once it belongs to a cluster.
pub(super) struct Joined {
    pub(super) runtime: RuntimeHandle,
    pub(super) shard_map: Arc<ShardMap>,
    pub(super) readers: Arc<Readers>,
    pub(super) metrics: NodeMetrics,
}

/// Runs operations; cheap to clone. Until the node has joined, every operation is `Unavailable`.
#[derive(Clone)]
pub struct Router {
    /// The map as configured, for those who ask before the cluster has one.
    expected: Arc<ShardMap>,
    joined: Arc<OnceLock<Joined>>,
}

/// Operations of one shard with their places in the call.
#[derive(Default)]
struct Call {
    places: Vec<usize>,
    ops: Vec<Op>,
    bytes: usize,
}

type Results = Vec<Result<Outcome, Error>>;

/// Places in the call, and the operations that belong there.
type Part = (Vec<usize>, Vec<Op>);

/// What goes to one worker: the places of each shard's operations, and the operations.
type Submission = (Vec<Vec<usize>>, Vec<(ShardId, Vec<Op>)>);

impl Router {
    /// A router of a node that has not joined.
    pub(super) fn new(expected: ShardMap) -> Self {
        Self { expected: Arc::new(expected), joined: Arc::default() }
    }

    /// The node has joined; once.
    pub(super) fn join(&self, joined: Joined) {
        assert!(self.joined.set(joined).is_ok(), "a node joins once");
    }

    pub(super) fn joined(&self) -> Option<&Joined> {
        self.joined.get()
    }

    /// One key from this node's published state: a committed value, perhaps an old one. Hides what has expired by
    /// this node's clock. Takes no lock and no queue.
    #[must_use]
    pub fn get_local(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let joined = self.joined()?;
        let shard = joined.shard_map.shard_of(key);
        let found = joined.visible(shard, key, joined.runtime.now().wall);
        joined.count_reads(u64::from(found.is_some()), u64::from(found.is_none()));
        found
    }
}

impl Joined {
    /// Looks at what this node has published of a shard, if a replica is here and has published anything: a new one
    /// that waits for its first snapshot knows nothing.
    fn with_reader<T>(&self, shard: ShardId, look: impl FnOnce(&Reader) -> T) -> Option<T> {
        let place = self.readers.of(shard)?;
        let reader = place.as_deref()?;
        let speaks = self.runtime.board().is_serving(shard) && reader.published().0 > LogIndex(0);
        speaks.then(|| look(reader))
    }

    /// Whether a replica is here that answers local reads.
    pub(super) fn has_replica(&self, shard: ShardId) -> bool {
        self.with_reader(shard, |_| ()).is_some()
    }

    fn visible(&self, shard: ShardId, key: &[u8], clock: Timestamp) -> Option<Arc<Entry>> {
        self.with_reader(shard, |reader| visible(reader, key, clock)).flatten()
    }

    fn local(&self, shard: ShardId, query: &Query) -> Option<Outcome> {
        let wall = self.runtime.now().wall;
        self.with_reader(shard, |reader| local(reader, query, wall)).flatten()
    }

    /// A linearizable read that nobody else can make stale: this node leads and is the shard's only voter, so what
    /// it has published is all that was ever acknowledged. Keys whose deadline is near its end go the long way.
    fn read_alone(&self, shard: ShardId, op: &Op) -> Option<Outcome> {
        let Op::Read(Query::Get { key }) = op else { return None };
        if !self.runtime.board().is_sole(shard) {
            return None;
        }
        let wall = self.runtime.now().wall;
        self.with_reader(shard, |reader| alone(reader, key, wall)).flatten()
    }

    async fn execute(&self, requests: Vec<Request>, timeout: Duration) -> Results {
        let mut results: Vec<Option<Result<Outcome, Error>>> = Vec::new();
        results.resize_with(requests.len(), || None);
        let mut calls: BTreeMap<ShardId, Call> = BTreeMap::new();
        for (place, Request { shard, op }) in requests.into_iter().enumerate() {
            match check(&op, shard, &self.shard_map) {
                Ok(bytes) => {
                    // Behind another operation on its shard it waits for that one, or it might overtake a write.
                    if !calls.contains_key(&shard)
                        && let Some(answer) = self.read_alone(shard, &op)
                    {
                        results[place] = Some(Ok(answer));
                        continue;
                    }
                    let call = calls.entry(shard).or_default();
                    call.places.push(place);
                    call.ops.push(op);
                    call.bytes += bytes;
                }
                Err(error) => results[place] = Some(Err(error)),
            }
        }
        while !calls.is_empty() {
            let round = calls.iter_mut().map(|(shard, call)| (*shard, call.next_part())).collect();
            self.run(round, timeout, &mut results).await;
            calls.retain(|_, call| !call.ops.is_empty());
        }
        let results: Results =
            results.into_iter().map(|result| result.unwrap_or_else(|| Err(Error::ShuttingDown))).collect();
        self.count_outcomes(&results);
        results
    }

    fn count_reads(&self, hits: u64, misses: u64) {
        if hits > 0 {
            self.metrics.cache_hits.inc_by(hits);
        }
        if misses > 0 {
            self.metrics.cache_misses.inc_by(misses);
        }
    }

    /// Counts what reads found; once for a call, not once for each.
    fn count_outcomes(&self, results: &[Result<Outcome, Error>]) {
        let (mut hits, mut misses) = (0, 0);
        let mut count = |outcome: &Outcome| match outcome {
            Outcome::Value(Some(_)) => hits += 1,
            Outcome::Value(None) => misses += 1,
            _ => {}
        };
        for outcome in results.iter().flatten() {
            match outcome {
                Outcome::Many(parts) => parts.iter().for_each(&mut count),
                outcome => count(outcome),
            }
        }
        self.count_reads(hits, misses);
    }

    /// Runs one part of each shard's operations, all workers at the same time.
    async fn run(
        &self,
        round: Vec<(ShardId, Part)>,
        timeout: Duration,
        results: &mut [Option<Result<Outcome, Error>>],
    ) {
        let mut by_worker: BTreeMap<usize, Submission> = BTreeMap::new();
        for (shard, (places, ops)) in round {
            let (all_places, calls) = by_worker.entry(self.runtime.worker_of(shard)).or_default();
            all_places.push(places);
            calls.push((shard, ops));
        }
        let begun = Instant::now();
        let writes = by_worker.values().flat_map(|(_, calls)| calls).any(|(_, ops)| ops.iter().any(is_write));
        let submissions = by_worker
            .into_iter()
            .map(async |(worker, (places, calls))| (places, self.runtime.submit(worker, calls, timeout).await));
        for (places, answers) in join_all(submissions).await {
            for (places, answer) in places.into_iter().zip(answers) {
                place(results, places, answer);
            }
        }
        if writes {
            self.metrics.raft_proposal_latency.observe(begun.elapsed());
        }
    }
}

/// An entry that is not expired by a clock, or by what the shard itself has seen of time.
fn visible(reader: &Reader, key: &[u8], clock: Timestamp) -> Option<Arc<Entry>> {
    reader.get(key).filter(|entry| entry.expires_at().is_none_or(|at| at > clock.max(reader.published().1)))
}

fn local(reader: &Reader, query: &Query, wall: Timestamp) -> Option<Outcome> {
    let clock = wall.max(reader.published().1);
    match query {
        Query::Get { key }
        | Query::GetRange { key, .. }
        | Query::Strlen { key }
        | Query::Exists { key }
        | Query::Meta { key } => read::answer_key(query, visible(reader, key, clock).as_deref(), clock),
        Query::Size => Some(Outcome::Count(reader.len() as u64)),
        Query::Multi(parts) => {
            parts.iter().map(|part| local(reader, part, wall)).collect::<Option<_>>().map(Outcome::Many)
        }
        // These need the order of the keys or their deadlines, which only the worker has.
        Query::Scan { .. } | Query::Expiring | Query::RandomKey { .. } => None,
    }
}

fn alone(reader: &Reader, key: &[u8], wall: Timestamp) -> Option<Outcome> {
    let entry = reader.get(key);
    let clock = match entry.as_ref().and_then(|entry| entry.expires_at()) {
        None => Timestamp(0),
        Some(at) => {
            let now = wall.max(reader.published().1);
            // PROTOCOL 2: it may be hidden only once log time has passed it.
            (at > now).then_some(now)?
        }
    };
    Some(Outcome::Value(entry.map(|entry| read::found(&entry, clock))))
}

impl Call {
    /// Takes the next operations that fit into one entry; at least one.
    fn next_part(&mut self) -> Part {
        if self.bytes <= MAX_CALL_BYTES {
            self.bytes = 0;
            return (std::mem::take(&mut self.places), std::mem::take(&mut self.ops));
        }
        let mut bytes = 0;
        let fits = |op: &&Op| {
            bytes += codec::op_size(op);
            bytes <= MAX_CALL_BYTES
        };
        let count = self.ops.iter().take_while(fits).count().max(1);
        let ops: Vec<Op> = self.ops.drain(..count).collect();
        self.bytes -= ops.iter().map(codec::op_size).sum::<usize>();
        (self.places.drain(..count).collect(), ops)
    }
}

fn is_write(op: &Op) -> bool {
    matches!(op, Op::Write(_))
}

/// Refuses what no shard could ever take; else the operation's size.
fn check(op: &Op, shard: ShardId, map: &ShardMap) -> Result<usize, Error> {
    if shard >= map.num_shards() {
        let reason = format!("{shard}; this cluster has shards 0 to {}", map.num_shards() - 1);
        return Err(Error::Invalid { field: "shard", reason });
    }
    codec::check_op(op).map_err(refused)?;
    let bytes = codec::op_size(op);
    if bytes > MAX_CALL_BYTES {
        let reason = format!("it takes {bytes} bytes; one command or atomic batch may take {MAX_CALL_BYTES}");
        return Err(Error::Invalid { field: "command", reason });
    }
    Ok(bytes)
}

/// An operation that must not reach a log, for its client.
fn refused(refusal: Refusal) -> Error {
    let reason = match refusal {
        Refusal::TooLong => format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes, a value up to {MAX_VALUE_BYTES}, and a command or atomic batch up to {MAX_CALL_BYTES}"
        ),
        other => format!("its parts don't fit together ({other:?}); a key has at least one byte"),
    };
    Error::Invalid { field: "command", reason }
}

/// Puts a shard's answer in the places of its operations.
fn place(results: &mut [Option<Result<Outcome, Error>>], places: Vec<usize>, answer: Result<Vec<Outcome>, Error>) {
    match answer {
        Ok(outcomes) => {
            for (place, outcome) in places.into_iter().zip(outcomes) {
                results[place] = Some(Ok(outcome));
            }
        }
        Err(error) => places.into_iter().for_each(|place| results[place] = Some(Err(error.clone()))),
    }
}

impl Executor for Router {
    fn shard_map(&self) -> Arc<ShardMap> {
        self.joined().map_or_else(|| self.expected.clone(), |joined| joined.shard_map.clone())
    }

    fn local(&self, shard: ShardId, query: &Query) -> Option<Outcome> {
        let joined = self.joined()?;
        let outcome = Ok(joined.local(shard, query)?);
        joined.count_outcomes(std::slice::from_ref(&outcome));
        outcome.ok()
    }

    async fn execute(&self, requests: Vec<Request>, timeout: Duration) -> Results {
        match self.joined() {
            Some(joined) => joined.execute(requests, timeout).await,
            None => {
                let reason = "this node has not joined a cluster yet".to_owned();
                vec![Err(Error::Unavailable { reason }); requests.len()]
            }
        }
    }
}
