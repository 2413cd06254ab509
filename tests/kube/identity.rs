//! A cluster is initialised once, whatever becomes of the object that describes it.

use crate::{
    crema::{Crema, NAME, Storage},
    kubectl::{RedisPod, wait_for},
    operator,
};

const RETAINED: Storage = Storage::Disk { when_deleted: "Retain" };

#[test]
fn recreated_over_its_volumes() {
    let crema = Crema::start("again", RETAINED);
    let id = crema.id();
    let redis = RedisPod::start(&crema.namespace.name);
    assert_eq!(redis.cli(NAME, &["SET", "kept", "yes"]).as_deref(), Ok("OK"));
    crema.delete();
    wait_for("the pods to end", || crema.pods().is_empty().then_some(()));
    crema.create(RETAINED);
    crema.wait_well(3);
    assert_eq!(crema.id(), id, "another cluster was formed");
    assert_eq!(redis.cli(NAME, &["GET", "kept"]).as_deref(), Ok("yes"));
}

#[test]
fn status_wiped() {
    let storages = [("wiped-memory", Storage::Memory), ("wiped-disk", RETAINED)];
    let all = storages.map(|(namespace, storage)| {
        let crema = Crema::start(namespace, storage);
        let (id, load) = (crema.id(), crema.load());
        (crema, id, load)
    });
    let stopped = operator::stop();
    for (crema, ..) in &all {
        crema.wipe_status();
        assert_eq!(crema.id(), "", "the status is still there");
    }
    drop(stopped);
    for (crema, id, load) in all {
        crema.wait_well(3);
        assert_eq!(crema.id(), id, "another cluster was formed");
        crema.judge_without_failures(load, &crema.namespace.name);
    }
}
