//! The door over loopback, before real machines.

mod admin;
mod cache;
mod changes;
mod decoders;
mod failures;
mod hops;
mod through_the_client;

use std::net::SocketAddr;

use crema_api::{
    failure::detail_of,
    v1::{self, ErrorDetail, cache_client::CacheClient},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::{ClusterToken, GrpcConfig, GrpcDoor};
use crate::{
    door_fixture::FakeNode,
    metrics::{MetricsRegistry, NodeMetrics},
};

struct Door {
    node: FakeNode,
    metrics: NodeMetrics,
    address: SocketAddr,
    channel: Channel,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// A door to a node with four shards, and a connection to it.
async fn open(token: Option<&str>) -> Door {
    open_on(FakeNode::new(4), token).await
}

async fn open_on(node: FakeNode, token: Option<&str>) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    node.set_address(address.to_string());
    let metrics = NodeMetrics::new(&MetricsRegistry::new());
    let door = GrpcDoor::new(node.clone(), node.clone(), &metrics, token.and_then(ClusterToken::new));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving =
        tokio::spawn(door.serve(crate::network::server_builder(), listener, GrpcConfig::default(), async {
            stopped.await.unwrap_or_default();
        }));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Door { node, metrics, address, channel, stop, serving }
}

impl Door {
    fn cache(&self) -> CacheClient<Channel> {
        CacheClient::new(self.channel.clone()).max_decoding_message_size(crema_api::MAX_MESSAGE_BYTES)
    }
}

fn put(key: &str, value: &str) -> v1::PutRequest {
    v1::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..v1::PutRequest::default() }
}

fn get(key: &str) -> v1::GetRequest {
    v1::GetRequest { key: key.to_owned().into(), ..v1::GetRequest::default() }
}

/// The detail of a failure; each must have one.
fn detail<T: std::fmt::Debug>(result: Result<T, Status>) -> ErrorDetail {
    let status = result.expect_err("it must fail");
    detail_of(&status).unwrap_or_else(|| panic!("no detail in {status:?}"))
}
