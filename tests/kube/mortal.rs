//! An operator that kills itself at a point, and its successors.
//!
//! They are processes beside the machines, with the rights and the variables that the chart gives the operator's pods: a pod for
//! each would take most of the time.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;

use crate::{
    crema::Crema,
    kubectl::{get, list, must, wait_for},
    machines,
    operator::{DEPLOYMENT, NAMESPACE, Stopped},
};

/// What `abort` ends a process with.
const SIGABRT: i32 = 6;
/// What is other than in the pods: its name, and many may listen on this machine.
const OWN: [(&str, &str); 3] =
    [("POD_NAME", "mortal"), ("POD_NAMESPACE", NAMESPACE), ("CREMA_OPERATOR_HTTP_ADDR", "127.0.0.1:0")];

/// How operators are started while the real ones are stopped.
pub(crate) struct Mortal {
    variables: Vec<(String, String)>,
    /// The clusters of others are looked after, and kill nobody.
    namespace: String,
    started: u32,
    _stopped: Stopped,
}

impl Mortal {
    /// They die of what they do in this namespace only.
    pub(crate) fn new(stopped: Stopped, namespace: &str) -> Self {
        let deployment = get(&["-n", NAMESPACE, "deployment", DEPLOYMENT]).expect("the operator's deployment");
        let of_pods = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned();
        let pair =
            |variable: &Value| Some((variable["name"].as_str()?.to_owned(), variable["value"].as_str()?.to_owned()));
        let mut variables: Vec<_> = of_pods.unwrap_or_default().iter().filter_map(pair).collect();
        variables.extend(OWN.map(|(name, value)| (name.to_owned(), value.to_owned())));
        variables.push(("KUBECONFIG".to_owned(), kubeconfig().to_string_lossy().into_owned()));
        Self { variables, namespace: namespace.to_owned(), started: 0, _stopped: stopped }
    }

    /// Operators run, one after the other, until one has died before, and another one after, each of these steps.
    pub(crate) fn die_at(&mut self, steps: &[&str]) {
        let both = |step: &&str| [format!("before-{step}"), format!("after-{step}")];
        let mut points: BTreeSet<String> = steps.iter().flat_map(both).collect();
        while !points.is_empty() {
            let mut running = self.start(&points);
            let what = format!("an operator that dies at one of {points:?}");
            let ended = wait_for(&what, || running.ended());
            if ended.signal() != Some(SIGABRT) {
                println!("an operator ended: {ended}, {}; another one", running.last_words());
                continue;
            }
            let point = running.last_words();
            assert!(points.remove(&point), "died at {point:?}");
        }
    }

    /// Waits until a cluster is well under one that lives, and under another when that one ends: as a supervisor would, for
    /// an operator that could not renew its lease in time has to end.
    pub(crate) fn wait_well(&mut self, crema: &Crema, nodes: usize) {
        let mut running = self.start(&BTreeSet::new());
        wait_for(&format!("{nodes} nodes that are well under a successor"), || {
            if let Some(ended) = running.ended() {
                println!("a successor ended: {ended}, {}; another one", running.last_words());
                running = self.start(&BTreeSet::new());
            }
            crema.is_well(nodes).then_some(())
        });
    }

    fn start(&mut self, points: &BTreeSet<String>) -> Running {
        self.started += 1;
        let log = machines::folder().join("logs").join(format!("mortal-{}-{}", self.namespace, self.started));
        let file = fs::File::create(&log).expect("a log");
        let faults: Vec<String> = points.iter().map(|point| format!("{point}@{}", self.namespace)).collect();
        let binary = env::var_os("CREMA_OPERATOR_BIN").expect("CREMA_OPERATOR_BIN: `tests/run kube` sets it");
        let process = Command::new(binary)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs((!faults.is_empty()).then(|| ("CREMA_OPERATOR_FAULTS", faults.join(","))))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log"))
            .stderr(file)
            .spawn()
            .expect("start an operator");
        Running { process, log }
    }
}

/// A process that goes with the test.
struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("a process of ours")
    }

    /// The point that it died at, as it has logged, else the line that it logged last.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        let line: Value = serde_json::from_str(last).unwrap_or_default();
        let text = |field: &str| line["fields"][field].as_str().or_else(|| line[field].as_str());
        match (text("moment"), text("step")) {
            (Some(moment), Some(step)) => format!("{moment}-{step}"),
            _ => last.to_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What its service account may do, and no more.
fn kubeconfig() -> PathBuf {
    let path = machines::folder().join("mortal.kubeconfig");
    let text = path.to_string_lossy();
    let config = must(&["config", "view", "--raw", "--flatten", "--minify"]);
    fs::write(&path, config).expect("write a kubeconfig");
    let of_account = list(&["-n", NAMESPACE, "secrets", "--field-selector=type=kubernetes.io/service-account-token"])
        .into_iter()
        .find(|secret| secret["metadata"]["annotations"]["kubernetes.io/service-account.name"] == DEPLOYMENT)
        .expect("the token of the operator's account");
    let name = of_account["metadata"]["name"].as_str().expect("a name");
    let token = must(&["-n", NAMESPACE, "get", "secret", name, "-o", "go-template={{.data.token | base64decode}}"]);
    must(&["--kubeconfig", &text, "config", "set-credentials", "mortal", "--token", &token]);
    must(&["--kubeconfig", &text, "config", "set-context", "--current", "--user=mortal"]);
    path
}
