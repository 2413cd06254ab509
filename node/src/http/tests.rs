//! The door over loopback, spoken to in plain text.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::door_fixture::{FakeNode, govern::map};

struct Door {
    node: FakeNode,
    metrics: NodeMetrics,
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn open(config: HttpConfig) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (node, metrics) = (FakeNode::new(2), NodeMetrics::new(&MetricsRegistry::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let (its_node, its_metrics) = (node.clone(), metrics.clone());
    let serving = tokio::spawn(async move {
        serve(listener, its_node, &its_metrics, config, async { stopped.await.unwrap_or_default() }).await;
    });
    Door { node, metrics, address, stop, serving }
}

impl Door {
    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    async fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A connection that was cut off while we still wrote ends in a reset; what came before counts.
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

#[tokio::test]
async fn the_scrape_has_the_names_of_the_reference_and_each_shard() {
    let door = open(HttpConfig::default()).await;
    door.metrics.cache_hits.inc_by(7);
    let shard = door.metrics.shard(1);
    shard.proposed(3);
    shard.read(5);
    shard.leader_changed();
    door.metrics.door("resp", &["get"]).command("get").record(Duration::from_millis(1), true);
    door.metrics.door("resp", &["get"]).command("made-up-1").record(Duration::from_millis(1), false);
    door.metrics.door("resp", &["get"]).command("made-up-2").record(Duration::from_millis(1), false);
    door.node.set_map(map(3, 2, 3));
    door.metrics.migrated("repair", "done", Duration::from_secs(3), 77);
    let (status, text) = door.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "cache_hits_total 7",
        "cache_misses_total 0",
        "cache_entries 0",
        "cache_size_bytes 0",
        "raft_proposals_total 3",
        "raft_proposal_latency_seconds_count 0",
        "raft_leader_changes_total 1",
        "shard_entries{shard=\"1\"} 0",
        "shard_leader_changes_total{shard=\"1\"} 1",
        "crema_shard_reads_total{shard=\"1\"} 5",
        "crema_shard_leader{shard=\"0\"} 1",
        "crema_shard_lag_entries{follower=\"2\",shard=\"0\"} 0",
        "crema_command_calls_total{command=\"get\",door=\"resp\"} 1",
        "crema_command_calls_total{command=\"other\",door=\"resp\"} 2",
        "crema_command_errors_total{command=\"other\",door=\"resp\"} 2",
        "crema_peer_frames_total{direction=\"sent\"} 0",
        "crema_connections{door=\"http\"} 1",
        "crema_shards{state=\"leaderless\"} 0",
        "crema_replicas{health=\"serving\"} 2",
        "crema_replicas{health=\"corrupt\"} 0",
        "crema_map_version 1",
        "crema_members{state=\"up\"} 3",
        "crema_members{state=\"draining\"} 0",
        "crema_under_replicated_shards 0",
        "crema_migrations_active{reason=\"drain\"} 0",
        "migration_duration_seconds_count{reason=\"repair\"} 1",
        "migration_duration_seconds_sum{reason=\"repair\"} 3",
        "crema_migrations_total{outcome=\"done\",reason=\"repair\"} 1",
        "crema_migrations_total{outcome=\"cancelled\",reason=\"asked\"} 0",
        "crema_migration_bytes_total{reason=\"repair\"} 77",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    assert!(!text.contains("made-up"), "labels must not come from clients");
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let door = open(HttpConfig::default()).await;
    assert_eq!(door.get("/readyz").await, (200, "[+]joined ok: map version 4\n[+]replicas ok: all\n".into()));
    door.node.set_unready(Some("2 of 16 are still learners"));
    let (status, body) = door.get("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(body, "[+]joined ok: map version 4\n[-]replicas not ok: 2 of 16 are still learners\n");
    assert_eq!(door.get("/livez").await.0, 200, "an unready node lives");
}

#[tokio::test]
async fn liveness_fails_when_a_worker_stands_still() {
    let door = open(HttpConfig { stall: Duration::ZERO, ..HttpConfig::default() }).await;
    assert_eq!(door.get("/livez").await.0, 200);
    let (status, body) = door.get("/livez").await;
    assert_eq!(status, 503);
    assert!(body.starts_with("[-]workers not ok: worker 0 has not turned for "), "{body}");
    door.node.turn();
    assert_eq!(door.get("/livez").await.0, 200);
}

#[tokio::test]
async fn the_status_is_json_and_the_page_needs_nothing_else() {
    let door = open(HttpConfig::default()).await;
    let (status, body) = door.get("/status").await;
    assert_eq!(status, 200);
    let page: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(page["node"]["state"], "joined");
    assert_eq!(page["node"]["peers"][0]["address"], "127.0.0.1:7002");
    assert_eq!(page["shards"][1]["role"], "leader");
    assert_eq!(page["shards"][1]["followers"][0]["node"], 2);
    assert_eq!(page["cluster"], serde_json::Value::Null, "it belongs to none");
    door.node.set_map(map(3, 2, 3));
    let page: serde_json::Value = serde_json::from_str(&door.get("/status").await.1).unwrap();
    let cluster = &page["cluster"];
    assert_eq!((&cluster["members"][2]["node"], &cluster["members"][2]["state"]), (&3.into(), &"up".into()));
    assert_eq!((&cluster["waiting_on"], &cluster["migrations"]), (&serde_json::json!([]), &serde_json::json!([])));
    door.node.follow(None);
    let page: serde_json::Value = serde_json::from_str(&door.get("/status").await.1).unwrap();
    assert_eq!(page["cluster"]["waiting_on"], serde_json::Value::Null, "only the meta leader knows");
    let (status, html) = door.get("/").await;
    assert_eq!(status, 200);
    assert!(html.starts_with("<!doctype html>"));
    assert!(!html.contains("http://") && !html.contains("https://"), "the page must not load anything from outside");
}

#[tokio::test]
async fn wrong_requests_get_an_error_and_the_door_stays_open() {
    let door = open(HttpConfig::default()).await;
    assert_eq!(door.get("/nothing").await.0, 404);
    assert_eq!(door.send("POST /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.0, 405);
    assert_eq!(door.send("what is this\r\n\r\n").await.0, 400);
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(door.send(&long).await.0, 431);
    assert_eq!(door.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_cut_off() {
    let config = HttpConfig { header_timeout: Duration::from_millis(50), ..HttpConfig::default() };
    let door = open(config).await;
    let (status, _) = door.send("GET / HTTP/1.1\r\nHost: ").await;
    assert!(status == 0 || status == 408, "cut off, with or without a word: {status}");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_and_counted() {
    let door = open(HttpConfig { max_connections: 1, ..HttpConfig::default() }).await;
    let mut first = TcpStream::connect(door.address).await.unwrap();
    first.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    first.readable().await.unwrap();
    assert_eq!(door.get("/readyz").await, (0, String::new()));
    assert_eq!(door.metrics.door("http", &[]).connections_refused.get(), 1);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends() {
    let door = open(HttpConfig::default()).await;
    let mut idle = TcpStream::connect(door.address).await.unwrap();
    idle.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.readable().await.unwrap();
    door.stop.send(()).unwrap();
    door.serving.await.unwrap();
    let mut answer = String::new();
    idle.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
