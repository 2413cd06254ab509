//! Each view, from objects as the API server gives them.

use serde_json::{Value, json};

use super::*;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of Kubernetes")
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7"})
}

fn pod_with(status: Value) -> PodState {
    let pod: Pod = read(json!({"metadata": meta("cart-0"), "spec": {"containers": []}, "status": status}));
    pod_state(&pod)
}

fn container(state: Value, restarts: i32) -> Value {
    json!([{"name": "crema", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state}])
}

#[test]
fn ordinals_are_whole() {
    assert_eq!(ordinal("cart-10", "cart-"), Some(Ordinal(10)));
    for other in ["cart-", "cart-01", "cart-x", "cart-1-2", "card-1", "cart-99999999999"] {
        assert_eq!(ordinal(other, "cart-"), None, "{other}");
    }
}

#[test]
fn a_pod_is_in_one_state() {
    let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
    let running = json!({"running": {}});
    let cases = [
        (json!({"phase": "Failed", "reason": "Evicted"}), PodState::Stopped("Evicted".into())),
        (json!({"phase": "Pending"}), PodState::Pending("its containers are not created".into())),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]}),
            PodState::Pending("no room".into()),
        ),
        (
            json!({"containerStatuses": container(json!({"waiting": {"reason": "ImagePullBackOff"}}), 0)}),
            PodState::Pending("ImagePullBackOff".into()),
        ),
        (
            json!({"containerStatuses": container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), 2)}),
            PodState::Stopped("CrashLoopBackOff".into()),
        ),
        (
            json!({"containerStatuses": container(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), 0)}),
            PodState::Stopped("exit code 137 (OOMKilled)".into()),
        ),
        (
            json!({"containerStatuses": container(running.clone(), 1), "conditions": ready("False")}),
            PodState::Starting,
        ),
        (json!({"containerStatuses": container(running, 1), "conditions": ready("True")}), PodState::Ready),
    ];
    for (status, expected) in cases {
        assert_eq!(pod_with(status.clone()), expected, "{status}");
    }
}

#[test]
fn a_pod_belongs_to_its_stateful_set() {
    let owned = |uid: &str| {
        let owner =
            json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "cart", "uid": uid, "controller": true}]);
        let mut meta = meta("cart-2");
        meta["ownerReferences"] = owner;
        meta["annotations"] = json!({(objects::REVISION): "r1"});
        let spec = json!({"containers": [], "nodeName": "n1", "volumes": [{"name": "config", "configMap": {"name": "cart-c1"}}]});
        let pod: Pod = read(json!({"metadata": meta, "spec": spec}));
        super::pod(&pod, "cart", Some("s1")).expect("a pod of ours")
    };
    let ours = owned("s1");
    assert_eq!((ours.control, ours.ordinal), (Control::Ours, Ordinal(2)));
    assert_eq!((ours.machine.as_deref(), ours.config.as_deref()), (Some("n1"), Some("cart-c1")));
    assert_eq!(ours.revision, "r1");
    assert_eq!(owned("s2").control, Control::Other("s2".into()));
}

#[test]
fn a_stateful_set_is_settled_when_its_controller_is() {
    let sts = |status: Value| -> StatefulSetView {
        let spec = json!({
            "selector": {}, "serviceName": "cart", "replicas": 3,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}},
            "template": {"metadata": {"annotations": {(objects::REVISION): "r1"}}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]
        });
        let mut meta = meta("cart");
        meta["generation"] = json!(4);
        let sts: StatefulSet = read(json!({"metadata": meta, "spec": spec, "status": status}));
        let data = json!({"spec": {"template": {"metadata": {"annotations": {(objects::REVISION): "r0"}}}}});
        let kept = read(json!({"metadata": self::meta("a"), "revision": 1, "data": data}));
        stateful_set(&sts, &[kept], "c").expect("a view")
    };
    let status = |generation: i64, current: &str| json!({"replicas": 3, "observedGeneration": generation, "currentRevision": current, "updateRevision": "b"});
    let settled = sts(status(4, "b"));
    assert!(settled.settled);
    assert_eq!((settled.replicas, settled.partition, settled.claim_bytes), (3, 2, Some(1 << 30)));
    assert_eq!((settled.revision.as_str(), settled.control), ("r1", Control::Nobody));
    assert!(!sts(status(3, "b")).settled);
    assert!(!sts(status(4, "a")).settled);
    assert_eq!(
        (sts(status(4, "a")).current.as_deref(), settled.current),
        (Some("r0"), None),
        "of those that are kept"
    );
}

#[test]
fn a_claim_is_of_its_pod_and_a_volume_of_its_machine() {
    let mut named = meta("data-cart-1");
    named["ownerReferences"] =
        json!([{"apiVersion": "crema.io/v1alpha1", "kind": "CremaCluster", "name": "cart", "uid": "c"}]);
    let value = json!({
        "metadata": named,
        "spec": {"resources": {"requests": {"storage": "2Gi"}}},
        "status": {"capacity": {"storage": "1Gi"}}
    });
    let claim: PersistentVolumeClaim = read(value);
    let view = super::claim(&claim, "cart", "c", true, None).expect("a claim of ours");
    assert_eq!((view.ordinal, view.owned, view.terminating), (Ordinal(1), true, false));
    assert_eq!((view.requested_bytes, view.capacity_bytes), (2 << 30, 1 << 30));
    assert!(super::claim(&claim, "card", "c", true, None).is_none());

    let volume = |values: Value| -> PersistentVolume {
        let needs = json!({"key": HOSTNAME, "operator": "In", "values": values});
        let required = json!({"nodeSelectorTerms": [{"matchExpressions": [needs]}]});
        read(json!({"metadata": meta("v"), "spec": {"nodeAffinity": {"required": required}}}))
    };
    assert_eq!(pinned_to(&volume(json!(["h1"]))), Some("h1".to_owned()));
    assert_eq!(pinned_to(&volume(json!(["h1", "h2"]))), None);
}

#[test]
fn a_machine_has_a_name_and_a_host_name() {
    let conditions = json!([{"type": "Ready", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:00:05Z"}]);
    let labels = json!({"kubernetes.io/hostname": "h1", "topology.kubernetes.io/zone": "z1"});
    let machine: Node =
        read(json!({"metadata": {"name": "n1", "labels": labels}, "status": {"conditions": conditions}}));
    let view = node(&machine).expect("a machine");
    assert_eq!((view.ready, view.since_ms, view.zone.as_deref()), (false, 5_000, Some("z1")));
    assert_eq!(machine_of("h1".to_owned(), Some(std::slice::from_ref(&machine))), "n1");
    assert_eq!(machine_of("h2".to_owned(), Some(std::slice::from_ref(&machine))), "h2");
    assert_eq!(machine_of("h1".to_owned(), None), "h1");
}
