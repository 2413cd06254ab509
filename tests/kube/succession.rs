//! Operators that die or freeze in the middle: their successors finish, and nobody does anything twice.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    crema::{Crema, NEXT_IMAGE, Storage},
    kubectl::{Namespace, wait_for},
    operator::{self, Stopped},
};

/// One operator after the other dies before, and another one after, each of these steps.
fn die_at_each(stopped: &Stopped, steps: &[&str]) {
    for step in steps {
        stopped.run_until(&format!("before-{step}"));
        stopped.run_until(&format!("after-{step}"));
    }
}

#[test]
fn killed_at_every_step() {
    operator::ensure();
    let crema = Crema { namespace: Namespace::new("succession") };
    let stopped = operator::stop();
    crema.create(Storage::Memory);
    die_at_each(&stopped, &["apply-objects", "create-stateful-set", "remember", "init", "write-status"]);
    drop(stopped);
    crema.wait_well(3);
    let id = crema.id();
    let load = crema.load();

    let stopped = operator::stop();
    crema.scale(5);
    die_at_each(&stopped, &["patch-replicas"]);
    drop(stopped);
    crema.wait_well(5);

    let stopped = operator::stop();
    crema.scale(3);
    die_at_each(&stopped, &["drain", "remove", "patch-replicas"]);
    drop(stopped);
    crema.wait_well(3);

    let stopped = operator::stop();
    crema.patch(&json!({ "image": NEXT_IMAGE }));
    die_at_each(&stopped, &["apply-template", "transfer-leaders", "patch-partition"]);
    drop(stopped);
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
    wait_for(120, "the first pod to be replaced", || (look(&crema) > 3).then_some(()));
    let frozen = operator::leader();
    let restarts = operator::restarts(&frozen).expect("the pod of the leader");
    operator::signal(&frozen, "STOP");
    wait_for(60, "another leader", || (operator::leader() != frozen).then_some(()));
    operator::signal(&frozen, "CONT");
    wait_for(60, "the old leader to end", || (operator::restarts(&frozen)? > restarts).then_some(()));
    wait_for(240, "the roll", || {
        look(&crema);
        crema.is_well(3).then_some(())
    });
    assert_eq!(look(&crema), 6, "each pod is replaced once");
    crema.judge_without_failures(load, "a frozen leader");
}
