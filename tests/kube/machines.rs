//! Machines that are lost as by a power cut, and come back.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    crema::is_ready,
    kubectl::{get, kubectl, wait_for},
};

/// A machine without power; it has it again when this is dropped, so that the next test has them all.
pub(crate) struct Lost {
    name: String,
}

/// Cuts the power of a machine, and waits until Kubernetes has noticed.
pub(crate) fn lose(name: &str) -> Lost {
    let lost = Lost { name: name.to_owned() };
    let process = fs::read_to_string(folder().join("pids").join(name)).expect("the process of the machine");
    let status = Command::new("kill").args(["-KILL", process.trim()]).status().expect("kill");
    assert!(status.success(), "no machine {name} to lose: {status}");
    wait_for(60, &format!("{name} to be missed"), || {
        (!is_ready(&get(&["node", name]).unwrap_or_default())).then_some(())
    });
    lost
}

impl Lost {
    /// The machine will never come back: somebody says so to Kubernetes.
    pub(crate) fn forget(&self) {
        crate::kubectl::must(&["delete", "node", &self.name]);
    }

    /// It has power again.
    pub(crate) fn restore(self) {}
}

impl Drop for Lost {
    fn drop(&mut self) {
        let number = self.name.trim_start_matches("node");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube/harness/node");
        let status = Command::new(script).arg(number).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("{} did not come back: {status:?}", self.name);
        }
        kubectl(&["uncordon", &self.name]).unwrap_or_default();
    }
}

/// The folder of this run of Kubernetes.
pub(crate) fn folder() -> PathBuf {
    env::var_os("CREMA_KUBE").expect("CREMA_KUBE: these tests are run by `tests/run kube`").into()
}
