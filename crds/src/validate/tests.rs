use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    spec::{Eviction, QuorumLoss, ReadLevel, RespMode, Retain, UpdateKind},
    validated::Storage,
};

/// A spec of these fields; the image is there by itself.
fn spec(fields: Value) -> CremaClusterSpec {
    let mut whole = json!({ "image": "crema:1" });
    for (key, value) in fields.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).expect("a spec that the schema allows")
}

/// The one door: what is wrong with these fields beside what there is, a line each; or `ok`.
fn told(fields: Value, accepted: Option<&Accepted>) -> String {
    match validate(&spec(fields), accepted) {
        Ok(_) => "ok".to_owned(),
        Err(problems) => problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"),
    }
}

fn sound(fields: Value) -> Validated {
    validate(&spec(fields), None).expect("sound")
}

#[test]
fn the_defaults_are_filled_in() {
    let spec = sound(json!({}));
    assert_eq!((spec.replicas, spec.shards, spec.replication_factor), (3, 16, 3));
    assert_eq!((&spec.storage, spec.quorum_loss), (&Storage::Memory, QuorumLoss::Reset));
    assert_eq!((spec.cache.max_memory_bytes, spec.cache.max_entries, spec.cache.default_ttl), (None, None, None));
    assert_eq!((spec.cache.eviction, spec.update.kind), (Eviction::TinyLfu, UpdateKind::Rolling));
    assert_eq!(spec.read_level, ReadLevel::Linearizable);
    assert_eq!(spec.resp_mode, RespMode::Proxy);
    assert_eq!(spec.repair.after, Some(Duration::from_secs(300)));
    assert_eq!((spec.log_level.as_str(), spec.pod_disruption_budget, spec.paused), ("info", true, false));
    assert_eq!(spec.monitoring, None);
    assert_eq!(CremaClusterSpec::new("crema:1"), spec.written);
}

#[test]
fn half_of_the_memory_limit_is_for_entries() {
    let spec = sound(json!({ "resources": { "limits": { "memory": "2Gi", "cpu": 2 } } }));
    assert_eq!((spec.cache.max_memory_bytes, spec.warnings.len()), (Some(1 << 30), 0));
    assert_eq!(spec.resources.limits["cpu"], "2");
    // Of 48 replicas three nodes have 16 each, and five have 10 at most.
    assert_eq!(spec.max_bytes_per_shard(3), (1 << 30) / 16);
    assert_eq!(spec.max_bytes_per_shard(5), (1 << 30) / 10);
    assert_eq!(spec.max_bytes_per_shard(1), (1 << 30) / 16);
    assert_eq!(sound(json!({ "cache": { "maxEntries": 17 } })).max_entries_per_shard(), 2);
    assert_eq!(sound(json!({})).max_bytes_per_shard(3), 0);
}

#[test]
fn too_much_for_the_limit_and_no_limit_are_warned_of() {
    let warnings = |memory: &str| {
        let fields = json!({ "resources": { "limits": { "memory": "1Gi" } }, "cache": { "maxMemory": memory } });
        sound(fields).warnings
    };
    assert_eq!(warnings("700Mi"), [""; 0]);
    assert!(warnings("800Mi")[0].starts_with("spec.cache.maxMemory: more than 70%"));
    assert!(sound(json!({})).warnings[0].starts_with("spec.resources.limits.memory: not set"));
}

#[test]
fn a_disk_has_its_own_defaults() {
    let spec = sound(json!({ "storage": { "type": "rocksdb", "size": "10Gi" }, "repair": { "after": "0s" } }));
    let Storage::RocksDb(volume) = &spec.storage else { panic!("{:?}", spec.storage) };
    assert_eq!((volume.size_bytes, volume.size.as_str()), (10 << 30, "10Gi"));
    assert_eq!((volume.when_deleted, volume.when_scaled), (Retain::Retain, Retain::Delete));
    assert_eq!((spec.quorum_loss, spec.repair.after), (QuorumLoss::Wait, None));
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    for (fields, say) in [
        (json!({ "image": "" }), "spec.image: \"\" is no name of an image"),
        (json!({ "image": "a b" }), "spec.image: \"a b\" is no name of an image"),
        (json!({ "replicas": 0, "replicationFactor": 1 }), "spec.replicationFactor: is 1, with spec.replicas 0; two"),
        (json!({ "replicas": 2 }), "spec.replicationFactor: is 3, with spec.replicas 2; two replicas"),
        (json!({ "replicationFactor": 2 }), "spec.replicationFactor: must be 1, 3 or 5"),
        (json!({ "shards": 16385 }), "spec.shards: is 16385; it goes from 1 to 16384"),
        (json!({ "storage": { "type": "rocksdb" } }), "spec.storage.size: needed with"),
        (json!({ "storage": { "type": "rocksdb", "size": "1Mi" } }), "spec.storage.size: is too little"),
        (json!({ "storage": { "type": "rocksdb", "size": "x" } }), "spec.storage.size: \"x\" is no amount"),
        (json!({ "storage": { "size": "1Gi" } }), "spec.storage.size: of use with spec.storage.type rocksdb only"),
        (json!({ "storage": { "storageClass": "a" } }), "spec.storage.storageClass: of use with"),
        (json!({ "storage": { "retention": { "whenScaled": "Delete" } } }), "spec.storage.retention: of use with"),
        (json!({ "cache": { "maxMemory": 0 } }), "spec.cache.maxMemory: must be more than 0"),
        (json!({ "cache": { "maxEntries": 0 } }), "spec.cache.maxEntries: is 0; it is 1 or more"),
        (json!({ "cache": { "defaultTtl": "0s" } }), "spec.cache.defaultTtl: must be more than 0"),
        (json!({ "cache": { "defaultTtl": "soon" } }), "spec.cache.defaultTtl: \"soon\" is no time"),
        (
            json!({ "resources": { "requests": { "cpu": 2 }, "limits": { "cpu": "500m" } } }),
            "spec.resources.requests.cpu: is 2, more than the limit of 500m",
        ),
        (json!({ "raft": { "tick": "1ms" } }), "spec.raft.tick: is 1ms; it goes from 10ms to 10s"),
        (json!({ "raft": { "heartbeatTicks": 6 } }), "spec.raft.electionTicks: is 10; it must be at least twice"),
        (json!({ "migration": { "concurrency": 0 } }), "spec.migration.concurrency: is 0; it goes from 1 to 64"),
        (json!({ "migration": { "bandwidth": 0 } }), "spec.migration.bandwidth: must be more than 0"),
        (json!({ "update": { "progressDeadline": "1s" } }), "spec.update.progressDeadline: is 1s; it goes from 10s"),
        (json!({ "repair": { "replaceVolumes": true } }), "spec.repair.replaceVolumes: there are volumes only with"),
        (json!({ "repair": { "after": "1s" } }), "spec.repair.after: is 1s; it goes from 10s"),
        (json!({ "logLevel": "loud" }), "spec.logLevel: \"loud\" is none; write level"),
        (json!({ "imagePullSecrets": [{ "name": "A" }] }), "spec.imagePullSecrets[0].name: \"A\" is no name"),
        (json!({ "priorityClass": "A" }), "spec.priorityClass: \"A\" is no name"),
        (json!({ "monitoring": { "labels": { "a b": "" } } }), "spec.monitoring.labels: \"a b\": \"\" is no label"),
        (
            json!({ "monitoring": { "labels": { "app.kubernetes.io/instance": "x" } } }),
            "spec.monitoring.labels: \"app.kubernetes.io/instance\" is the operator's own label",
        ),
    ] {
        let told = told(fields.clone(), None);
        assert!(told.lines().any(|line| line.starts_with(say)), "{fields}: {told}");
    }
}

#[test]
fn what_users_add_must_not_be_the_operators_own() {
    for (pod, say) in [
        (
            json!({ "labels": { "app.kubernetes.io/name": "x" } }),
            "spec.pod.labels: \"app.kubernetes.io/name\" is the operator's own",
        ),
        (
            json!({ "annotations": { "crema.io/zone": "x" } }),
            "spec.pod.annotations: \"crema.io/zone\" is the operator's own",
        ),
        (json!({ "labels": { "a": "b c" } }), "spec.pod.labels: \"a\": \"b c\" is no label"),
        (
            json!({ "env": [{ "name": "CREMA_NODE_ID" }] }),
            "spec.pod.env[0].name: \"CREMA_NODE_ID\" is the operator's own",
        ),
        (json!({ "env": [{ "name": "A" }, { "name": "A" }] }), "spec.pod.env[1].name: \"A\" is there twice"),
        (json!({ "env": [{ "value": "A" }] }), "spec.pod.env[0].name: \"\" is no name of a variable"),
        (json!({ "env": [{ "name": "A", "value": 1 }] }), "spec.pod.env[0]: is not what Kubernetes expects: "),
        (
            json!({ "sidecars": [{ "name": "crema" }] }),
            "spec.pod.sidecars[0].name: \"crema\" is the node's own container",
        ),
        (
            json!({ "sidecars": [{ "name": "a", "ports": [{ "containerPort": 6379 }] }] }),
            "spec.pod.sidecars[0].ports: the node itself has the port 6379",
        ),
        (
            json!({ "volumes": [{ "name": "data" }] }),
            "spec.pod.volumes[0].name: \"data\" is the operator's own volume",
        ),
        (
            json!({ "volumeMounts": [{ "name": "x", "mountPath": "/x" }] }),
            "spec.pod.volumeMounts[0]: spec.pod.volumes has",
        ),
        (
            json!({ "volumes": [{ "name": "x" }], "volumeMounts": [{ "name": "x", "mountPath": "/var/lib/crema/" }] }),
            "spec.pod.volumeMounts[0]: mountPath \"/var/lib/crema\" is not absolute, or is the node's own",
        ),
        (
            json!({ "securityContext": { "runAsUser": "me" } }),
            "spec.pod.securityContext: is not what Kubernetes expects",
        ),
    ] {
        let told = told(json!({ "pod": pod.clone() }), None);
        assert!(told.lines().any(|line| line.starts_with(say)), "{pod}: {told}");
    }
}

#[test]
fn a_service_has_what_its_type_allows() {
    for (service, say) in [
        (json!({ "sourceRanges": ["10.0.0.0/8"] }), "spec.service.sourceRanges: of use with"),
        (
            json!({ "type": "LoadBalancer", "sourceRanges": ["10.0.0.0"] }),
            "spec.service.sourceRanges[0]: \"10.0.0.0\"",
        ),
        (json!({ "externalTrafficPolicy": "Local" }), "spec.service.externalTrafficPolicy: of use with"),
        (json!({ "annotations": { "crema.io/x": "" } }), "spec.service.annotations: those that begin with crema.io/"),
        (json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }), "ok"),
        (json!({ "type": "LoadBalancer", "sourceRanges": ["10.0.0.0/8"] }), "ok"),
    ] {
        let told = told(json!({ "service": service.clone() }), None);
        assert!(told.starts_with(say), "{service}: {told}");
    }
}

#[test]
fn what_is_immutable_is_judged_against_what_there_is() {
    let disk = |size: &str, class: Option<&str>| {
        let mut storage = json!({ "type": "rocksdb", "size": size });
        if let Some(class) = class {
            storage["storageClass"] = class.into();
        }
        json!({ "storage": storage })
    };
    let before = Accepted::of(spec(disk("10Gi", Some("fast"))));
    assert_eq!(told(disk("20Gi", Some("fast")), Some(&before)), "ok");
    for (fields, say) in [
        (json!({}), "spec.storage.type: is memory, and the cluster has rocksdb; it is immutable"),
        (disk("10Gi", None), "spec.storage.storageClass: is the default class, and the cluster has fast"),
        (
            disk("5Gi", Some("fast")),
            "spec.storage.size: is 5Gi (5368709120 bytes); the volumes have 10737418240 bytes",
        ),
    ] {
        assert!(told(fields, Some(&before)).starts_with(say), "{say}");
    }
    // The map has the last word, whatever was accepted once.
    let map = Accepted { shards: Some(8), ..Accepted::of(spec(json!({ "shards": 32 }))) };
    assert!(told(json!({ "shards": 32 }), Some(&map)).starts_with("spec.shards: is 32, and the cluster has 8"));
    assert_eq!(told(json!({ "shards": 8 }), Some(&map)), "ok");
    assert_eq!(told(json!({ "shards": 8 }), Some(&Accepted::default())), "ok");
}

#[test]
fn names_leave_room_for_what_is_named_after_them() {
    assert_eq!(name("my-cache"), Ok(()));
    for wrong in ["", "1a", "a.b", "A", "a-", &"a".repeat(41)] {
        assert!(name(wrong).is_err(), "{wrong}");
    }
}
