//! `kubectl scale` under load: nobody is told of a failure, and nothing acknowledged is lost.

use crate::{
    crema::{Crema, Storage},
    kubectl::wait_for,
};

fn states(crema: &Crema, state: &str) -> usize {
    let object = crema.look();
    let members = object["status"]["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter(|member| member["state"] == state).count()
}

fn up_and_down(namespace: &str, storage: Storage) {
    let crema = Crema::start(namespace, storage);
    let load = crema.load();
    crema.scale(5);
    wait_for("status to tell of it", || {
        let (status, reason, _) = crema.condition("Progressing")?;
        (status == "True" && reason == "Scaling").then_some(())
    });
    crema.wait_well(5);
    crema.scale(3);
    crema.wait_well(3);
    wait_for("two pods to be gone", || (crema.pods().len() == 3).then_some(()));
    if storage != Storage::Memory {
        let claims = || crema.list(&["persistentvolumeclaims"]).len();
        wait_for("two claims to be gone", || (claims() == 3).then_some(()));
    }
    crema.judge_without_failures(load, namespace);
}

fn reverted_half_way(namespace: &str, storage: Storage) {
    let crema = Crema::start(namespace, storage);
    let load = crema.load();
    crema.scale(5);
    wait_for("a fourth member", || (states(&crema, "up") >= 4).then_some(()));
    crema.scale(3);
    crema.wait_well(3);
    crema.scale(5);
    crema.wait_well(5);
    crema.scale(3);
    wait_for("a member that is emptied", || (states(&crema, "draining") >= 1).then_some(()));
    crema.scale(5);
    crema.wait_well(5);
    crema.judge_without_failures(load, namespace);
}

#[test]
fn up_and_down_in_memory() {
    up_and_down("scale-memory", Storage::Memory);
}

#[test]
fn up_and_down_on_disk() {
    up_and_down("scale-disk", Storage::Disk { when_deleted: "Delete" });
}

#[test]
fn reverted_in_memory() {
    reverted_half_way("revert-memory", Storage::Memory);
}

#[test]
fn reverted_on_disk() {
    reverted_half_way("revert-disk", Storage::Disk { when_deleted: "Delete" });
}
