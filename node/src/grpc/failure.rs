//! What went wrong, as a gRPC status with an `ErrorDetail`.

use crema_api::{
    failure,
    v1::{Effect, ErrorDetail, ErrorKind, NodeAddress, RefusalReason},
};
use tonic::Status;

use crate::{
    error::Error,
    machine::command::Refusal,
    multiraft::introspect::Introspect,
    types::{NodeId, ShardId},
};

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The cluster says so.
    Error(Error),
    /// The machine refused the command.
    Refused(Refusal),
    /// It does not fit what is there: nothing was changed, and asking again won't help.
    Declined(String),
    /// The answer is not one to the question: a broken node, and the command may have been applied.
    Mismatch,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The request is wrong in this field.
pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> Error {
    Error::Invalid { field, reason: reason.into() }
}

/// The status of a failure. `shard` is the one that the request went to, `node` knows the leaders' addresses.
pub(super) fn to_status(failure: Failure, shard: Option<ShardId>, node: &impl Introspect) -> Status {
    let (message, detail) = match failure {
        Failure::Error(error) => (error.to_string(), detail_of(&error, node)),
        Failure::Refused(refusal) => {
            let detail = ErrorDetail {
                refusal: reason_of(refusal).into(),
                reason: words(refusal).into(),
                ..blank(ErrorKind::Refused, Effect::None, false)
            };
            (words(refusal).to_owned(), detail)
        }
        Failure::Declined(reason) => {
            let detail = ErrorDetail { reason: reason.clone(), ..blank(ErrorKind::Refused, Effect::None, false) };
            (reason, detail)
        }
        Failure::Mismatch => {
            let message = "the node answered another question than the one asked; this is a bug";
            tracing::error!(shard, message);
            (message.to_owned(), blank(ErrorKind::Internal, Effect::Unknown, false))
        }
    };
    let detail = ErrorDetail { shard: detail.shard.or(shard), ..detail };
    failure::to_status(message, &detail)
}

/// The status for a caller without the right token.
pub(super) fn unauthenticated(reason: &str) -> Status {
    let detail = ErrorDetail {
        field: "authorization".into(),
        reason: reason.into(),
        ..blank(ErrorKind::Unauthenticated, Effect::None, false)
    };
    failure::to_status(reason, &detail)
}

fn blank(kind: ErrorKind, effect: Effect, retryable: bool) -> ErrorDetail {
    ErrorDetail { kind: kind.into(), effect: effect.into(), retryable, ..ErrorDetail::default() }
}

fn detail_of(error: &Error, node: &impl Introspect) -> ErrorDetail {
    use Effect::{None as Nothing, Unknown};
    let reason = error.to_string();
    match error {
        Error::NotLeader { shard, hint } => ErrorDetail {
            shard: Some(*shard),
            leader: hint.map(|leader| node_address(leader, node)),
            reason,
            ..blank(ErrorKind::NotLeader, Nothing, true)
        },
        Error::Moved { slot, shard } => ErrorDetail {
            shard: Some(*shard),
            slot: Some(u32::from(*slot)),
            reason,
            ..blank(ErrorKind::Moved, Nothing, true)
        },
        Error::Unavailable { reason } => {
            ErrorDetail { reason: reason.clone(), ..blank(ErrorKind::Unavailable, Nothing, true) }
        }
        Error::OutcomeUnknown { reason, index } => ErrorDetail {
            reason: reason.clone(),
            log_index: index.map(|i| i.0),
            ..blank(ErrorKind::OutcomeUnknown, Unknown, false)
        },
        Error::Busy { what } => {
            ErrorDetail { field: (*what).into(), reason, ..blank(ErrorKind::Busy, Nothing, true) }
        }
        Error::Invalid { field, reason } => ErrorDetail {
            field: (*field).into(),
            reason: reason.clone(),
            ..blank(ErrorKind::Invalid, Nothing, false)
        },
        Error::ShuttingDown => ErrorDetail { reason, ..blank(ErrorKind::ShuttingDown, Nothing, true) },
        // A node that stopped for good may have sent the command on before it did.
        Error::Fatal(_) => ErrorDetail { reason, ..blank(ErrorKind::Internal, Unknown, false) },
    }
}

/// A node with its address; an address that is not known is empty.
pub(super) fn node_address(id: NodeId, node: &impl Introspect) -> NodeAddress {
    NodeAddress { node: id.0, address: node.address(id).unwrap_or_default() }
}

/// The refusal as the API names it.
pub(super) fn reason_of(refusal: Refusal) -> RefusalReason {
    match refusal {
        Refusal::NotAnInteger => RefusalReason::NotAnInteger,
        Refusal::Overflow => RefusalReason::Overflow,
        Refusal::NotANumber => RefusalReason::NotANumber,
        Refusal::NotFinite => RefusalReason::NotFinite,
        Refusal::TooLong => RefusalReason::TooLong,
        // None of the API's commands copies.
        Refusal::NoSuchKey | Refusal::Invalid => RefusalReason::Invalid,
    }
}

fn words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAnInteger => "the value is not a 64-bit decimal integer",
        Refusal::Overflow => "the sum would leave 64 bits",
        Refusal::NotANumber => "the value or the increment is not a decimal number",
        Refusal::NotFinite => "the sum would not be finite",
        Refusal::TooLong => "the value would be longer than 8388608 bytes",
        Refusal::NoSuchKey => "there is no such key",
        Refusal::Invalid => "the parts of the command don't fit together",
    }
}
