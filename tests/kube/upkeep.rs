//! What people do to machines, volumes and the operator while a cluster serves.

use serde_json::json;

use crate::{
    crema::{Crema, Storage},
    kubectl::{must, wait_for},
    machines::{self, DOOMED},
    operator,
};

const DISK: Storage = Storage::Disk { when_deleted: "Delete" };

#[test]
fn a_machine_is_drained() {
    let machine = machines::doomed();
    let (crema, ordinal) = Crema::start_doomed("drained", Storage::Memory, &machine);
    let load = crema.load();
    // Evictions ask the budget of the cluster.
    must(&["drain", DOOMED, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s"]);
    wait_for("the pod on another machine", || (crema.machine_of(ordinal)? != DOOMED).then_some(()));
    crema.wait_well(3);
    must(&["uncordon", DOOMED]);
    crema.judge_without_failures(load, "a machine drained");
}

#[test]
fn volumes_grow() {
    let crema = Crema::start("grow", DISK);
    let load = crema.load();
    let pods = crema.images();
    crema.patch(&json!({ "storage": { "size": "2Gi" } }));
    let sizes = || -> Vec<String> {
        let claims = crema.list(&["persistentvolumeclaims"]);
        claims.iter().map(|claim| claim["status"]["capacity"]["storage"].to_string()).collect()
    };
    wait_for("larger volumes", || sizes().iter().all(|size| size.contains("2Gi")).then_some(()));
    crema.wait_well(3);
    assert_eq!(crema.images(), pods, "no pod is replaced for it");
    // The next pod gets a claim of the new size, too.
    crema.scale(4);
    crema.wait_well(4);
    assert!(sizes().iter().all(|size| size.contains("2Gi")), "{:?}", sizes());
    crema.judge_without_failures(load, "volumes that grow");
}

#[test]
fn another_operator_and_none() {
    let crema = Crema::start("chart", Storage::Memory);
    let load = crema.load();
    let (id, pods) = (crema.id(), crema.images());
    let turn = operator::turn();
    operator::upgrade(&turn, "log.filter=debug");
    crema.wait_well(3);
    drop(turn);
    assert_eq!(crema.images(), pods, "an upgrade of the operator must replace no pod");
    let absent = operator::remove();
    assert_eq!(crema.ready(), 3, "a cluster needs no operator");
    load.wait_answers(20);
    drop(absent);
    crema.wait_well(3);
    assert_eq!((crema.id(), crema.images()), (id, pods));
    crema.judge_without_failures(load, "another operator, and none");
}
