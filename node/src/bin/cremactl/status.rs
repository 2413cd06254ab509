//! `status`, and `shards` of one node: the `/status` page of a node, for people or as it came.
//!
//! The types here are the page as a client reads it: fields that are not printed are left out, so that a newer or
//! older node can be asked too.

use anyhow::Context;
use serde::Deserialize;

use crate::{Answer, HttpArgs, Output, format::list, http, table::table};

#[derive(Deserialize)]
struct Page {
    node: Node,
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Node {
    node: u64,
    address: String,
    incarnation: String,
    cluster_uid: Option<String>,
    version: String,
    feature_level: u32,
    state: String,
    reason: String,
    peers: Vec<Peer>,
    shards: Totals,
    uptime_ms: u64,
}

#[derive(Deserialize)]
struct Peer {
    node: u64,
    address: String,
    connected: bool,
}

#[derive(Deserialize)]
struct Totals {
    total: u32,
    local: u32,
    led: u32,
    leaderless: u32,
}

#[derive(Deserialize)]
struct Shard {
    shard: u32,
    leader: Option<u64>,
    term: u64,
    commit: u64,
    applied: u64,
    voters: Vec<u64>,
    #[serde(default)]
    learners: Vec<u64>,
    #[serde(default)]
    ops_per_second: f64,
    role: String,
    asleep: bool,
    entries: u64,
    bytes: u64,
}

/// What a node says of itself.
pub(crate) async fn status(args: &HttpArgs) -> anyhow::Result<Answer> {
    show(args, "/node", |page| node_lines(&page.node)).await
}

/// The shards of the cluster as a node sees them.
pub(crate) async fn shards(args: &HttpArgs) -> anyhow::Result<Answer> {
    show(args, "/shards", |page| shard_table(&page.shards)).await
}

/// Fetches the page; JSON is the part at `pointer` as it came, so nothing that this version doesn't know is lost.
async fn show(args: &HttpArgs, pointer: &str, people: impl Fn(&Page) -> String) -> anyhow::Result<Answer> {
    let body = http::get(&args.http, "/status", args.common.timeout()).await?;
    let foreign = || format!("{} is not a Crema node of a version that this cremactl understands", args.http);
    let text = match args.common.output {
        Output::Table => people(&serde_json::from_slice(&body).with_context(foreign)?),
        Output::Json => {
            let page: serde_json::Value = serde_json::from_slice(&body).with_context(foreign)?;
            format!("{:#}\n", page.pointer(pointer).with_context(foreign)?)
        }
    };
    Ok(Answer::found(text))
}

fn node_lines(node: &Node) -> String {
    let state = match node.reason.as_str() {
        "" => node.state.clone(),
        reason => format!("{} ({reason})", node.state),
    };
    let Totals { total, local, led, leaderless } = &node.shards;
    let mut lines = vec![
        ("node", node.node.to_string()),
        ("state", state),
        ("address", node.address.clone()),
        ("incarnation", node.incarnation.clone()),
        ("cluster", node.cluster_uid.clone().unwrap_or_else(|| "not formed".to_owned())),
        ("version", format!("{}, feature level {}", node.version, node.feature_level)),
        ("uptime", format!("{:.1} s", node.uptime_ms as f64 / 1000.0)),
        ("shards", format!("{total} in the cluster, {local} here, {led} led here, {leaderless} without a leader")),
    ];
    for peer in &node.peers {
        let link = if peer.connected { "connected" } else { "not connected" };
        lines.push(("peer", format!("{} at {}, {link}", peer.node, peer.address)));
    }
    lines.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

fn shard_table(shards: &[Shard]) -> String {
    let header = [
        "shard", "role", "leader", "term", "commit", "applied", "entries", "bytes", "ops/s", "voters", "learners",
        "asleep",
    ];
    let rows: Vec<Vec<String>> = shards.iter().map(shard_row).collect();
    table(&header.map(str::to_owned), &rows)
}

fn shard_row(shard: &Shard) -> Vec<String> {
    vec![
        shard.shard.to_string(),
        shard.role.clone(),
        shard.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
        shard.term.to_string(),
        shard.commit.to_string(),
        shard.applied.to_string(),
        shard.entries.to_string(),
        shard.bytes.to_string(),
        format!("{:.0}", shard.ops_per_second),
        list(&shard.voters),
        list(&shard.learners),
        if shard.asleep { "yes" } else { "no" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{
        "node": {"node": 1, "address": "127.0.0.1:7001", "incarnation": "0a", "cluster_uid": null, "version": "0.1.0",
            "feature_level": 1, "state": "forming", "reason": "waits for node 3", "uptime_ms": 1500, "new_field": 1,
            "peers": [{"node": 2, "address": "127.0.0.1:7002", "connected": true}],
            "shards": {"total": 2, "local": 2, "led": 1, "leaderless": 1}},
        "shards": [
            {"shard": 0, "leader": 1, "term": 2, "commit": 10, "applied": 10, "last": 10, "voters": [1, 2, 3],
             "learners": [4], "ops_per_second": 7.6, "role": "leader", "asleep": true, "entries": 3, "bytes": 500},
            {"shard": 1, "leader": null, "term": 0, "commit": 0, "applied": 0, "last": 0, "voters": [1, 2, 3],
             "role": "follower", "asleep": false, "entries": 0, "bytes": 0}]}"#;

    #[test]
    fn pages_are_printed() {
        let page: Page = serde_json::from_str(PAGE).unwrap();
        let lines = node_lines(&page.node);
        assert!(lines.contains("forming (waits for node 3)") && lines.contains("2 at 127.0.0.1:7002, connected"));
        let shards = shard_table(&page.shards);
        let want = "\
shard  role      leader  term  commit  applied  entries  bytes  ops/s  voters  learners  asleep
    0  leader         1     2      10       10        3    500      8  1,2,3          4  yes
    1  follower       -     0       0        0        0      0      0  1,2,3          -  no
";
        assert_eq!(shards, want);
    }
}
