//! What the operator leaves alone.

use std::collections::BTreeMap;

use crate::{
    crema::{Crema, Storage},
    kubectl::{kubectl, wait_for},
    operator,
};

/// Every object of the namespace that the operator could write, with its version.
fn versions(crema: &Crema) -> BTreeMap<String, String> {
    let kinds = "cremaclusters.crema.io,statefulsets,pods,services,configmaps,secrets,serviceaccounts,\
                 persistentvolumeclaims,poddisruptionbudgets,endpoints,controllerrevisions";
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let objects = crema.list(&[kinds]);
    let named =
        |object: &serde_json::Value| format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
    objects.iter().map(|object| (named(object), text(&object["metadata"]["resourceVersion"]))).collect()
}

#[test]
fn an_unchanged_cluster_is_not_written() {
    let crema = Crema::start("idle", Storage::Disk { when_deleted: "Delete" });
    let turn = operator::turn();
    // What has just settled may still be told.
    std::thread::sleep(std::time::Duration::from_secs(10));
    let before = versions(&crema);
    assert!(before.len() > 10, "{before:?}");
    // A replica that has seen nothing yet, and then passes because time goes by: every 5 s.
    operator::restart(&turn);
    std::thread::sleep(std::time::Duration::from_secs(15));
    assert_eq!(versions(&crema), before);
}

#[test]
fn a_namespace_goes_without_the_operator() {
    let crema = Crema::start("orphan", Storage::Disk { when_deleted: "Retain" });
    let stopped = operator::stop();
    kubectl(&["delete", "namespace", &crema.namespace.name, "--wait=false"]).expect("a deletion");
    wait_for("the namespace to be gone", || {
        crate::kubectl::get(&["namespace", &crema.namespace.name]).is_none().then_some(())
    });
    drop(stopped);
}
