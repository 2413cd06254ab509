//! `/metrics`: what happens is counted, under the names that dashboards use.

use crema_tests::{
    cluster::Cluster,
    http,
    load::connect,
    wait_for,
    wire::{Raw, command},
};

/// Small, so that a refusal is cheap to provoke.
const MAX_CLIENTS: usize = 4;

/// Each must count something after the story below. A label that is not named here may have any value.
const SERIES: &[(&str, &[&str])] = &[
    ("cache_hits_total", &[]),
    ("cache_misses_total", &[]),
    ("cache_entries", &[]),
    ("raft_proposals_total", &[]),
    ("raft_proposal_latency_seconds_count", &[]),
    ("raft_leader_changes_total", &[]),
    ("shard_entries", &[]),
    ("crema_shard_proposals_total", &[]),
    ("crema_expirations_total", &[]),
    ("crema_peer_connected", &[]),
    ("crema_peer_frames_total", &[r#"direction="sent""#]),
    ("crema_peer_frames_total", &[r#"direction="received""#]),
    ("crema_connections", &[r#"door="resp""#]),
    ("crema_connections_refused_total", &[r#"door="resp""#]),
    ("crema_command_calls_total", &[r#"door="resp""#, r#"command="get""#]),
    ("crema_command_errors_total", &[r#"door="resp""#, r#"command="incr""#]),
    ("crema_command_latency_seconds_count", &[r#"door="resp""#, r#"command="set""#]),
];

/// The sum of a series over its other labels and all nodes.
fn sum(pages: &[String], name: &str, labels: &[&str]) -> f64 {
    let lines = pages.iter().flat_map(|page| page.lines()).filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, its_labels) = series.split_once('{').unwrap_or((series, ""));
        let wanted = found == name && labels.iter().all(|label| its_labels.contains(label));
        if wanted { value.parse::<f64>().ok() } else { None }
    });
    values.sum()
}

fn scrape(cluster: &Cluster) -> Option<Vec<String>> {
    let pages = cluster.nodes.iter().map(|node| {
        let (status, page) = http::get(node.addresses.http, "/metrics").ok()?;
        (status == 200).then_some(page)
    });
    pages.collect()
}

/// The connections are kept open, for the gauge.
fn live_a_little(cluster: &Cluster) -> (redis::Connection, Vec<Raw>) {
    let addr = cluster.resp()[0];
    let mut connection = connect(addr).expect("connect");
    let mut ask = |words: &[&str]| redis::cmd(words[0]).arg(&words[1..]).query::<redis::Value>(&mut connection);
    ask(&["SET", "stays", "text"]).expect("a write");
    assert_ne!(ask(&["GET", "stays"]), Ok(redis::Value::Nil), "a hit");
    assert_eq!(ask(&["GET", "absent"]), Ok(redis::Value::Nil), "a miss");
    ask(&["SET", "goes", "soon", "PX", "50"]).expect("a write");
    ask(&["INCR", "stays"]).expect_err("text is no number");

    let ping = |_| {
        let mut raw = Raw::open(addr);
        raw.send(&command(&[b"PING"])).expect("send");
        assert_eq!(raw.read_until(b"\r\n"), b"+PONG\r\n");
        raw
    };
    let held = (1..MAX_CLIENTS).map(ping).collect();
    let refusal = Raw::open(addr).read_to_end();
    assert!(refusal.starts_with(b"-ERR max number of clients"), "{}", String::from_utf8_lossy(&refusal));
    (connection, held)
}

#[test]
fn what_happens_is_counted() {
    let cluster = Cluster::start("metrics", 3, &["--max-clients", &MAX_CLIENTS.to_string()]);
    let _open = live_a_little(&cluster);
    for (name, labels) in SERIES {
        wait_for(&format!("{name} {labels:?} to count"), || {
            let pages = scrape(&cluster)?;
            (sum(&pages, name, labels) > 0.0).then_some(())
        });
    }
}
