//! Specs that make no sense: refused, or reported by a condition, with the field's name; the running cluster goes on.

use serde_json::{Value, json};

use crate::{
    crema::{Crema, NAME, Storage},
    kubectl::wait_for,
};

/// A change of the spec, and the field that the complaint must name.
fn wrongs() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "replicationFactor": 2 }), "replicationFactor"),
        (json!({ "replicas": 2 }), "replicationFactor"),
        (json!({ "replicas": 5000 }), "replicas"),
        (json!({ "shards": 16 }), "shards"),
        (json!({ "image": "" }), "image"),
        (json!({ "storage": { "type": "rocksdb", "size": "1Gi" } }), "storage.type"),
        (json!({ "storage": { "size": "1Gi" } }), "storage"),
        (json!({ "cache": { "maxMemory": "lots" } }), "maxMemory"),
        (json!({ "cache": { "defaultTtl": "soon" } }), "defaultTtl"),
        (json!({ "raft": { "electionTicks": 3, "heartbeatTicks": 2 } }), "raft.electionTicks"),
        (json!({ "service": { "sourceRanges": ["10.0.0.0/8"] } }), "service.sourceRanges"),
        (json!({ "repair": { "replaceVolumes": true } }), "repair.replaceVolumes"),
        (json!({ "logLevel": "rather=loud=than=not" }), "logLevel"),
        (json!({ "pod": { "env": [{ "name": "CREMA_NODE_ID", "value": "9" }] } }), "env"),
        (json!({ "pod": { "volumes": [{ "name": "config", "emptyDir": {} }] } }), "volumes"),
        (json!({ "pod": { "labels": { "app.kubernetes.io/name": "mine" } } }), "labels"),
        (json!({ "pod": { "sidecars": [{ "name": "crema", "image": "x" }] } }), "sidecars"),
    ]
}

/// Refused at once, or by the operator after a while: the complaint.
fn complaint(crema: &Crema, change: &Value) -> String {
    match crema.try_patch(change) {
        Err(refusal) => refusal,
        Ok(_) => wait_for(&format!("a complaint about {change}"), || {
            let object = crema.look();
            let (status, _, message) = crema.condition("ReconcileSucceeded")?;
            let is_new = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            (status == "False" && is_new).then_some(message)
        }),
    }
}

#[test]
fn refused_or_reported() {
    let crema = Crema::start("invalid", Storage::Memory);
    let load = crema.load();
    let pods = crema.images();
    let good = json!([{ "op": "replace", "path": "/spec", "value": crema.look()["spec"] }]).to_string();
    for (change, field) in wrongs() {
        let complaint = complaint(&crema, &change);
        assert!(complaint.contains(field), "{change} names no {field}: {complaint}");
        crema.must(&["patch", "cremaclusters.crema.io", NAME, "--type=json", "-p", &good]);
    }
    crema.wait_well(3);
    assert_eq!(crema.images(), pods, "a wrong spec must replace no pod");
    crema.judge_without_failures(load, "wrong specs");
}

#[test]
fn repair_goes_on_under_the_last_good_one() {
    let crema = Crema::start("invalid-repair", Storage::Memory);
    let load = crema.load();
    // Nothing in the definition forbids it: the operator does.
    let wrong = json!({ "pod": { "env": [{ "name": "CREMA_NODE_ID", "value": "9" }] } });
    assert!(complaint(&crema, &wrong).contains("env"));
    let before = crema.images();
    crema.kill_pods(&[2]);
    wait_for("three whole nodes again", || {
        let shards = &crema.look()["status"]["shards"];
        let whole = shards["healthy"] == 8 && shards["moving"] == 0;
        (whole && crema.ready() == 3 && crema.images()[2] != before[2]).then_some(())
    });
    crema.judge(load, "repair under a wrong spec");
}
