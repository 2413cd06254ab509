//! The client of `crema.v1.Admin`, for tools: the token on each call, and failures told apart.
//!
//! A call goes to the first address that can be reached, and is never repeated: the caller knows whether that is safe,
//! from [`AdminError::effect`].

use std::time::Duration;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    MAX_MESSAGE_BYTES,
    failure::detail_of,
    v1::{self, Effect, ErrorKind, admin_client},
};

/// A connection to one node's Admin service.
#[derive(Clone, Debug)]
pub struct AdminClient {
    inner: admin_client::AdminClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No node could be reached; nothing was asked.
    #[error("connect to {address}: {reason}")]
    Connect {
        /// The last address that was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The token can't be sent: it has a character that no header may have.
    #[error("the cluster token has a character that can't be sent")]
    Token,
    /// The node says so.
    #[error("{message}")]
    Node {
        /// What kind of failure it is.
        kind: ErrorKind,
        /// What it says.
        message: String,
        /// What the call has changed.
        effect: Effect,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// The answer was lost: a call that changes something may have done so.
    #[error("no answer: {0}")]
    Lost(String),
}

impl AdminError {
    /// What the call has changed.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::Connect { .. } | Self::Token => Effect::None,
            Self::Node { effect, .. } => *effect,
            Self::Lost(_) => Effect::Unknown,
        }
    }

    /// Whether the cluster may answer the same call later. The answer of a read that was lost, too.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost(_) => true,
            Self::Token => false,
            Self::Node { kind, retryable, .. } => *retryable || *kind == ErrorKind::OutcomeUnknown,
        }
    }
}

impl From<Status> for AdminError {
    fn from(status: Status) -> Self {
        match detail_of(&status) {
            Some(detail) => Self::Node {
                kind: detail.kind(),
                message: match detail.field.as_str() {
                    "" => detail.reason.clone(),
                    field => format!("{field}: {}", detail.reason),
                },
                effect: detail.effect(),
                retryable: detail.retryable,
            },
            None => Self::Lost(status.message().to_owned()),
        }
    }
}

impl AdminClient {
    /// Connects to the first of these addresses (`host:port`) that answers within `timeout`, which bounds each call
    /// too. Without a token only a node that asks for none will answer.
    ///
    /// # Errors
    /// [`AdminError::Connect`] for the last address; [`AdminError::Token`].
    pub async fn connect(addresses: &[String], token: Option<&str>, timeout: Duration) -> Result<Self, AdminError> {
        let authorization = token.map(|token| format!("Bearer {token}").parse()).transpose();
        let authorization = authorization.map_err(|_| AdminError::Token)?;
        let mut last = AdminError::Connect { address: String::new(), reason: "no address was given".to_owned() };
        for address in addresses {
            match open(address, timeout).await {
                Ok(channel) => {
                    let inner = admin_client::AdminClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
                    return Ok(Self { inner, authorization, timeout });
                }
                Err(reason) => last = AdminError::Connect { address: address.clone(), reason },
            }
        }
        Err(last)
    }

    fn request<T>(&self, message: T, extra: Duration) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request.set_timeout(self.timeout + extra);
        request
    }

    /// Waits on the server for so long at most; the call may take that much longer.
    ///
    /// # Errors
    /// As every call.
    pub async fn wait_healthy(&mut self, wait: Duration) -> Result<v1::WaitHealthyResponse, AdminError> {
        let ask = v1::WaitHealthyRequest { timeout_ms: wait.as_millis() as u64 };
        let request = self.request(ask, wait);
        Ok(self.inner.wait_healthy(request).await?.into_inner())
    }

    /// Forms a cluster; the call may take as much longer as the request says.
    ///
    /// # Errors
    /// As every call.
    pub async fn init(&mut self, ask: v1::InitRequest) -> Result<v1::InitResponse, AdminError> {
        let extra = Duration::from_millis(ask.timeout_ms);
        let request = self.request(ask, extra);
        Ok(self.inner.init(request).await?.into_inner())
    }
}

async fn open(address: &str, timeout: Duration) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint.connect_timeout(timeout).tcp_nodelay(true);
    match tokio::time::timeout(timeout, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| reason(&error)),
        Err(_) => Err(format!("no answer in {} ms", timeout.as_millis())),
    }
}

/// The innermost cause: tonic's own words are only "transport error".
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

macro_rules! calls {
    ($($name:ident($ask:ident) -> $answer:ident;)*) => {
        impl AdminClient {
            $(
                /// The call of this name; the messages are described in `admin.proto`.
                ///
                /// # Errors
                /// [`AdminError::Node`] when the node answers with one, [`AdminError::Lost`] when it doesn't answer.
                pub async fn $name(&mut self, ask: v1::$ask) -> Result<v1::$answer, AdminError> {
                    let request = self.request(ask, Duration::ZERO);
                    Ok(self.inner.$name(request).await?.into_inner())
                }
            )*
        }
    };
}

calls! {
    status(StatusRequest) -> StatusResponse;
    nodes(NodesRequest) -> NodesResponse;
    shards(ShardsRequest) -> ShardsResponse;
    map(MapRequest) -> MapResponse;
    drain(DrainRequest) -> DrainResponse;
    undrain(UndrainRequest) -> ChangeResponse;
    remove(RemoveRequest) -> ChangeResponse;
    mark_down(MarkDownRequest) -> ChangeResponse;
    reset_shards(ResetShardsRequest) -> ResetShardsResponse;
    rebalance(RebalanceRequest) -> RebalanceResponse;
    move_shard(MoveShardRequest) -> MoveShardResponse;
    transfer_leader(TransferLeaderRequest) -> TransferLeaderResponse;
    pause_migrations(PauseMigrationsRequest) -> ChangeResponse;
    resume_migrations(ResumeMigrationsRequest) -> ChangeResponse;
    cancel_migration(CancelMigrationRequest) -> ChangeResponse;
    migrations(MigrationsRequest) -> MigrationsResponse;
    settings(SettingsRequest) -> SettingsResponse;
    update_settings(UpdateSettingsRequest) -> SettingsResponse;
}
