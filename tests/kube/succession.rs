//! Operators that die or freeze in the middle: their successors finish, and nobody does anything twice.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    crema::{Crema, NEXT_IMAGE, NO_IMAGE, Storage},
    kubectl::{Namespace, wait_for},
    mortal::Mortal,
    operator,
};

#[test]
fn killed_at_every_step() {
    operator::ensure();
    let crema = Crema { namespace: Namespace::new("succession") };
    let mut mortal = Mortal::new(operator::stop(), &crema.namespace.name);
    crema.create(Storage::Disk { when_deleted: "Delete" });
    mortal.die_at(&["apply-objects", "create-stateful-set", "own-claim", "remember", "init", "write-status"]);
    mortal.wait_well(&crema, 3);
    let id = crema.id();
    let load = crema.load();

    crema.scale(5);
    mortal.die_at(&["patch-replicas"]);
    mortal.wait_well(&crema, 5);

    crema.scale(3);
    mortal.die_at(&["drain"]);
    crema.scale(5);
    mortal.die_at(&["undrain"]);
    crema.scale(3);
    mortal.die_at(&["remove", "patch-replicas"]);
    mortal.wait_well(&crema, 3);

    // Also what needs no pod to restart, and what needs new claims.
    crema.patch(&json!({ "cache": { "defaultTtl": "1d" }, "storage": { "size": "2Gi" } }));
    mortal.die_at(&["update-settings", "grow-claim", "orphan-stateful-set"]);
    crema.patch(&json!({ "migration": { "paused": true } }));
    mortal.die_at(&["pause-migrations"]);
    crema.patch(&json!({ "migration": { "paused": false } }));
    mortal.die_at(&["resume-migrations"]);

    crema.patch(&json!({ "image": NO_IMAGE }));
    mortal.die_at(&["apply-template", "transfer-leaders", "patch-partition"]);
    wait_for("a pod with the broken image", || {
        crema.images().iter().any(|(image, _)| image == NO_IMAGE).then_some(())
    });
    crema.patch(&json!({ "image": NEXT_IMAGE }));
    drop(mortal);
    crema.wait_well(3);
    assert!(crema.images().iter().all(|(image, _)| image == NEXT_IMAGE), "{:?}", crema.images());
    assert_eq!(crema.id(), id);
    crema.judge_without_failures(load, "operators killed at every step");
}

#[test]
fn a_frozen_leader_does_nothing_twice() {
    let crema = Crema::start("frozen", Storage::Memory);
    let load = crema.load();
    let mut seen: BTreeSet<String> = crema.images().into_iter().map(|(_, uid)| uid).collect();
    let mut look = |crema: &Crema| {
        seen.extend(crema.images().into_iter().map(|(_, uid)| uid));
        seen.len()
    };
    crema.patch(&json!({ "image": NEXT_IMAGE }));
    wait_for("the first pod to be replaced", || (look(&crema) > 3).then_some(()));
    let turn = operator::turn();
    let frozen = wait_for("a leader among the operators", operator::leader);
    let restarts = operator::restarts(&frozen).expect("the pod of the leader");
    operator::signal(&frozen, "STOP");
    wait_for("another leader", || operator::leader().filter(|leader| *leader != frozen));
    operator::signal(&frozen, "CONT");
    wait_for("the old leader to end", || (operator::restarts(&frozen)? > restarts).then_some(()));
    drop(turn);
    wait_for("the roll", || {
        look(&crema);
        crema.is_well(3).then_some(())
    });
    assert_eq!(look(&crema), 6, "each pod is replaced once");
    crema.judge_without_failures(load, "a frozen leader");
}
