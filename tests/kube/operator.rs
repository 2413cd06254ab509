//! The operator of all tests: installed from the chart once, stopped and killed by some.

use std::{fs, path::Path, process::Command, thread};

use serde_json::Value;

use crate::{
    kubectl::{get, kubectl, look_at_all, must, wait_for},
    machines,
};

pub(crate) const NAMESPACE: &str = "crema-system";
pub(crate) const DEPLOYMENT: &str = "crema-operator";
const VALUES: &str = "resync=5s,lease.duration=8s,lease.renewDeadline=6s,lease.retry=1s";

/// Installs it, unless that was done; waits while a test wants it to be absent.
pub(crate) fn ensure() {
    install_unless_there(&machines::lock("operator"));
}

/// Whoever comes first installs it for all.
fn install_unless_there(_lock: &fs::File) {
    if get(&["-n", NAMESPACE, "deployment", DEPLOYMENT]).is_none() {
        install();
    }
}

/// What a platform engineer types, with a lease that is taken over soon.
fn install() {
    helm("install", &["--create-namespace", "--set", VALUES]);
}

/// Another version of it, as far as that matters: with this value changed.
pub(crate) fn upgrade(_: &Turn, value: &str) {
    helm("upgrade", &["--set", &format!("{VALUES},{value}")]);
}

fn helm(verb: &str, more: &[&str]) {
    let output = Command::new("helm")
        .args([verb, "crema"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/crema"))
        .args(["--namespace", NAMESPACE, "--wait", "--timeout", "120s"])
        // The API server of these tests is older than the rules in the definition.
        .args(["--disable-openapi-validation", "--server-side=false"])
        .args(more)
        .output()
        .expect("start helm");
    assert!(output.status.success(), "helm {verb}: {}", String::from_utf8_lossy(&output.stderr));
}

/// It is uninstalled, and nobody installs it, until this is dropped.
pub(crate) struct Absent {
    lock: fs::File,
    _turn: Turn,
}

/// Uninstalls it, if it is there; what it looks after stays.
pub(crate) fn remove() -> Absent {
    let turn = turn();
    let absent = Absent { lock: machines::lock("operator"), _turn: turn };
    uninstall().unwrap_or_else(|error| panic!("helm uninstall: {error}"));
    absent
}

fn uninstall() -> Result<(), String> {
    let output = Command::new("helm")
        .args(["uninstall", "crema", "--namespace", NAMESPACE, "--ignore-not-found", "--wait"])
        .output()
        .expect("start helm");
    kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).unwrap_or_default();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

impl Drop for Absent {
    fn drop(&mut self) {
        // The clusters of other tests wait for one, with the values of the tests.
        let uninstalled = uninstall();
        if thread::panicking() {
            // Another panic would end the test without its words; whoever comes next installs it.
            return;
        }
        uninstalled.unwrap_or_else(|error| panic!("helm uninstall: {error}"));
        install_unless_there(&self.lock);
    }
}

/// Its two replicas run.
fn start() {
    must(&["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=2"]);
    must(&["-n", NAMESPACE, "rollout", "status", "deployment", DEPLOYMENT, "--timeout=120s"]);
}

/// The right to stop, freeze or replace the operator of all the others, or to have nobody do so; others wait until this is
/// dropped.
pub(crate) struct Turn {
    _lock: fs::File,
}

/// Waits for that right.
pub(crate) fn turn() -> Turn {
    Turn { _lock: machines::lock("turn") }
}

/// Its replicas are replaced, by ones that have seen nothing yet.
pub(crate) fn restart(_: &Turn) {
    must(&["-n", NAMESPACE, "rollout", "restart", "deployment", DEPLOYMENT]);
    must(&["-n", NAMESPACE, "rollout", "status", "deployment", DEPLOYMENT, "--timeout=120s"]);
    wait_for("the replaced operators to end", || (running().len() == 2).then_some(()));
}

/// None runs until this is dropped.
pub(crate) struct Stopped {
    _turn: Turn,
}

/// Stops it, and waits until no process is left.
pub(crate) fn stop() -> Stopped {
    let turn = turn();
    must(&["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=0"]);
    wait_for("no operator", || running().is_empty().then_some(()));
    Stopped { _turn: turn }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if thread::panicking() {
            // Another panic would end the test without its words.
            kubectl(&["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=2"]).unwrap_or_default();
        } else {
            start();
        }
    }
}

/// The pod that holds the lease, if it is one of those that run.
pub(crate) fn leader() -> Option<String> {
    let lease = get(&["-n", NAMESPACE, "lease", DEPLOYMENT])?;
    let holder = &lease["spec"]["holderIdentity"];
    running().iter().any(|pod| pod["metadata"]["name"] == *holder).then(|| holder.as_str().map(str::to_owned))?
}

/// How often the container of a replica was started again.
pub(crate) fn restarts(pod: &str) -> Option<u64> {
    get(&["-n", NAMESPACE, "pod", pod])?["status"]["containerStatuses"][0]["restartCount"].as_u64()
}

/// Sends a signal to the process in a pod of the operator.
pub(crate) fn signal(pod: &str, signal: &str) {
    let process = process_of(pod).unwrap_or_else(|| panic!("no process of the operator in {pod}"));
    let status = Command::new("kill").args([&format!("-{signal}"), &process]).status().expect("kill");
    assert!(status.success(), "kill -{signal} {process}: {status}");
}

/// The processes of all machines are among those of this test.
fn process_of(pod: &str) -> Option<String> {
    let own_name = format!("POD_NAME={pod}");
    let is_it = |process: &Path| {
        let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let is_operator = read("cmdline").windows(DEPLOYMENT.len()).any(|part| part == DEPLOYMENT.as_bytes());
        is_operator && read("environ").split(|byte| *byte == 0).any(|variable| variable == own_name.as_bytes())
    };
    let all = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let found = all.map(|entry| entry.path()).find(|process| is_it(process))?;
    Some(found.file_name()?.to_string_lossy().into_owned())
}

/// Its pods whose process runs; what has ended is there for a while longer.
pub(crate) fn running() -> Vec<Value> {
    let selector = "labelSelector=app.kubernetes.io%2Fname%3Dcrema-operator";
    let mut pods = look_at_all(&format!("/api/v1/namespaces/{NAMESPACE}/pods?{selector}"));
    pods.retain(|pod| !pod["status"]["containerStatuses"][0]["state"]["running"].is_null());
    pods
}

/// What it said last, for a test that failed.
pub(crate) fn describe() {
    let looks: [&[&str]; 2] = [
        &["get", "pods", "-o", "wide"],
        &["logs", "--prefix", "--tail=40", "--selector=app.kubernetes.io/name=crema-operator"],
    ];
    for look in looks {
        let args: Vec<&str> = ["-n", NAMESPACE].into_iter().chain(look.iter().copied()).collect();
        eprintln!("---- kubectl {args:?}\n{}", kubectl(&args).unwrap_or_else(|error| error));
    }
}
