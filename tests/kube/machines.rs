//! Machines that are lost as by a power cut, and come back.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    crema::is_ready,
    kubectl::{get, kubectl, wait_for},
};

/// The machine that is lost: no pod is on it but of clusters that say so.
pub(crate) const DOOMED: &str = "node5";
const LABEL: &str = "crema.io/doomed";

/// The right to do to that machine what one likes; others wait until this is dropped.
pub(crate) struct Doomed {
    _lock: fs::File,
}

/// Waits for that right.
pub(crate) fn doomed() -> Doomed {
    Doomed { _lock: lock("machine") }
}

/// Waits until no other test has a lock of this name: tests are processes.
pub(crate) fn lock(name: &str) -> fs::File {
    let lock = fs::File::create(folder().join(name).with_extension("lock")).expect("make a lock");
    lock.lock().expect("lock");
    lock
}

/// A machine without power; it has it again when this is dropped, so that the next test has them all.
pub(crate) struct Lost;

impl Doomed {
    /// What a spec says to have one of its pods there.
    pub(crate) fn spec(&self) -> Value {
        let there = json!({ "matchExpressions": [{ "key": LABEL, "operator": "Exists" }] });
        let preferred = json!([{ "weight": 100, "preference": there }]);
        let apart =
            json!({ "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule" });
        json!({
            "tolerations": [{ "key": LABEL, "operator": "Exists" }],
            "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred } },
            "topologySpread": [apart],
        })
    }

    /// Cuts its power, and waits until Kubernetes has noticed.
    pub(crate) fn lose(&self) -> Lost {
        let process = fs::read_to_string(folder().join("pids").join(DOOMED)).expect("the process of the machine");
        let status = Command::new("kill").args(["-KILL", process.trim()]).status().expect("kill");
        assert!(status.success(), "no machine {DOOMED} to lose: {status}");
        wait_for(&format!("{DOOMED} to be missed"), || {
            (!is_ready(&get(&["node", DOOMED]).unwrap_or_default())).then_some(())
        });
        Lost
    }
}

impl Lost {
    /// The machine will never come back: somebody says so to Kubernetes.
    pub(crate) fn forget(&self) {
        crate::kubectl::must(&["delete", "node", DOOMED]);
    }

    /// It has power again.
    pub(crate) fn restore(self) {}
}

impl Drop for Lost {
    fn drop(&mut self) {
        let number = DOOMED.trim_start_matches("node");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube/harness/node");
        let status = Command::new(script).arg(number).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("{} did not come back: {status:?}", DOOMED);
        }
        kubectl(&["uncordon", DOOMED]).unwrap_or_default();
    }
}

/// The folder of this run of Kubernetes.
pub(crate) fn folder() -> PathBuf {
    env::var_os("CREMA_KUBE").expect("CREMA_KUBE: these tests are run by `tests/run kube`").into()
}
