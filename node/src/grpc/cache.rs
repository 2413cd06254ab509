//! The service `crema.v1.Cache`: a request becomes an operation, runs on the cluster, and is answered.
//!
//! Holds no state of its own. Never sends anything twice: retries that are safe happen below (`Executor`) or at the
//! client.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use crema_api::{
    LEADER_METADATA,
    v1::{self, cache_server::Cache},
};
use tonic::{
    Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::{
    batch::Batch,
    failure::{Failure, to_status},
    operation::{Level, Operation, check_key},
    scan::{Page, Turned},
    topology,
};
use crate::{
    error::Error,
    machine::command::{Op, Outcome},
    metrics::{CommandMetrics, DoorMetrics},
    multiraft::{execute, execute::Executor, introspect::Introspect},
    types::ShardId,
};

/// The commands of this door, as they are labelled in metrics.
pub(super) const COMMANDS: [&str; 10] =
    ["get", "exists", "put", "delete", "compare_and_set", "increment", "expire", "batch", "scan", "topology"];

/// For a request that names no deadline.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// No request waits longer, whatever it names.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// The service over one node.
#[derive(Clone, Debug)]
pub(super) struct CacheService<E, I> {
    executor: E,
    node: I,
    commands: Commands,
}

#[derive(Clone, Debug)]
struct Commands {
    get: CommandMetrics,
    exists: CommandMetrics,
    put: CommandMetrics,
    delete: CommandMetrics,
    compare_and_set: CommandMetrics,
    increment: CommandMetrics,
    expire: CommandMetrics,
    batch: CommandMetrics,
    scan: CommandMetrics,
    topology: CommandMetrics,
}

/// An answer or a failure, and the shard it is about as far as it is known.
struct Answered<T> {
    shard: Option<ShardId>,
    result: Result<T, Failure>,
}

impl<T> Answered<T> {
    fn early(error: Error) -> Self {
        Self { shard: None, result: Err(error.into()) }
    }
}

impl<E: Executor, I: Introspect> CacheService<E, I> {
    pub(super) fn new(executor: E, node: I, door: &DoorMetrics) -> Self {
        let of = |name| door.command(name).clone();
        let commands = Commands {
            get: of("get"),
            exists: of("exists"),
            put: of("put"),
            delete: of("delete"),
            compare_and_set: of("compare_and_set"),
            increment: of("increment"),
            expire: of("expire"),
            batch: of("batch"),
            scan: of("scan"),
            topology: of("topology"),
        };
        Self { executor, node, commands }
    }

    /// Runs a request about one key.
    async fn single<O>(&self, command: &CommandMetrics, request: Request<O>) -> Result<Response<O::Answer>, Status>
    where
        O: Operation + Send,
        O::Answer: Send,
    {
        let timeout = timeout_of(request.metadata());
        self.respond(command, self.one(request.into_inner(), timeout)).await
    }

    async fn one<O: Operation>(&self, request: O, timeout: Duration) -> Answered<O::Answer> {
        if let Err(error) = check_key(request.key()) {
            return Answered::early(error);
        }
        let shard = self.executor.shard_map().shard_of(request.key());
        let judged = request.level().and_then(|level| Ok((level, request.into_op()?)));
        let result = match judged {
            Ok((level, op)) => self.run(shard, level, op, timeout).await.and_then(O::answer),
            Err(error) => Err(error.into()),
        };
        Answered { shard: Some(shard), result }
    }

    /// The outcome of an operation; a refusal is a failure.
    async fn run(&self, shard: ShardId, level: Level, op: Op, timeout: Duration) -> Result<Outcome, Failure> {
        if let (Level::Local, Op::Read(query)) = (level, &op)
            && let Some(outcome) = self.executor.local(shard, query)
        {
            return Ok(outcome);
        }
        let answers = self.executor.execute(vec![execute::Request { shard, op }], timeout).await;
        match answers.into_iter().next() {
            Some(Ok(Outcome::Refused(refusal))) => Err(Failure::Refused(refusal)),
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) => Err(error.into()),
            None => Err(Failure::Mismatch),
        }
    }

    async fn run_batch(&self, request: v1::BatchRequest, timeout: Duration) -> Answered<v1::BatchResponse> {
        let batch = match Batch::new(request, &self.executor.shard_map()) {
            Ok(batch) => batch,
            Err(error) => return Answered::early(error),
        };
        let (shard, op, answers) = batch.split();
        let outcome = self.run(shard, Level::Linearizable, op, timeout).await;
        Answered { shard: Some(shard), result: outcome.and_then(|o| Batch::answer(answers, o)) }
    }

    async fn run_scan(&self, request: v1::ScanRequest, timeout: Duration) -> Answered<v1::ScanResponse> {
        let mut page = match Page::new(request, self.executor.shard_map().num_shards()) {
            Ok(page) => page,
            Err(error) => return Answered::early(error),
        };
        let shard = Some(page.shard);
        loop {
            // Each round halves the page, so there are few.
            let outcome = self.run(page.shard, page.level, Op::Read(page.query()), timeout).await;
            page = match outcome.and_then(|o| page.turn(o)) {
                Ok(Turned::Done(response)) => return Answered { shard, result: Ok(response) },
                Ok(Turned::Smaller(page)) => page,
                Err(failure) => return Answered { shard, result: Err(failure) },
            };
        }
    }

    /// Counts an answer and puts it on the wire.
    async fn respond<T>(
        &self,
        command: &CommandMetrics,
        work: impl Future<Output = Answered<T>>,
    ) -> Result<Response<T>, Status> {
        let start = Instant::now();
        let Answered { shard, result } = work.await;
        command.record(start.elapsed(), result.is_ok());
        let answer = result.map_err(|failure| to_status(failure, shard, &self.node))?;
        let mut response = Response::new(answer);
        if let Some(hint) = shard.and_then(|s| self.leader_hint(s)) {
            response.metadata_mut().insert(LEADER_METADATA, hint);
        }
        Ok(response)
    }

    /// Who leads the shard, when it is another node.
    fn leader_hint(&self, shard: ShardId) -> Option<MetadataValue<tonic::metadata::Ascii>> {
        let leader = self.node.leader(shard).filter(|leader| *leader != self.node.node())?;
        let address = self.node.address(leader)?;
        format!("{shard} {leader} {address}").parse().ok()
    }
}

#[tonic::async_trait]
impl<E: Executor, I: Introspect> Cache for CacheService<E, I> {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.single(&self.commands.get, request).await
    }

    async fn exists(&self, request: Request<v1::ExistsRequest>) -> Result<Response<v1::ExistsResponse>, Status> {
        self.single(&self.commands.exists, request).await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        self.single(&self.commands.put, request).await
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        self.single(&self.commands.delete, request).await
    }

    async fn compare_and_set(
        &self,
        request: Request<v1::CompareAndSetRequest>,
    ) -> Result<Response<v1::CompareAndSetResponse>, Status> {
        self.single(&self.commands.compare_and_set, request).await
    }

    async fn increment(
        &self,
        request: Request<v1::IncrementRequest>,
    ) -> Result<Response<v1::IncrementResponse>, Status> {
        self.single(&self.commands.increment, request).await
    }

    async fn expire(&self, request: Request<v1::ExpireRequest>) -> Result<Response<v1::ExpireResponse>, Status> {
        self.single(&self.commands.expire, request).await
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let timeout = timeout_of(request.metadata());
        self.respond(&self.commands.batch, self.run_batch(request.into_inner(), timeout)).await
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        let timeout = timeout_of(request.metadata());
        self.respond(&self.commands.scan, self.run_scan(request.into_inner(), timeout)).await
    }

    async fn topology(
        &self,
        request: Request<v1::TopologyRequest>,
    ) -> Result<Response<v1::TopologyResponse>, Status> {
        let answer = topology::describe(request.into_inner(), &self.executor.shard_map(), &self.node);
        self.respond(&self.commands.topology, async { Answered { shard: None, result: Ok(answer) } }).await
    }
}

/// What is left of the client's time, less a part for the answer's way: a typed answer must come before the
/// client gives up and knows nothing.
fn timeout_of(metadata: &MetadataMap) -> Duration {
    let named = metadata.get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(parse_timeout);
    named.map_or(DEFAULT_TIMEOUT, |t| t.min(MAX_TIMEOUT) * 9 / 10)
}

/// The header `grpc-timeout` of the gRPC specification: up to 8 digits and a unit.
fn parse_timeout(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}
