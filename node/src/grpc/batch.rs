//! A batch: several operations of one shard as one entry of its log, or as one read.
//!
//! Pure. Each part is judged and answered by `operation`, as if it had come alone.

use bytes::Bytes;
use crema_api::v1::{BatchRequest, BatchResponse, BatchResult, RefusalReason, batch_op, batch_result};
use prost::Message;

use super::{
    failure::{Failure, invalid, reason_of},
    operation::{Level, Operation, check_key},
};
use crate::{
    error::Error,
    machine::command::{Command, Op, Outcome, Query},
    partitioning::ShardMap,
    types::ShardId,
};

/// The most parts of one batch: more makes one log entry hold its shard up.
const MAX_PARTS: usize = 10_000;

/// What the results of a batch may take, encoded; the rest of the message limit is for framing.
const MAX_ANSWER_BYTES: usize = crema_api::MAX_MESSAGE_BYTES - 1024 * 1024;

/// A batch that was found right.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) shard: ShardId,
    pub(super) op: Op,
    answers: Vec<Answer>,
}

type Answer = fn(Outcome) -> Result<batch_result::Result, Failure>;

/// One part of a batch, its key set aside for routing.
struct Part {
    key: Bytes,
    op: Op,
    answer: Answer,
}

impl Batch {
    /// Judges a request.
    pub(super) fn new(request: BatchRequest, map: &ShardMap) -> Result<Self, Error> {
        match request.ops.len() {
            0 => return Err(invalid("ops", "there are none")),
            1..=MAX_PARTS => {}
            many => return Err(invalid("ops", format!("there are {many}; the limit is {MAX_PARTS}"))),
        }
        let mut shard = None;
        let mut ops = Vec::with_capacity(request.ops.len());
        let mut answers = Vec::with_capacity(request.ops.len());
        for (i, op) in request.ops.into_iter().enumerate() {
            let part = part(op.op).map_err(|e| of_part(i, e))?;
            let here = map.shard_of(&part.key);
            let first = *shard.get_or_insert(here);
            if here != first {
                return Err(invalid(
                    "ops",
                    format!(
                        "the key of op {i} is of shard {here}, that of op 0 of shard {first}; a batch has one shard"
                    ),
                ));
            }
            ops.push(part.op);
            answers.push(part.answer);
        }
        Ok(Self { shard: shard.unwrap_or_default(), op: joined(ops), answers })
    }

    /// The answer for an outcome that is not a refusal of the whole.
    pub(super) fn answer(answers: Vec<Answer>, outcome: Outcome) -> Result<BatchResponse, Failure> {
        let Outcome::Many(outcomes) = outcome else { return Err(Failure::Mismatch) };
        if outcomes.len() != answers.len() {
            return Err(Failure::Mismatch);
        }
        let mut room = MAX_ANSWER_BYTES;
        let mut results = Vec::with_capacity(outcomes.len());
        for (outcome, answer) in outcomes.into_iter().zip(answers) {
            results.push(fitting(result(outcome, answer)?, &mut room));
        }
        Ok(BatchResponse { results })
    }

    /// Splits what is sent from what is kept for the answer.
    pub(super) fn split(self) -> (ShardId, Op, Vec<Answer>) {
        (self.shard, self.op, self.answers)
    }
}

fn result(outcome: Outcome, answer: Answer) -> Result<BatchResult, Failure> {
    let result = match outcome {
        Outcome::Refused(refusal) => refused(reason_of(refusal)),
        other => answer(other)?,
    };
    Ok(BatchResult { result: Some(result) })
}

/// A result that no longer fits is left out of the answer, and says so: its part was carried out.
fn fitting(result: BatchResult, room: &mut usize) -> BatchResult {
    let bytes = result.encoded_len() + 8;
    match room.checked_sub(bytes) {
        Some(left) => {
            *room = left;
            result
        }
        None => BatchResult { result: Some(refused(RefusalReason::AnswerTooLarge)) },
    }
}

fn refused(reason: RefusalReason) -> batch_result::Result {
    batch_result::Result::Refused(reason.into())
}

/// Reads alone need no entry in the log.
fn joined(ops: Vec<Op>) -> Op {
    if ops.iter().all(|op| matches!(op, Op::Read(_))) {
        let queries: Vec<Query> =
            ops.into_iter().filter_map(|op| if let Op::Read(q) = op { Some(q) } else { None }).collect();
        return Op::Read(Query::Multi(queries));
    }
    let command = |op| match op {
        Op::Read(query) => Command::Read(query),
        Op::Write(command) => command,
    };
    Op::Write(Command::Batch(ops.into_iter().map(command).collect()))
}

fn part(op: Option<batch_op::Op>) -> Result<Part, Error> {
    use batch_result::Result as R;
    match op {
        None => Err(invalid("op", "it is not set")),
        Some(batch_op::Op::Get(r)) => of(r, |o| answer_of::<crema_api::v1::GetRequest>(o).map(R::Get)),
        Some(batch_op::Op::Exists(r)) => of(r, |o| answer_of::<crema_api::v1::ExistsRequest>(o).map(R::Exists)),
        Some(batch_op::Op::Put(r)) => of(r, |o| answer_of::<crema_api::v1::PutRequest>(o).map(R::Put)),
        Some(batch_op::Op::Delete(r)) => of(r, |o| answer_of::<crema_api::v1::DeleteRequest>(o).map(R::Delete)),
        Some(batch_op::Op::CompareAndSet(r)) => {
            of(r, |o| answer_of::<crema_api::v1::CompareAndSetRequest>(o).map(R::CompareAndSet))
        }
        Some(batch_op::Op::Increment(r)) => {
            of(r, |o| answer_of::<crema_api::v1::IncrementRequest>(o).map(R::Increment))
        }
        Some(batch_op::Op::Expire(r)) => of(r, |o| answer_of::<crema_api::v1::ExpireRequest>(o).map(R::Expire)),
    }
}

fn answer_of<O: Operation>(outcome: Outcome) -> Result<O::Answer, Failure> {
    O::answer(outcome)
}

fn of<O: Operation>(request: O, answer: Answer) -> Result<Part, Error> {
    let key = request.key().clone();
    check_key(&key)?;
    if request.level()? == Level::Local {
        return Err(invalid("read_level", "a batch is linearizable; local reads go alone"));
    }
    Ok(Part { key, op: request.into_op()?, answer })
}

fn of_part(index: usize, error: Error) -> Error {
    match error {
        Error::Invalid { field, reason } => invalid("ops", format!("op {index}: {field}: {reason}")),
        other => other,
    }
}
