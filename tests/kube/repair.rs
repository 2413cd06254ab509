//! What is lost comes back without a person, and nothing acknowledged is lost with it.

use serde_json::json;

use crate::{
    crema::{Crema, NAME, Storage},
    kubectl::{RedisPod, wait_for},
    machines::{self, DOOMED},
    mortal::Mortal,
    operator,
};

const DISK: Storage = Storage::Disk { when_deleted: "Delete" };

fn pod_killed(namespace: &str, storage: Storage) {
    let crema = Crema::start(namespace, storage);
    let load = crema.load();
    let before = crema.images();
    crema.kill_pods(&[1]);
    wait_for("another pod", || (crema.images().len() == 3 && crema.images()[1] != before[1]).then_some(()));
    crema.wait_well(3);
    crema.judge(load, namespace);
}

#[test]
fn pod_killed_in_memory() {
    pod_killed("pod-memory", Storage::Memory);
}

#[test]
fn pod_killed_on_disk() {
    pod_killed("pod-disk", DISK);
}

#[test]
fn machine_lost_and_back() {
    let machine = machines::doomed();
    let (memory, in_memory) = Crema::start_doomed("machine-memory", Storage::Memory, &machine);
    let (disk, on_disk) = Crema::start_doomed("machine-disk", DISK, &machine);
    let (moved, stays) = (memory.load(), disk.load());
    let lost = machine.lose();
    wait_for("the pod on another machine", || (memory.machine_of(in_memory)? != DOOMED).then_some(()));
    wait_for("status to tell of it", || (disk.condition("Degraded")?.0 == "True").then_some(()));
    memory.wait_well(3);
    assert!(memory.has_event("Repairing"), "no event tells of it");
    memory.judge(moved, "a machine lost, in memory");
    lost.restore();
    disk.wait_well(3);
    assert_eq!(disk.machine_of(on_disk).as_deref(), Some(DOOMED), "its volume is there");
    disk.judge(stays, "a machine lost and back, on disk");
}

#[test]
fn machine_gone_with_its_volume() {
    let machine = machines::doomed();
    let (crema, ordinal) = Crema::start_doomed("machine-gone", DISK, &machine);
    crema.patch(&json!({ "replicas": 4, "repair": { "replaceVolumes": true } }));
    crema.wait_well(4);
    let load = crema.load();
    let lost = machine.lose();
    lost.forget();
    let mut mortal = Mortal::new(operator::stop(), &crema.namespace.name);
    mortal.die_at(&["delete-pod", "delete-claim"]);
    drop(mortal);
    wait_for("the pod on another machine", || (crema.machine_of(ordinal)? != DOOMED).then_some(()));
    crema.wait_well(4);
    crema.judge(load, "a machine gone with its volume");
    lost.restore();
}

#[test]
fn volume_lost() {
    let crema = Crema::start("volume", DISK);
    let load = crema.load();
    let claim = format!("data-{NAME}-1");
    let uid = || Some(crema.get(&["persistentvolumeclaim", &claim])?["metadata"]["uid"].to_string());
    let before = uid().expect("a claim");
    crema.must(&["delete", "persistentvolumeclaim", &claim, "--wait=false"]);
    crema.kill_pods(&[1]);
    wait_for("another claim", || (uid()? != before).then_some(()));
    crema.wait_well(3);
    crema.judge(load, "a volume lost");
}

#[test]
fn two_of_three_killed_in_memory() {
    let crema = Crema::start("two-memory", Storage::Memory);
    let redis = RedisPod::start(&crema.namespace.name);
    assert_eq!(redis.cli(NAME, &["SET", "lost", "yes"]).as_deref(), Ok("OK"));
    let id = crema.id();
    crema.kill_pods(&[0, 1]);
    wait_for("an event that tells of the loss", || crema.has_event("QuorumLost").then_some(()));
    wait_for("another cluster", || (crema.id() != id && crema.is_well(3)).then_some(()));
    assert_eq!(redis.cli(NAME, &["GET", "lost"]).as_deref(), Ok(""));
    let load = crema.load();
    crema.judge_without_failures(load, "after a reset");
}

#[test]
fn two_of_three_killed_on_disk() {
    let crema = Crema::start("two-disk", DISK);
    let load = crema.load();
    let id = crema.id();
    crema.kill_pods(&[0, 1]);
    wait_for("two pods to be away", || (crema.ready() < 3).then_some(()));
    crema.wait_well(3);
    assert_eq!(crema.id(), id);
    assert!(!crema.has_event("QuorumLost"), "nothing was lost");
    crema.judge(load, "two of three killed, on disk");
}
