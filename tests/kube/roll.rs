//! Another image: one pod after the other, and never further than the first that does not come back.

use crema_tests::load::connect;
use serde_json::json;

use crate::{
    crema::{Crema, IMAGE, NAME, NEXT_IMAGE, NO_IMAGE, Storage},
    kubectl::wait_for,
};

const DISK: Storage = Storage::Disk { when_deleted: "Delete" };

fn rolled(namespace: &str, storage: Storage) {
    let crema = Crema::start(namespace, storage);
    let load = crema.load();
    crema.patch(&json!({ "image": NEXT_IMAGE }));
    wait_for("a roll", || {
        assert!(crema.ready() >= 2, "two pods were away at once");
        crema.is_well(3).then_some(())
    });
    assert!(crema.images().iter().all(|(image, _)| image == NEXT_IMAGE), "{:?}", crema.images());
    crema.judge_without_failures(load, namespace);
}

#[test]
fn in_memory() {
    rolled("roll-memory", Storage::Memory);
}

#[test]
fn on_disk() {
    rolled("roll-disk", DISK);
}

#[test]
fn a_broken_image_stops_at_the_first_pod() {
    let crema = Crema::start("roll-broken", DISK);
    let load = crema.load();
    crema.patch(&json!({ "image": NO_IMAGE, "update": { "progressDeadline": "60s" } }));
    wait_for("the roll to fail", || {
        let (_, reason, message) = crema.condition("Degraded")?;
        (reason == "RollFailed" && message.contains("pod 2 did not come back")).then_some(())
    });
    let images = |crema: &Crema| crema.images().into_iter().map(|(image, _)| image).collect::<Vec<_>>();
    assert_eq!(images(&crema), [IMAGE, IMAGE, NO_IMAGE]);
    crema.judge_without_failures(load, "a broken image");

    // Two of three are away now: what was written is on their disks.
    let before = crema.images()[0].1.clone();
    crema.must(&["delete", "pod", &format!("{NAME}-0")]);
    wait_for("the deleted pod to return", || {
        (crema.ready() == 2 && crema.images().first().is_some_and(|(_, uid)| *uid != before)).then_some(())
    });
    assert_eq!(images(&crema), [IMAGE, IMAGE, NO_IMAGE]);

    // Its judge knows no values of another load.
    redis::cmd("FLUSHALL").exec(&mut connect(crema.service()).expect("a connection")).expect("an empty cluster");
    let load = crema.load();
    crema.patch(&json!({ "image": IMAGE }));
    crema.wait_well(3);
    assert_eq!(images(&crema), [IMAGE, IMAGE, IMAGE]);
    crema.judge_without_failures(load, "going back");
}
