use std::{collections::BTreeMap, fs, path::Path};

use crema_crds::{CremaClusterSpec, validate, yaml};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;
use crate::{
    labels::{CLUSTER, SELECTOR},
    model::{ObjectView, revision},
};

/// A spec of these fields; the image is there by itself.
fn spec(fields: Value) -> Validated {
    let mut whole = json!({ "image": "crema:1" });
    for (key, value) in fields.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    let spec: CremaClusterSpec = serde_json::from_value(whole).expect("a spec that the schema allows");
    validate(&spec, None).expect("a sound spec")
}

fn identity() -> Identity {
    Identity {
        name: "cart".to_owned(),
        namespace: "shop".to_owned(),
        uid: "00000000-0000-4000-8000-000000000001".to_owned(),
        revision: "0123456789abcdef".to_owned(),
    }
}

/// On disk, with everything that a user can say.
fn whole() -> Value {
    json!({
        "replicas": 5,
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{ "name": "registry" }],
        "storage": { "type": "rocksdb", "size": "10Gi", "storageClass": "fast" },
        "cache": { "maxMemory": "1Gi" },
        "resources": { "requests": { "cpu": 1, "memory": "2Gi" }, "limits": { "memory": "2Gi" } },
        "readLevel": "local",
        "respMode": "Cluster",
        "raft": { "tick": "100ms", "electionTicks": 20, "heartbeatTicks": 4 },
        "topologySpread": [{ "maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule" }],
        "affinity": { "podAntiAffinity": {} },
        "nodeSelector": { "pool": "cache" },
        "tolerations": [{ "key": "cache", "operator": "Exists" }],
        "priorityClass": "high",
        "pod": {
            "labels": { "team": "shop" },
            "annotations": { "note": "two words" },
            "env": [{ "name": "TZ", "value": "UTC" }],
            "envFrom": [{ "configMapRef": { "name": "more" } }],
            "sidecars": [{ "image": "proxy:1", "name": "proxy" }],
            "volumes": [{ "emptyDir": {}, "name": "scratch" }],
            "volumeMounts": [{ "mountPath": "/scratch", "name": "scratch" }],
            "securityContext": { "fsGroup": 7, "seccompProfile": null },
            "containerSecurityContext": { "readOnlyRootFilesystem": false },
        },
        "service": {
            "type": "LoadBalancer",
            "annotations": { "example.com/internal": "true" },
            "sourceRanges": ["10.0.0.0/8"],
            "externalTrafficPolicy": "Local",
        },
        "logLevel": "info,crema=debug",
        "monitoring": { "enabled": true, "interval": "30s", "labels": { "release": "prometheus" } },
    })
}

/// As little as can be asked for.
fn bare() -> Value {
    json!({
        "replicas": 1,
        "replicationFactor": 1,
        "topologySpread": [],
        "update": { "type": "Manual" },
        "podDisruptionBudget": false,
    })
}

/// The manifests are those in the file of this name.
fn check(name: &str, all: &[Rendered]) {
    let version = |object: &Rendered| object.kind.versions().first().copied().unwrap_or_default();
    let texts: Vec<String> = all.iter().map(|object| yaml::to_string(&object.manifest(version(object)))).collect();
    let text = texts.join("---\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/objects/{name}.yaml"));
    if std::env::var_os("REWRITE").is_some() {
        fs::write(&path, text).expect("rewrite manifests");
    } else {
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, wanted, "{path:?}; REWRITE=1 accepts what came");
    }
}

fn one(kind: Kind, fields: Value) -> Rendered {
    let all = desired(&spec(fields), &identity());
    all.into_iter().find(|object| object.kind == kind).expect("an object of this kind")
}

#[test]
fn the_objects_are_as_they_were_reviewed() {
    check("memory", &desired(&spec(json!({})), &identity()));
    check("whole", &desired(&spec(whole()), &identity()));
    check("bare", &desired(&spec(bare()), &identity()));
}

#[test]
fn no_field_is_unknown_to_kubernetes() {
    for fields in [json!({}), whole(), bare()] {
        for object in desired(&spec(fields), &identity()) {
            match object.kind {
                Kind::ServiceAccount => known::<ServiceAccount>(&object),
                Kind::ConfigMap => known::<ConfigMap>(&object),
                Kind::Service => known::<Service>(&object),
                Kind::StatefulSet => known::<StatefulSet>(&object),
                Kind::PodDisruptionBudget => known::<PodDisruptionBudget>(&object),
                // Its type is not Kubernetes' own.
                Kind::ServiceMonitor => {}
            }
        }
    }
}

/// What is lost on the way through the type is a field that it does not have.
fn known<K: Serialize + DeserializeOwned>(object: &Rendered) {
    let manifest = object.manifest("v1");
    let typed: K = serde_json::from_value(manifest.clone()).expect("of the type's shape");
    let mut again = serde_json::to_value(&typed).expect("JSON");
    // A claim template has a version and kind of its own, which nobody needs to say.
    if let Some(claim) = again.pointer_mut("/spec/volumeClaimTemplates/0").and_then(Value::as_object_mut) {
        claim.remove("apiVersion");
        claim.remove("kind");
    }
    assert_eq!(again, manifest);
}

#[test]
fn every_object_says_whose_it_is_and_what_was_applied() {
    for object in desired(&spec(whole()), &identity()) {
        let metadata = &object.body["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], identity().uid.as_str(), "{:?}", object.kind);
        assert_eq!(metadata["labels"][CLUSTER], "cart", "{:?}", object.kind);
        assert_eq!(metadata["annotations"][HASH], object.hash.as_str(), "{:?}", object.kind);
        for term in SELECTOR.split(',') {
            let (key, value) = term.split_once('=').expect("key=value");
            assert_eq!(metadata["labels"][key], value, "{:?}", object.kind);
        }
    }
}

#[test]
fn the_selector_is_the_same_in_words_and_matches_pods_and_claims() {
    let sts = one(Kind::StatefulSet, whole());
    let labels = &sts.body["spec"]["template"]["metadata"]["labels"];
    let claim = &sts.body["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"];
    for term in identity().selector_text().split(',') {
        let (key, value) = term.split_once('=').expect("key=value");
        assert_eq!((&labels[key], &claim[key]), (&json!(value), &json!(value)));
        assert_eq!(sts.body["spec"]["selector"]["matchLabels"][key], value);
    }
    assert_eq!(claim.as_object().map(serde_json::Map::len), Some(3), "a claim template has no label that may change");
}

#[test]
fn what_is_fixed_for_life_is_the_same_for_every_spec() {
    let (one_way, other) = (one(Kind::StatefulSet, json!({})), one(Kind::StatefulSet, whole()));
    for field in ["serviceName", "selector", "podManagementPolicy"] {
        assert_eq!(one_way.body["spec"][field], other.body["spec"][field], "{field}");
    }
    assert_eq!(one_way.name, other.name);
}

#[test]
fn only_what_a_node_reads_at_its_start_makes_other_settings() {
    let name = |fields: Value| settings_name(&spec(fields), &identity());
    let before = name(json!({}));
    for live in [
        json!({ "replicas": 5 }),
        json!({ "image": "crema:2" }),
        json!({ "replicationFactor": 1 }),
        json!({ "cache": { "maxEntries": 7, "defaultTtl": "1h", "eviction": "Lru" } }),
        json!({ "migration": { "concurrency": 1 }, "repair": { "after": "1m" }, "paused": true }),
        json!({ "raft": { "tick": "50ms", "electionTicks": 10 }, "readLevel": "linearizable", "respMode": "Proxy" }),
    ] {
        assert_eq!(name(live.clone()), before, "{live}");
    }
    for process in [
        json!({ "logLevel": "debug" }),
        json!({ "cache": { "maxMemory": "1Gi" } }),
        json!({ "raft": { "tick": "1s" } }),
        json!({ "readLevel": "local" }),
        json!({ "respMode": "Cluster" }),
        json!({ "shards": 8 }),
    ] {
        assert_ne!(name(process.clone()), before, "{process}");
    }
}

#[test]
fn the_pods_revision_is_the_planners() {
    let at = |revision: &str| {
        let identity = Identity { revision: revision.to_owned(), ..identity() };
        stateful_set(&spec(json!({})), &identity)
    };
    let path = "/spec/template/metadata/annotations/crema.io~1revision";
    assert_eq!(at("r7").body.pointer(path), Some(&json!("r7")));
    assert_ne!(at("r7").hash, at("r8").hash);
}

/// The planner replaces pods of another revision, so a field is in the revision exactly if it is in the template.
#[test]
fn what_is_in_the_template_is_in_the_revision() {
    let object = ObjectView {
        name: "cart".to_owned(),
        namespace: "shop".to_owned(),
        uid: identity().uid,
        resource_version: "1".to_owned(),
        generation: 1,
        deleting: false,
        annotations: BTreeMap::new(),
    };
    let both = |fields: &Value| {
        let spec = spec(fields.clone());
        let sts = stateful_set(&spec, &identity());
        (sts.body["spec"]["template"].clone(), revision(&spec, &object))
    };
    let (template, planned) = both(&json!({}));
    for (rolls, fields) in edits() {
        let (other_template, other_planned) = both(&fields);
        assert_eq!((other_template != template, other_planned != planned), (rolls, rolls), "{fields}");
    }
}

/// One edit of each field that can be changed, and whether pods are replaced for it.
fn edits() -> Vec<(bool, Value)> {
    let rolling = [
        json!({ "image": "crema:2" }),
        json!({ "imagePullPolicy": "Never" }),
        json!({ "imagePullSecrets": [{ "name": "registry" }] }),
        json!({ "cache": { "maxMemory": "1Gi" } }),
        json!({ "resources": { "limits": { "memory": "1Gi" } } }),
        json!({ "readLevel": "local" }),
        json!({ "respMode": "Cluster" }),
        json!({ "raft": { "tick": "1s" } }),
        json!({ "topologySpread": [] }),
        json!({ "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [] } } }),
        json!({ "nodeSelector": { "pool": "cache" } }),
        json!({ "tolerations": [{ "operator": "Exists" }] }),
        json!({ "priorityClass": "high" }),
        json!({ "pod": { "labels": { "team": "shop" } } }),
        json!({ "pod": { "annotations": { "note": "x" } } }),
        json!({ "pod": { "env": [{ "name": "TZ", "value": "UTC" }] } }),
        json!({ "pod": { "envFrom": [{ "configMapRef": { "name": "more" } }] } }),
        json!({ "pod": { "sidecars": [{ "name": "proxy", "image": "proxy:1" }] } }),
        json!({ "pod": { "volumes": [{ "name": "scratch", "emptyDir": {} }] } }),
        json!({ "pod": { "securityContext": { "fsGroup": 7 } } }),
        json!({ "pod": { "securityContext": { "seccompProfile": null } } }),
        json!({ "pod": { "containerSecurityContext": { "runAsUser": 7 } } }),
        json!({ "logLevel": "debug" }),
    ];
    let live = [
        json!({ "replicas": 5 }),
        json!({ "replicationFactor": 1 }),
        json!({ "cache": { "maxEntries": 7, "defaultTtl": "1h", "eviction": "Lru" } }),
        json!({ "migration": { "bandwidth": "1Mi", "concurrency": 1, "paused": true } }),
        json!({ "update": { "type": "Manual", "progressDeadline": "1m", "paused": true } }),
        json!({ "repair": { "after": "1m" } }),
        json!({ "service": { "type": "NodePort", "annotations": { "a": "b" } } }),
        json!({ "podDisruptionBudget": false }),
        json!({ "monitoring": { "enabled": true } }),
        json!({ "quorumLoss": "wait" }),
        json!({ "paused": true }),
    ];
    rolling.map(|fields| (true, fields)).into_iter().chain(live.map(|fields| (false, fields))).collect()
}

#[test]
fn an_accepted_spec_is_found_again() {
    let spec = spec(whole());
    let kept = config::accepted(&spec, &identity());
    let text = kept.body["data"][ACCEPTED_KEY].as_str().expect("a text");
    assert_eq!(read_accepted(text).expect("a spec"), spec.written);
    assert!(read_accepted("{}").is_err());
}

#[test]
fn the_planner_says_how_many() {
    let at_rest = one(Kind::StatefulSet, whole());
    let number = |object: &Rendered, path: &str| object.body.pointer(path).and_then(Value::as_u64);
    let (replicas, partition) = ("/spec/replicas", "/spec/updateStrategy/rollingUpdate/partition");
    assert_eq!((number(&at_rest, replicas), number(&at_rest, partition)), (Some(5), Some(5)));
    let rolling = at_rest.clone().with_scale(4, 2);
    assert_eq!((number(&rolling, replicas), number(&rolling, partition)), (Some(4), Some(2)));
    assert_eq!(rolling.hash, at_rest.hash);
    let manual = one(Kind::StatefulSet, bare()).with_scale(4, 2);
    assert_eq!((number(&manual, replicas), number(&manual, partition)), (Some(4), None));
    let closed = one(Kind::PodDisruptionBudget, json!({})).with_budget(0);
    assert_eq!(number(&closed, "/spec/maxUnavailable"), Some(0));
}

#[test]
fn a_claim_template_that_exists_keeps_its_size() {
    let size = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    let kept = one(Kind::StatefulSet, whole()).with_claim_size("5Gi");
    assert_eq!(kept.body.pointer(size), Some(&json!("5Gi")));
    let none = one(Kind::StatefulSet, json!({}));
    assert_eq!(none.clone().with_claim_size("5Gi"), none);
}

#[test]
fn a_kind_is_sent_in_the_version_that_the_server_has() {
    let budget = one(Kind::PodDisruptionBudget, json!({}));
    assert_eq!(budget.manifest("v1beta1")["apiVersion"], "policy/v1beta1");
    assert_eq!(one(Kind::Service, json!({})).manifest("v1")["apiVersion"], "v1");
    let optional: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.is_optional()).collect();
    assert_eq!(optional, [Kind::PodDisruptionBudget, Kind::ServiceMonitor]);
    for kind in Kind::ALL {
        let asked = desired(&spec(bare()), &identity()).iter().any(|object| object.kind == kind);
        assert_eq!(asked, !kind.is_optional(), "{kind:?}");
    }
}
