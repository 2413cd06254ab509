//! The gRPC door: `crema.v1.Cache`, `crema.v1.Admin`, server reflection and the health service.
//!
//! Sits on [`Executor`] and [`Administer`] alone. [`GrpcDoor::new`] makes the services, to which the node adds its
//! own `Peer` service; [`GrpcDoor::serve`] runs them on a listener until it is told to stop.

use std::{future::Future, io, time::Duration};

use crema_api::{
    MAX_MESSAGE_BYTES,
    v1::{DESCRIPTORS, admin_server::AdminServer, cache_server::CacheServer},
};
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tonic::{
    service::{Routes, interceptor::InterceptedService},
    transport::{
        Server,
        server::{Connected, TcpConnectInfo},
    },
};

use crate::{
    accept::{Acceptor, Connection},
    metrics::{DoorMetrics, NodeMetrics},
    multiraft::execute::Executor,
};

mod admin;
mod batch;
mod cache;
mod failure;
mod health;
mod operation;
mod scan;
#[cfg(test)]
mod tests;
mod topology;

pub use admin::{Administer, ClusterToken};

use admin::{AdminService, Gate};
use cache::{COMMANDS, CacheService};

/// The services of the door, ready to be served.
pub struct GrpcDoor {
    /// The services; add others before serving.
    pub routes: Routes,
    metrics: DoorMetrics,
    health: BoxFuture<'static, ()>,
}

/// Bounds of the door.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// Open connections; more are closed at once. Other nodes' streams count, so leave room for them.
    pub max_connections: usize,
    /// Requests under way on one connection; a client that sends more waits.
    pub max_requests_per_connection: u32,
    /// After the signal to stop: how long the door waits for requests under way. What is open then (a peer
    /// stream never ends by itself) lasts as long as the process.
    pub drain: Duration,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self { max_connections: 10_000, max_requests_per_connection: 1_024, drain: Duration::from_secs(5) }
    }
}

impl GrpcDoor {
    /// The services over a node. Without a token every call of Admin is refused.
    pub fn new<E, I>(executor: E, node: I, metrics: &NodeMetrics, token: Option<ClusterToken>) -> Self
    where
        E: Executor,
        I: Administer,
    {
        let metrics = metrics.door("grpc", &COMMANDS);
        let cache = CacheServer::new(CacheService::new(executor, node.clone(), &metrics))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let admin = InterceptedService::new(AdminServer::new(AdminService::new(node.clone())), Gate(token));
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .build_v1()
            .expect("the descriptors were written by the build");
        let (reporter, health_server) = tonic_health::server::health_reporter();
        let routes = Routes::new(cache).add_service(admin).add_service(reflection).add_service(health_server);
        Self { routes, metrics, health: Box::pin(health::follow(reporter, node)) }
    }

    /// Serves with `builder`'s windows and keepalive on `listener` until `stop` resolves and the requests under way are answered, or
    /// [`GrpcConfig::drain`] has passed.
    ///
    /// # Errors
    /// If the server could not be started.
    pub async fn serve(
        self,
        builder: Server,
        listener: TcpListener,
        config: GrpcConfig,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        let Self { routes, metrics, health } = self;
        let acceptor = Acceptor::new(listener, config.max_connections, metrics);
        let incoming = futures::stream::unfold(acceptor, |acceptor| async move {
            let (connection, _) = acceptor.accept().await;
            Some((io::Result::Ok(connection), acceptor))
        });
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let signal = async move {
            stop.await;
            // The receiver is gone only when serving is over.
            stopping.send(()).ok();
        };
        let serving = builder
            .max_concurrent_streams(config.max_requests_per_connection)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, signal);
        let overdue = async move {
            // An error means that serving ended first.
            stopped.await.ok();
            tokio::time::sleep(config.drain).await;
        };
        tokio::select! {
            served = serving => served,
            () = overdue => Ok(()),
            () = health => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
