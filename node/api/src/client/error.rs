//! Why a call of the client has no result, grouped by what the caller does next.

use tonic::{Code, Status};

use crate::{
    failure,
    v1::{Effect, ErrorDetail, ErrorKind, RefusalReason},
};

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Not applied. No node could answer within the deadline, after as many attempts as were safe.
    #[error("unavailable after {attempts} attempts: {reason}")]
    Unavailable {
        /// What the last attempt met.
        reason: String,
        /// How often the request was sent.
        attempts: u32,
    },
    /// The write may or may not have happened; it was not sent again. Read before you decide.
    #[error("outcome unknown: the write may or may not have happened ({reason})")]
    OutcomeUnknown {
        /// Why the answer was lost.
        reason: String,
    },
    /// Not applied. The cluster stayed overloaded until the deadline; slow down.
    #[error("busy: {reason}")]
    Busy {
        /// What is full.
        reason: String,
    },
    /// Not applied. The request is wrong; trying again won't help.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// What is wrong.
        field: String,
        /// The value, and what would be right.
        reason: String,
    },
    /// Not applied. It can't be done on the value that is there.
    #[error("refused: {message}")]
    Refused {
        /// Why.
        reason: RefusalReason,
        /// The same in words.
        message: String,
    },
    /// The server answered with a failure that fits none of the above.
    #[error("{0}")]
    Server(Box<Status>),
}

/// What an attempt's failure allows.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing was applied, or nothing can be: try again, after a pause unless there is a better address.
    Again { detail: Option<Box<ErrorDetail>>, unreachable: bool },
    /// Trying again is useless or unsafe.
    Final,
}

/// Whether a request may be sent again after this status. `writes`: it may change something.
///
/// Without a detail the failure came from the transport: then a write may only be repeated when the connection
/// never came about.
pub(super) fn judge(status: &Status, writes: bool) -> Verdict {
    if let Some(detail) = failure::detail_of(status) {
        let safe = detail.effect() == Effect::None || !writes;
        let again = safe && detail.retryable;
        return if again {
            Verdict::Again { detail: Some(Box::new(detail)), unreachable: false }
        } else {
            Verdict::Final
        };
    }
    let lost = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
    if never_sent(status) || (!writes && lost) {
        return Verdict::Again { detail: None, unreachable: true };
    }
    Verdict::Final
}

/// Whether the connection failed before the request left.
fn never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The client's error for the last attempt's failure.
pub(super) fn give_up(status: &Status, writes: bool, attempts: u32) -> ClientError {
    let reason = status.message().to_owned();
    let Some(detail) = failure::detail_of(status) else {
        return match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::OutOfRange => {
                ClientError::Server(Box::new(status.clone()))
            }
            _ if !writes || never_sent(status) => ClientError::Unavailable { reason, attempts },
            _ => ClientError::OutcomeUnknown { reason },
        };
    };
    if writes && detail.effect() != Effect::None {
        return ClientError::OutcomeUnknown { reason };
    }
    match detail.kind() {
        ErrorKind::NotLeader
        | ErrorKind::Moved
        | ErrorKind::Unavailable
        | ErrorKind::OutcomeUnknown
        | ErrorKind::ShuttingDown => ClientError::Unavailable { reason, attempts },
        ErrorKind::Busy => ClientError::Busy { reason },
        ErrorKind::Invalid => ClientError::Invalid { field: detail.field, reason: detail.reason },
        ErrorKind::Refused => ClientError::Refused { reason: detail.refusal(), message: reason },
        ErrorKind::Unspecified | ErrorKind::Internal | ErrorKind::Unauthenticated => {
            ClientError::Server(Box::new(status.clone()))
        }
    }
}
