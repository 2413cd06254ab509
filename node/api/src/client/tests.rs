//! The client against servers that follow a script.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, AtomicUsize},
};

use tokio::net::TcpListener;
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::transport::Server;

use super::*;
use crate::{
    failure::to_status,
    v1::{self, Effect, KeyHash, NodeAddress, ShardLeader, cache_server},
};

/// What a server does with one request.
enum Step {
    Fail(Status),
    Silence,
    /// Answers, and names the leader of shard 0.
    Hint(String),
}

/// A server that answers everything, but first does what its script says.
#[derive(Clone)]
struct Scripted {
    inner: Arc<Script>,
}

struct Script {
    address: String,
    steps: std::sync::Mutex<VecDeque<Step>>,
    requests: AtomicU32,
    connections: AtomicUsize,
    topology: std::sync::Mutex<TopologyResponse>,
}

async fn server() -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let inner = Script {
        address,
        steps: VecDeque::new().into(),
        requests: AtomicU32::new(0),
        connections: AtomicUsize::new(0),
        topology: std::sync::Mutex::default(),
    };
    let server = Scripted { inner: Arc::new(inner) };
    let counted = server.clone();
    let incoming = TcpListenerStream::new(listener).map(move |stream| {
        counted.inner.connections.fetch_add(1, Ordering::SeqCst);
        stream
    });
    let service = cache_server::CacheServer::new(server.clone());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    server
}

impl Scripted {
    fn then(&self, step: Step) {
        self.inner.steps.lock().unwrap().push_back(step);
    }

    fn requests(&self) -> u32 {
        self.inner.requests.load(Ordering::SeqCst)
    }

    async fn act<T: Default>(&self) -> Result<Response<T>, Status> {
        self.inner.requests.fetch_add(1, Ordering::SeqCst);
        let step = self.inner.steps.lock().unwrap().pop_front();
        let mut answer = Response::new(T::default());
        match step {
            None => {}
            Some(Step::Fail(status)) => return Err(status),
            Some(Step::Silence) => std::future::pending().await,
            Some(Step::Hint(address)) => {
                answer.metadata_mut().insert(LEADER_METADATA, format!("0 2 {address}").parse().unwrap());
            }
        }
        Ok(answer)
    }
}

#[tonic::async_trait]
impl cache_server::Cache for Scripted {
    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.act().await
    }
    async fn exists(&self, _: Request<v1::ExistsRequest>) -> Result<Response<v1::ExistsResponse>, Status> {
        self.act().await
    }
    async fn put(&self, _: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        self.act().await
    }
    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        self.act().await
    }
    async fn compare_and_set(
        &self,
        _: Request<v1::CompareAndSetRequest>,
    ) -> Result<Response<v1::CompareAndSetResponse>, Status> {
        self.act().await
    }
    async fn increment(&self, _: Request<v1::IncrementRequest>) -> Result<Response<v1::IncrementResponse>, Status> {
        self.act().await
    }
    async fn expire(&self, _: Request<v1::ExpireRequest>) -> Result<Response<v1::ExpireResponse>, Status> {
        self.act().await
    }
    async fn batch(&self, _: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        self.act().await
    }
    async fn scan(&self, _: Request<v1::ScanRequest>) -> Result<Response<v1::ScanResponse>, Status> {
        self.act().await
    }
    async fn topology(&self, _: Request<TopologyRequest>) -> Result<Response<TopologyResponse>, Status> {
        Ok(Response::new(self.inner.topology.lock().unwrap().clone()))
    }
}

/// Two servers of a cluster with one shard; the leader is node 1 or 2, or not known.
async fn pair(leader: Option<u64>) -> (Scripted, Scripted) {
    let (one, two) = (server().await, server().await);
    let address = |node, server: &Scripted| NodeAddress { node, address: server.inner.address.clone() };
    let topology = TopologyResponse {
        version: 1,
        key_hash: KeyHash::Crc16.into(),
        num_shards: 1,
        slot_shards: vec![0; 16_384],
        nodes: vec![address(1, &one), address(2, &two)],
        leaders: leader.map(|node| ShardLeader { shard: 0, node }).into_iter().collect(),
    };
    *one.inner.topology.lock().unwrap() = topology.clone();
    *two.inner.topology.lock().unwrap() = topology;
    (one, two)
}

async fn client(server: &Scripted) -> CremaClient {
    client_with(server, Duration::from_secs(5)).await
}

async fn client_with(server: &Scripted, timeout: Duration) -> CremaClient {
    let options = ClientOptions { timeout, ..ClientOptions::default() };
    CremaClient::connect_with([server.inner.address.clone()], options).await.unwrap()
}

fn failing(kind: ErrorKind, effect: Effect, retryable: bool) -> ErrorDetail {
    ErrorDetail { kind: kind.into(), effect: effect.into(), retryable, shard: Some(0), ..ErrorDetail::default() }
}

fn busy() -> Step {
    Step::Fail(to_status("full", &failing(ErrorKind::Busy, Effect::None, true)))
}

#[tokio::test]
async fn requests_go_to_the_leader_over_one_connection() {
    let (one, two) = pair(Some(2)).await;
    let client = client(&one).await;
    for _ in 0..20 {
        client.put("k", "v").await.unwrap();
        client.get("k").await.unwrap();
    }
    assert_eq!((one.requests(), two.requests()), (0, 40));
    assert_eq!(two.inner.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_hint_in_a_failure_is_followed_and_remembered() {
    let (one, two) = pair(Some(1)).await;
    let client = client(&one).await;
    let leader = Some(NodeAddress { node: 2, address: String::new() });
    let detail = ErrorDetail { leader, ..failing(ErrorKind::NotLeader, Effect::None, true) };
    one.then(Step::Fail(to_status("not I", &detail)));
    client.put("k", "a").await.unwrap();
    client.put("k", "b").await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 2));
}

#[tokio::test]
async fn a_hint_in_an_answer_is_remembered() {
    let (one, two) = pair(Some(1)).await;
    let client = client(&one).await;
    one.then(Step::Hint(two.inner.address.clone()));
    client.put("k", "a").await.unwrap();
    client.put("k", "b").await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 1));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_sent_once() {
    let (one, two) = pair(Some(1)).await;
    let client = client(&one).await;
    let unknown = to_status("lost", &failing(ErrorKind::OutcomeUnknown, Effect::Unknown, false));
    for status in [unknown, Status::unavailable("connection reset"), Status::unknown("h2 protocol error")] {
        one.then(Step::Fail(status));
        let error = client.put("k", "v").await.unwrap_err();
        assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    }
    assert_eq!((one.requests(), two.requests()), (3, 0));
}

#[tokio::test]
async fn a_read_is_asked_elsewhere_when_its_node_breaks() {
    let (one, two) = pair(Some(1)).await;
    let client = client(&one).await;
    one.then(Step::Fail(Status::unavailable("connection reset")));
    client.get("k").await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 1));
}

#[tokio::test]
async fn a_silent_node_costs_a_read_time_and_a_write_its_outcome() {
    let (one, two) = pair(Some(1)).await;
    let client = client_with(&one, Duration::from_secs(4)).await;
    one.then(Step::Silence);
    client.get("k").await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, 1));

    let client = client_with(&one, Duration::from_secs(1)).await;
    one.then(Step::Silence);
    let error = client.put("k", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!((one.requests(), two.requests()), (2, 1));
}

#[tokio::test]
async fn a_write_that_never_left_is_sent_elsewhere() {
    let (one, two) = pair(Some(1)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for server in [&one, &two] {
        server.inner.topology.lock().unwrap().nodes[0].address.clone_from(&gone);
    }
    let client = client(&two).await;
    client.put("k", "v").await.unwrap();
    assert_eq!((one.requests(), two.requests()), (0, 1));
}

#[tokio::test]
async fn refused_work_is_tried_until_the_deadline() {
    let (one, _two) = pair(Some(1)).await;
    one.then(busy());
    one.then(busy());
    client(&one).await.put("k", "v").await.unwrap();
    assert_eq!(one.requests(), 3);
    let client = client_with(&one, Duration::from_secs(1)).await;
    for _ in 0..1_000 {
        one.then(busy());
    }
    let error = client.put("k", "v").await.unwrap_err();
    assert!(matches!(error, ClientError::Busy { .. }), "{error:?}");
    assert!(one.requests() < 100, "the pauses must grow");
}

#[tokio::test]
async fn what_is_wrong_is_not_tried_again() {
    let (one, two) = pair(Some(1)).await;
    let client = client(&one).await;
    let detail = ErrorDetail { field: "key".into(), ..failing(ErrorKind::Invalid, Effect::None, false) };
    one.then(Step::Fail(to_status("wrong", &detail)));
    let error = client.get("k").await.unwrap_err();
    assert!(matches!(&error, ClientError::Invalid { field, .. } if field == "key"), "{error:?}");
    assert_eq!((one.requests(), two.requests()), (1, 0));
}

#[tokio::test]
async fn an_unknown_leader_is_no_obstacle() {
    let (one, two) = pair(None).await;
    let client = client(&one).await;
    for _ in 0..30 {
        client.put("k", "v").await.unwrap();
    }
    assert_eq!(one.requests() + two.requests(), 30);
    assert!(one.requests() > 0 && two.requests() > 0, "in turn");
}

#[tokio::test]
async fn connecting_says_what_is_wrong() {
    let nowhere = CremaClient::connect(Vec::<String>::new()).await.unwrap_err();
    assert!(matches!(&nowhere, ClientError::Invalid { field, .. } if field == "endpoints"), "{nowhere:?}");
    let nonsense = CremaClient::connect(["not an address"]).await.unwrap_err();
    assert!(matches!(&nonsense, ClientError::Invalid { field, .. } if field == "endpoint"), "{nonsense:?}");
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let options = ClientOptions { timeout: Duration::from_secs(1), ..ClientOptions::default() };
    let unreachable = CremaClient::connect_with([gone], options).await.unwrap_err();
    assert!(matches!(unreachable, ClientError::Unavailable { attempts, .. } if attempts > 1), "{unreachable:?}");
}
