//! From `kubectl apply` to `kubectl delete`.

use crate::{
    crema::{Crema, NAME, Storage},
    kubectl::{RedisPod, wait_for},
};

/// What is left in the namespace of what the operator makes; claims are told apart.
fn left(crema: &Crema) -> usize {
    let kinds = "statefulsets,pods,services,poddisruptionbudgets,configmaps,serviceaccounts,secrets";
    crema.list(&[kinds, "--selector=app.kubernetes.io/instance=shop"]).len()
}

fn claims(crema: &Crema) -> usize {
    crema.list(&["persistentvolumeclaims"]).len()
}

fn use_and_delete(namespace: &str, storage: Storage, claims_after: usize) {
    let crema = Crema::start(namespace, storage);
    let columns = crema.must(&["get", "crema", NAME]);
    assert!(columns.contains("3/3") && columns.contains("8/8"), "{columns}");
    let redis = RedisPod::start(&crema.namespace.name);
    assert_eq!(redis.cli(NAME, &["SET", "greeting", "hello"]).as_deref(), Ok("OK"));
    for pod in 0..3 {
        let host = format!("{NAME}-{pod}.{NAME}-nodes");
        assert_eq!(redis.cli(&host, &["GET", "greeting"]).as_deref(), Ok("hello"), "{host}");
    }
    crema.must(&["delete", "pod", "redis"]);
    crema.delete();
    wait_for("nothing but claims to be left", || (left(&crema) == 0).then_some(()));
    wait_for(&format!("{claims_after} claims to be left"), || (claims(&crema) == claims_after).then_some(()));
}

#[test]
fn in_memory() {
    use_and_delete("life-memory", Storage::Memory, 0);
}

#[test]
fn volumes_go() {
    use_and_delete("life-delete", Storage::Disk { when_deleted: "Delete" }, 0);
}

#[test]
fn volumes_stay() {
    use_and_delete("life-retain", Storage::Disk { when_deleted: "Retain" }, 3);
}
