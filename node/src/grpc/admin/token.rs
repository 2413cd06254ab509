//! The token that opens Admin.

use tonic::{Request, Status, service::Interceptor};

use crate::grpc::failure::unauthenticated;

/// The secret that all nodes and administrators of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(String);

impl ClusterToken {
    /// A token; `None` when the text is empty, which opens nothing.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Option<Self> {
        Some(token.into()).filter(|token| !token.is_empty()).map(Self)
    }

    /// Compares without telling by its time how much of a guess is right.
    fn is(&self, guess: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let differing = token.iter().zip(guess).fold(0, |bits, (a, b)| bits | (a ^ b));
        token.len() == guess.len() && differing == 0
    }
}

impl std::fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterToken(..)")
    }
}

/// Lets through what carries the token; without one configured, nothing.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Gate(pub(in crate::grpc) Option<ClusterToken>);

impl Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(token) = &self.0 else {
            return Err(unauthenticated("Admin is closed: this node was started without a cluster token"));
        };
        let header = request.metadata().get("authorization").map(|value| value.as_bytes());
        match header.map(|value| value.strip_prefix(b"Bearer ")) {
            None => Err(unauthenticated("Admin needs the metadata `authorization: Bearer <cluster token>`")),
            Some(Some(guess)) if token.is(guess) => Ok(request),
            Some(_) => Err(unauthenticated("the cluster token is wrong")),
        }
    }
}
