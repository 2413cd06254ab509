//! The verbs of `cremactl` that change a cluster, as an operator types them.

use crema_tests::{cluster::Cluster, wait_for};
use serde_json::Value;

use crate::membership::{TOKEN, admin};

/// The JSON of a verb that succeeds.
fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let text = admin(cluster, 0, &args).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
}

fn refusal(cluster: &Cluster, args: &[&str]) -> String {
    admin(cluster, 0, args).expect_err("it is refused")
}

fn numbers(of: &Value) -> Vec<u64> {
    of.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

#[test]
fn an_operator_changes_a_cluster() {
    let flags = ["--cluster-token", TOKEN, "--max-memory", "1000000000", "--zone", "a", "--host-name", "here"];
    let mut cluster = Cluster::start("verbs", 3, &flags);
    let nodes = json(&cluster, &["nodes"]);
    assert_eq!(nodes.as_array().map(Vec::len), Some(3), "{nodes}");
    for (field, value) in [("limit_bytes", Value::from(1_000_000_000)), ("zone", "a".into()), ("host", "here".into())]
    {
        assert_eq!(nodes[0][field], value, "{nodes}");
    }

    let why = refusal(&cluster, &["init"]);
    assert!(why.contains("belongs to cluster"), "a second Init: {why}");
    let why = refusal(&cluster, &["drain", "3", "--dry-run"]);
    assert!(why.contains("replication factor"), "fewer than three nodes would be left: {why}");
    let why = refusal(&cluster, &["remove", "3"]);
    assert!(why.contains("drain it before"), "{why}");
    let why = refusal(&cluster, &["move-shard", "0", "--from", "1", "--to", "9"]);
    assert!(why.contains("to_node") && why.contains('9'), "{why}");

    cluster.add().start();
    cluster.wait_balanced(&[0, 1, 2, 3], 3);
    json(&cluster, &["wait-healthy", "--timeout", "60"]);

    let forecast = json(&cluster, &["drain", "4", "--dry-run"]);
    // Three quarters of its 16 shards, and the meta group.
    assert_eq!((&forecast["dry_run"], &forecast["replicas"]), (&Value::Bool(true), &Value::from(13)), "{forecast}");
    assert_eq!(cluster.nodes[3].hosted(), Some(12), "a dry run moved something");
    let drained = json(&cluster, &["drain", "4"]);
    assert_eq!(drained["left"], 0, "{drained}");
    assert_eq!(cluster.nodes[3].hosted(), Some(0));
    wait_for("an empty node to be unready", || (!cluster.nodes[3].is_ready()).then_some(()));
    json(&cluster, &["undrain", "4"]);
    cluster.wait_balanced(&[0, 1, 2, 3], 3);

    json(&cluster, &["pause"]);
    let shards = json(&cluster, &["shards", "--all"]);
    assert_eq!(shards.as_array().map(Vec::len), Some(16), "{shards}");
    let voters = numbers(&shards[0]["voters"]);
    let to = (1..=4).find(|node| !voters.contains(node)).expect("one of four nodes has no voter");
    let (from, to) = (voters[0].to_string(), to.to_string());
    let why = refusal(&cluster, &["move-shard", "0", "--from", &from, "--to", &to]);
    assert!(why.contains("paused"), "{why}");
    assert_eq!(json(&cluster, &["migrations"])["paused"], true);
    json(&cluster, &["resume"]);
    json(&cluster, &["wait-healthy", "--timeout", "60"]);
    json(&cluster, &["move-shard", "0", "--from", &from, "--to", &to]);
    wait_for("the replica to have moved", || {
        let voters = numbers(&json(&cluster, &["shards", "--all"])[0]["voters"]);
        (voters.len() == 3 && voters.contains(&to.parse().expect("a number"))).then_some(())
    });

    let settings = json(&cluster, &["settings", "set", "--migration-bytes-per-s", "1000000"]);
    assert_eq!(settings["migration_bytes_per_s"], 1_000_000, "{settings}");
}
