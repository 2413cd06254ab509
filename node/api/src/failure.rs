//! Failures on the wire: an [`ErrorDetail`] inside a `google.rpc.Status` inside a gRPC status.
//!
//! The node's door writes them, the client reads them. A status without a detail was not made by Crema: it
//! says nothing about what was applied.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use crate::v1::{ErrorDetail, ErrorKind};

const DETAIL_TYPE_URL: &str = "type.googleapis.com/crema.v1.ErrorDetail";

/// `google.rpc.Status`, as far as it is needed: the standard form of `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// The gRPC code that goes with a kind of failure.
#[must_use]
pub fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Unspecified | ErrorKind::OutcomeUnknown => Code::Unknown,
        ErrorKind::NotLeader | ErrorKind::Unavailable | ErrorKind::ShuttingDown => Code::Unavailable,
        ErrorKind::Moved => Code::Aborted,
        ErrorKind::Busy => Code::ResourceExhausted,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Refused => Code::FailedPrecondition,
        ErrorKind::Internal => Code::Internal,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
    }
}

/// A gRPC status that carries the detail and the code of its kind.
#[must_use]
pub fn to_status(message: impl Into<String>, detail: &ErrorDetail) -> Status {
    let (code, message) = (code_of(detail.kind()), message.into());
    let any = RpcAny { type_url: DETAIL_TYPE_URL.into(), value: detail.encode_to_vec().into() };
    let rpc = RpcStatus { code: code as i32, message: message.clone(), details: vec![any] };
    Status::with_details(code, message, rpc.encode_to_vec().into())
}

/// The detail that [`to_status`] put into a status; `None` when there is none that can be read.
#[must_use]
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let rpc = RpcStatus::decode(status.details()).ok()?;
    let any = rpc.details.iter().find(|any| any.type_url == DETAIL_TYPE_URL)?;
    ErrorDetail::decode(any.value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::Effect;

    #[test]
    fn a_detail_survives_the_way_through_a_status() {
        let detail = ErrorDetail {
            kind: ErrorKind::Busy.into(),
            effect: Effect::None.into(),
            retryable: true,
            field: "mailbox".into(),
            ..ErrorDetail::default()
        };
        let status = to_status("busy", &detail);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(detail_of(&status), Some(detail));
    }

    #[test]
    fn foreign_details_are_no_detail() {
        assert_eq!(detail_of(&Status::unknown("x")), None);
        assert_eq!(detail_of(&Status::with_details(Code::Unknown, "x", Bytes::from_static(b"\xff\xff"))), None);
    }
}
