//! The operator of all tests: installed from the chart once, stopped and killed by some.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    kubectl::{apply, get, kubectl, list, must, wait_for},
    machines,
};

const NAMESPACE: &str = "crema-system";
const DEPLOYMENT: &str = "crema-operator";
const VALUES: &str = "resync=5s,lease.duration=4s,lease.renewDeadline=3s,lease.retry=1s";
/// The pod of an operator that is to die.
const MORTAL: &str = "mortal";

/// Installs it, unless that was done.
pub(crate) fn ensure() {
    // Whoever comes first installs it for all: tests are processes.
    let lock = fs::File::create(machines::folder().join("install")).expect("make a lock");
    lock.lock().expect("lock");
    if get(&["-n", NAMESPACE, "deployment", DEPLOYMENT]).is_none() {
        install();
    }
    start();
}

/// What a platform engineer types, with a lease that is taken over soon.
fn install() {
    helm("install", &["--create-namespace", "--set", VALUES]);
}

/// Another version of it, as far as that matters: with this value changed.
pub(crate) fn upgrade(value: &str) {
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

/// Uninstalls it, if it is there; what it looks after stays.
pub(crate) fn remove() {
    let output = Command::new("helm")
        .args(["uninstall", "crema", "--namespace", NAMESPACE, "--ignore-not-found", "--wait"])
        .output()
        .expect("start helm");
    assert!(output.status.success(), "helm uninstall: {}", String::from_utf8_lossy(&output.stderr));
    kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).unwrap_or_default();
}

/// Its two replicas run.
pub(crate) fn start() {
    must(&["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=2"]);
    must(&["-n", NAMESPACE, "rollout", "status", "deployment", DEPLOYMENT, "--timeout=120s"]);
}

/// Its replicas are replaced, by ones that have seen nothing yet.
pub(crate) fn restart() {
    must(&["-n", NAMESPACE, "rollout", "restart", "deployment", DEPLOYMENT]);
    must(&["-n", NAMESPACE, "rollout", "status", "deployment", DEPLOYMENT, "--timeout=120s"]);
}

/// None runs until this is dropped.
pub(crate) struct Stopped;

/// Stops it, and waits until no process is left.
pub(crate) fn stop() -> Stopped {
    must(&["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=0"]);
    wait_for(180, "no operator", || pods().is_empty().then_some(()));
    Stopped
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kubectl(&["-n", NAMESPACE, "delete", "pod", MORTAL, "--ignore-not-found", "--grace-period=0", "--force"])
            .unwrap_or_default();
        if std::thread::panicking() {
            // Another panic would end the test without its words.
            kubectl(&["-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=2"]).unwrap_or_default();
        } else {
            start();
        }
    }
}

impl Stopped {
    /// Runs one that kills itself at a point, until it has.
    pub(crate) fn run_until(&self, point: &str) {
        let fault = json!({ "name": "CREMA_OPERATOR_FAULT", "value": point });
        let deployment = get(&["-n", NAMESPACE, "deployment", DEPLOYMENT]).expect("the operator's deployment");
        let mut spec = deployment["spec"]["template"]["spec"].clone();
        spec["restartPolicy"] = json!("Never");
        spec["containers"][0]["env"].as_array_mut().expect("variables").push(fault);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": MORTAL, "namespace": NAMESPACE },
            "spec": spec,
        });
        kubectl(&["-n", NAMESPACE, "delete", "pod", MORTAL, "--ignore-not-found", "--grace-period=0", "--force"])
            .unwrap_or_default();
        apply(&pod).unwrap_or_else(|error| panic!("start an operator: {error}"));
        wait_for(90, &format!("an operator that dies {point}"), || {
            let pod = get(&["-n", NAMESPACE, "pod", MORTAL])?;
            (pod["status"]["phase"] == "Failed").then_some(())
        });
    }
}

/// Who holds the lease.
pub(crate) fn leader() -> String {
    let lease = get(&["-n", NAMESPACE, "lease", DEPLOYMENT]).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
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

/// Its pods.
pub(crate) fn pods() -> Vec<Value> {
    list(&["-n", NAMESPACE, "pods", "--selector=app.kubernetes.io/name=crema-operator"])
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
