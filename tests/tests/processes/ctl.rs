//! `cremactl` against a cluster.

use crema_tests::{cluster::Cluster, ctl::ctl};
use serde_json::Value;

#[test]
fn keys_status_and_shards() {
    let cluster = Cluster::start("ctl", 3, &[]);
    let [one, two, _] = cluster.resp()[..] else { panic!("three nodes") };
    let (one, two) = (one.to_string(), two.to_string());
    assert_eq!(ctl(&["put", "k", "value", "--addr", &one]), Ok("OK\n".to_owned()));
    assert_eq!(ctl(&["get", "k", "--addr", &two]), Ok("value\n".to_owned()));
    assert_eq!(ctl(&["put", "short", "x", "--ttl", "100", "--addr", &one]), Ok("OK\n".to_owned()));
    assert_eq!(ctl(&["del", "k", "absent", "--addr", &two]), Ok("1 of 2 removed\n".to_owned()));
    assert_eq!(ctl(&["get", "k", "--addr", &one]), Err("cremactl: no key 'k'\n".to_owned()));

    let http = cluster.nodes[1].addresses.http.to_string();
    let status = ctl(&["status", "--http", &http]).expect("status");
    assert!(status.contains("16 in the cluster"), "{status}");
    let shards = ctl(&["shards", "--http", &http]).expect("shards");
    assert_eq!(shards.lines().count(), 17, "{shards}");
    let json: Value =
        serde_json::from_str(&ctl(&["shards", "-o", "json", "--http", &http]).expect("JSON")).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(16), "{json}");
}

#[test]
fn bench_reports_no_error() {
    let cluster = Cluster::start("bench", 3, &[]);
    let addrs = cluster.resp().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let grpc = cluster.nodes.iter().map(|node| node.addresses.peer.to_string()).collect::<Vec<_>>().join(",");
    let plain = ["--addr", &addrs];
    let zipf = [
        "--addr",
        &addrs,
        "--distribution",
        "zipf",
        "--fill",
        "--keys",
        "5000",
        "--warm-up",
        "0.2",
        "--threads",
        "2",
    ];
    let calls = ["--target", "grpc", "--addr", &grpc, "--fill", "--keys", "5000"];
    let paced = ["--addr", &addrs, "--rate", "20000"];
    for (further, pipeline) in
        [(&plain[..], "1"), (&plain, "16"), (&zipf, "4"), (&calls, "1"), (&calls, "4"), (&paced, "4")]
    {
        let args = ["bench", "--requests", "20000", "--pipeline", pipeline, "-o", "json"];
        let args: Vec<&str> = args.iter().chain(further).copied().collect();
        let report: Value = serde_json::from_str(&ctl(&args).expect("a report")).expect("JSON");
        assert_eq!(report["errors"], serde_json::json!({}), "{args:?}: {report}");
        // A command that was begun in the warm-up and answered after it is no part of the report.
        assert_eq!(report["ops"], 20_000, "{args:?}: {report}");
        if further.contains(&"--fill") {
            assert_eq!(report["misses"], 0, "{args:?}: {report}");
        }
        let what = further.get(2..).unwrap_or_default().join(" ");
        let rate = report["ops_per_second"].as_f64().unwrap_or(0.0);
        println!("three nodes, pipeline {pipeline} {what}: {rate:.0} ops/s");
    }
}

#[test]
fn nobody_there() {
    let error = ctl(&["get", "k", "--addr", "127.0.0.1:1"]).expect_err("nobody listens");
    assert!(error.contains("connect to 127.0.0.1:1"), "{error}");
    let error = ctl(&["status", "--http", "127.0.0.1:1"]).expect_err("nobody listens");
    assert!(error.contains("connect to 127.0.0.1:1"), "{error}");
}
