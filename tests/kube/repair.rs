//! What is lost comes back without a person, and nothing acknowledged is lost with it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    crema::{Crema, NAME, Storage},
    kubectl::{RedisPod, wait_for},
    machines,
};

const DISK: Storage = Storage::Disk { when_deleted: "Delete" };

fn pod_killed(namespace: &str, storage: Storage) {
    let crema = Crema::start(namespace, storage);
    let load = crema.load();
    let before = crema.images();
    crema.kill_pods(&[1]);
    wait_for(120, "another pod", || (crema.images().len() == 3 && crema.images()[1] != before[1]).then_some(()));
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
    let memory = Crema::start("machine-memory", Storage::Memory);
    let disk = Crema::start("machine-disk", DISK);
    let (moved, stays) = (memory.load(), disk.load());
    // Four machines have three pods of each: some have one of both.
    let machines = |crema: &Crema| (0..3).filter_map(|ordinal| Some((crema.machine_of(ordinal)?, ordinal))).collect();
    let (of_memory, of_disk): (BTreeMap<String, u32>, BTreeMap<String, u32>) = (machines(&memory), machines(&disk));
    let (machine, in_memory) =
        of_memory.iter().find(|(machine, _)| of_disk.contains_key(*machine)).expect("a machine");
    let lost = machines::lose(machine);
    wait_for(120, "the pod on another machine", || (memory.machine_of(*in_memory)? != *machine).then_some(()));
    wait_for(120, "status to tell of it", || (disk.condition("Degraded")?.0 == "True").then_some(()));
    memory.wait_well(3);
    assert!(memory.has_event("Repairing"), "no event tells of it");
    memory.judge(moved, "a machine lost, in memory");
    lost.restore();
    disk.wait_well(3);
    assert_eq!(disk.machine_of(of_disk[machine]).as_ref(), Some(machine), "its volume is there");
    disk.judge(stays, "a machine lost and back, on disk");
}

#[test]
fn machine_gone_with_its_volume() {
    let crema = Crema::start("machine-gone", DISK);
    crema.patch(&json!({ "replicas": 4, "repair": { "replaceVolumes": true } }));
    crema.wait_well(4);
    let load = crema.load();
    let machine = crema.machine_of(1).expect("a machine");
    let lost = machines::lose(&machine);
    lost.forget();
    wait_for(240, "the pod on another machine", || (crema.machine_of(1)? != machine).then_some(()));
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
    wait_for(120, "another claim", || (uid()? != before).then_some(()));
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
    wait_for(120, "an event that tells of the loss", || crema.has_event("QuorumLost").then_some(()));
    wait_for(240, "another cluster", || (crema.id() != id && crema.is_well(3)).then_some(()));
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
    wait_for(60, "two pods to be away", || (crema.ready() < 3).then_some(()));
    crema.wait_well(3);
    assert_eq!(crema.id(), id);
    assert!(!crema.has_event("QuorumLost"), "nothing was lost");
    crema.judge(load, "two of three killed, on disk");
}
