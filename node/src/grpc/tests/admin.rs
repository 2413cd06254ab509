//! Admin with its token, reflection, health, and the end of the door.

use crema_api::v1::{self, ErrorKind, admin_client::AdminClient};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::{Door, detail, get, open};

pub(super) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

pub(super) fn admin(door: &Door) -> AdminClient<tonic::transport::Channel> {
    AdminClient::new(door.channel.clone())
}

#[tokio::test]
async fn admin_opens_to_the_token_alone() {
    let door = open(Some("secret")).await;
    let without = admin(&door).status(v1::StatusRequest {}).await;
    assert_eq!(without.as_ref().unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(detail(without).kind(), ErrorKind::Unauthenticated);
    for wrong in ["", "secre", "secrets", "Secret"] {
        let result = admin(&door).status(with_token(wrong, v1::StatusRequest {})).await;
        assert_eq!(result.unwrap_err().code(), Code::Unauthenticated, "{wrong:?}");
    }
    let status = admin(&door).status(with_token("secret", v1::StatusRequest {})).await.unwrap().into_inner();
    assert_eq!((status.node, status.state.as_str(), status.peers.len()), (1, "joined", 1));
    assert_eq!(status.shards.unwrap().total, 4);
}

#[tokio::test]
async fn a_node_without_a_token_keeps_admin_closed() {
    for door in [open(None).await, open(Some("")).await] {
        let result = admin(&door).shards(with_token("", v1::ShardsRequest::default())).await;
        assert_eq!(result.as_ref().unwrap_err().code(), Code::Unauthenticated);
        assert!(detail(result).reason.contains("without a cluster token"));
    }
}

#[tokio::test]
async fn shards_are_reported() {
    let door = open(Some("t")).await;
    let ask = v1::ShardsRequest { shards: vec![2] };
    let shards = admin(&door).shards(with_token("t", ask)).await.unwrap().into_inner().shards;
    assert_eq!((shards.len(), shards[0].shard, shards[0].role.as_str()), (1, 2, "leader"));
    assert_eq!(shards[0].followers[0].node, 2);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let door = open(None).await;
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(door.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    assert!(names.contains(&"crema.v1.Cache".into()) && names.contains(&"crema.v1.Admin".into()), "{names:?}");
}

#[tokio::test]
async fn health_follows_readiness() {
    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;
    let door = open(None).await;
    let mut client = HealthClient::new(door.channel.clone());
    for service in ["", "crema.v1.Cache"] {
        door.node.set_unready(None);
        let ask = HealthCheckRequest { service: service.into() };
        let mut changes = client.watch(ask).await.unwrap().into_inner();
        while changes.message().await.unwrap().unwrap().status != SERVING {}
        door.node.set_unready(Some("draining"));
        while changes.message().await.unwrap().unwrap().status != NOT_SERVING {}
    }
}

#[tokio::test]
async fn a_stop_ends_the_door() {
    let door = open(None).await;
    door.cache().get(get("k")).await.unwrap();
    door.stop.send(()).unwrap();
    door.serving.await.unwrap().unwrap();
    tokio::net::TcpStream::connect(door.address).await.unwrap_err();
}
