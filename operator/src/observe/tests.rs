//! What a look takes from single objects.

use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of Kubernetes")
}

fn pod(annotations: &Value, ip: &str) -> (PodView, Pod) {
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "cart", "uid": "s", "controller": true}]);
    let meta = json!({
        "name": "cart-1", "uid": "p", "resourceVersion": "3", "annotations": annotations, "ownerReferences": owner,
    });
    let container = json!([{
        "name": "crema", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}},
    }]);
    let volumes = json!([{"name": "config", "configMap": {"name": "cart-config-1"}}]);
    let pod: Pod = read(json!({
        "metadata": meta,
        "spec": {"containers": [], "nodeName": "n1", "volumes": volumes},
        "status": {"podIP": ip, "containerStatuses": container},
    }));
    (workload::pod(&pod, "cart", Some("s")).expect("a pod of ours"), pod)
}

#[test]
fn only_a_process_that_may_run_has_a_door() {
    let address = |view: &PodView, pod: &Pod| door(view, pod).expect("ours").address;
    let (view, raw) = pod(&json!({}), "10.0.0.7");
    assert_eq!(address(&view, &raw).as_deref(), Some("10.0.0.7:7000"));
    let (view, raw) = pod(&json!({}), "fd00::7");
    assert_eq!(address(&view, &raw).as_deref(), Some("[fd00::7]:7000"));
    let stopped = PodView { state: PodState::Stopped("exit code 1".to_owned()), ..view.clone() };
    assert_eq!(address(&stopped, &raw).as_deref(), Some("[fd00::7]:7000"), "it may have been started again");
    let pending = PodView { state: PodState::Pending("unschedulable".to_owned()), ..view.clone() };
    assert_eq!(address(&pending, &raw), None);
    let (nowhere, raw_nowhere) = pod(&json!({}), "");
    assert_eq!(address(&nowhere, &raw_nowhere), None);
    let foreign = PodView { control: Control::Other("x".to_owned()), ..view };
    assert_eq!(door(&foreign, &raw), None);
}

#[test]
fn a_pod_is_told_its_zone_once() {
    let machine = |zone: Option<&str>| NodeView {
        name: "n1".to_owned(),
        ready: true,
        since_ms: 0,
        zone: zone.map(str::to_owned),
    };
    let told = |annotations: Value, machines: Option<&[NodeView]>| {
        let (view, raw) = pod(&annotations, "10.0.0.7");
        super::zone(&view, &raw, machines).map(|(live, zone)| (live.name, zone))
    };
    let says = |zone: &str| Some(("cart-1".to_owned(), zone.to_owned()));
    assert_eq!(told(json!({}), Some(&[machine(Some("z1"))])), says("z1"));
    assert_eq!(told(json!({(ZONE): "z1"}), Some(&[machine(Some("z1"))])), None);
    assert_eq!(told(json!({}), Some(&[machine(None)])), says(NO_ZONE), "its node need not wait");
    assert_eq!(told(json!({}), None), says(NO_ZONE), "machines may not be read");
    assert_eq!(told(json!({}), Some(&[])), None, "its machine is gone");
}

#[test]
fn settings_are_kept_while_anything_refers_to_them() {
    let (view, _) = pod(&json!({}), "");
    let volumes = |name: &str| json!([{"name": "config", "configMap": {"name": name}}, {"name": "x"}]);
    let template = json!({"spec": {"containers": [], "volumes": volumes("cart-config-2")}});
    let sts = json!({"metadata": {}, "spec": {"selector": {}, "serviceName": "cart", "template": template}});
    let revision = json!({
        "metadata": {}, "revision": 1, "data": {"spec": {"template": {"spec": {"volumes": volumes("cart-config-3")}}}},
    });
    let raw = Raw {
        sts: Some(read(sts)),
        pods: Vec::new(),
        claims: Vec::new(),
        revisions: vec![read(revision)],
        accepted: None,
        token: None,
    };
    let names: Vec<String> = referred(&raw, &[view]).into_iter().collect();
    assert_eq!(names, ["cart-config-1", "cart-config-2", "cart-config-3"]);
}

#[test]
fn what_there_is_outranks_what_was_accepted() {
    let template = json!({"metadata": {"name": "data"}, "spec": {"storageClassName": "ssd"}});
    let spec = json!({"selector": {}, "serviceName": "cart", "template": {}, "volumeClaimTemplates": [template]});
    let sts: StatefulSet = read(json!({"metadata": {"name": "cart"}, "spec": spec}));
    let owner = |uid: &str| json!([{"apiVersion": "v", "kind": "k", "name": "cart", "uid": uid, "controller": true}]);
    let config = |uid: &str| -> ConfigMap {
        read(json!({
            "metadata": {"name": "cart-accepted", "ownerReferences": owner(uid)},
            "data": {(crate::objects::ACCEPTED_KEY): r#"{"image":"crema:1"}"#},
        }))
    };
    let raw = |uid: &str| Raw {
        sts: Some(sts.clone()),
        pods: Vec::new(),
        claims: Vec::new(),
        revisions: Vec::new(),
        accepted: Some(config(uid)),
        token: None,
    };
    let ours = kept::accepted(&raw("u"), "u", &[], None);
    assert_eq!(ours.spec.map(|spec| spec.image).as_deref(), Some("crema:1"));
    assert_eq!(ours.storage, Some(crema_crds::spec::StorageKind::RocksDb));
    assert_eq!(ours.storage_class, Some(Some("ssd".to_owned())));
    assert_eq!(kept::accepted(&raw("other"), "u", &[], None).spec, None, "a namesake's");
}

#[test]
fn tokens_are_texts_and_draws_are_identities() {
    let secret = |bytes: &[u8]| Secret {
        data: Some([(TOKEN_KEY.to_owned(), k8s_openapi::ByteString(bytes.to_vec()))].into()),
        ..Secret::default()
    };
    assert_eq!(token(&secret(b"t1"), "u").as_deref(), Some("t1"));
    assert_eq!(token(&secret(b""), "u"), None);
    assert_eq!(token(&secret(&[0xff]), "u"), None);
    let owner = json!([{"apiVersion": "v", "kind": "k", "name": "cart", "uid": "other", "controller": true}]);
    let metadata = read(json!({"name": "cart-token", "ownerReferences": owner}));
    assert_eq!(token(&Secret { metadata, ..secret(b"t1") }, "u"), None, "a namesake's");
    let ClusterUid(drawn) = draw();
    assert!(drawn.len() == 32 && drawn.bytes().all(|byte| byte.is_ascii_hexdigit()), "{drawn}");
}
