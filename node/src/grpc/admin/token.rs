//! Admin is open to who knows the cluster token.

use tonic::{Request, Status, service::Interceptor};

use crate::{grpc::failure::unauthenticated, network::ClusterToken};

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
