//! Changes of the cluster map on their way to the leader of the meta group (`Peer.Govern`).
//!
//! The runtime answers them through a [`Governor`]; [`call`] asks another node. Never here: what a command means, or a
//! second try of one that may have been committed.

use std::time::Duration;

use crema_api::v1::{GovernReply, GovernRequest};
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::{
    error::chain,
    network::{
        session::describe,
        transport::{client, endpoint},
    },
};

/// How long a connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What the answering node may be late beyond the time that it was given.
const GRACE: Duration = Duration::from_secs(1);

/// What a [`GovernReply`] says, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum GovernStatus {
    /// The change is made.
    Committed = 0,
    /// The node does not lead the meta group; nothing was changed.
    NotLeader = 1,
    /// The change does not fit the map; nothing was changed.
    Refused = 2,
    /// It may have been made.
    Unknown = 3,
    /// Nothing was changed, and nobody can now.
    Unavailable = 4,
}

impl GovernStatus {
    /// The status of a reply; one of a newer version, which is not known here, may mean anything.
    #[must_use]
    pub fn of(reply: &GovernReply) -> Self {
        match reply.status {
            0 => Self::Committed,
            1 => Self::NotLeader,
            2 => Self::Refused,
            4 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// A reply with this status and a reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> GovernReply {
        GovernReply { status: self as u32, reason: reason.into(), map: None, leader_node: 0, actual_version: 0 }
    }
}

/// Makes changes of the cluster map: the runtime, once there is one.
pub trait Governor: Send + Sync + 'static {
    /// Answers a request of another node.
    fn govern(&self, request: GovernRequest) -> BoxFuture<'_, GovernReply>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request never left.
    #[error("{0}")]
    NotSent(String),
    /// It left, and may have been carried out.
    #[error("{0}")]
    NoAnswer(String),
}

/// Asks the node at an address; the request's own timeout bounds the wait.
///
/// # Errors
/// [`CallError`] tells whether it may have been carried out.
pub async fn call(address: &str, request: GovernRequest) -> Result<GovernReply, CallError> {
    let not_sent = |reason: String| CallError::NotSent(format!("{address}: {reason}"));
    let limit = Duration::from_millis(request.timeout_ms) + GRACE;
    let endpoint = endpoint(address, CONNECT_TIMEOUT).map_err(|error| not_sent(error.to_string()))?;
    let channel = match timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
        Err(_) => return Err(not_sent(format!("no connection within {CONNECT_TIMEOUT:?}"))),
        Ok(connected) => connected.map_err(|error| not_sent(chain(&error)))?,
    };
    match timeout(limit, client(channel).govern(request)).await {
        Err(_) => Err(CallError::NoAnswer(format!("{address}: no answer within {limit:?}"))),
        Ok(Err(status)) => Err(CallError::NoAnswer(format!("{address}: {}", describe(&status)))),
        Ok(Ok(reply)) => Ok(reply.into_inner()),
    }
}
