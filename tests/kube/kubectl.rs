//! kubectl, as a person types it; and its proxy, for what is asked again and again.

use std::{
    env,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crema_tests::http;
use serde_json::{Value, json};

/// Runs kubectl to its end.
fn run(args: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new("kubectl");
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().expect("start kubectl");
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        pipe.write_all(text.as_bytes()).expect("write to kubectl");
    }
    child.wait_with_output().expect("wait for kubectl")
}

fn told(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What it prints, or what it complains of.
pub(crate) fn kubectl(args: &[&str]) -> Result<String, String> {
    told(&run(args, None))
}

/// What it prints.
pub(crate) fn must(args: &[&str]) -> String {
    kubectl(args).unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
}

/// An object or a list, as JSON; `None` when there is no such object.
pub(crate) fn get(args: &[&str]) -> Option<Value> {
    let args: Vec<&str> = ["get", "-o", "json"].into_iter().chain(args.iter().copied()).collect();
    match kubectl(&args) {
        Ok(text) => Some(serde_json::from_str(&text).expect("JSON from kubectl")),
        Err(error) if error.contains("NotFound") => None,
        Err(error) => panic!("kubectl {args:?}: {error}"),
    }
}

/// The items of a list.
pub(crate) fn list(args: &[&str]) -> Vec<Value> {
    get(args).and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
}

/// What the API has at a path, by `kubectl proxy`; `None` when there is no such object.
pub(crate) fn look(path: &str) -> Option<Value> {
    let port = env::var("API_PROXY_PORT").expect("API_PROXY_PORT: these tests are run by `tests/run kube`");
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port")));
    // A control plane that is busy may take its time.
    let ask = || http::get(proxy, path).ok().filter(|(status, _)| matches!(status, 200 | 404));
    let (status, body) = wait_for_quietly(path, ask);
    (status == 200).then(|| serde_json::from_str(&body).expect("JSON from the API"))
}

/// The items of a list at a path, ascending by name.
pub(crate) fn look_at_all(path: &str) -> Vec<Value> {
    look(path).and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
}

/// Applies an object; what the API server has against it, when it has.
pub(crate) fn apply(object: &Value) -> Result<String, String> {
    told(&run(&["apply", "-f", "-"], Some(&object.to_string())))
}

/// Puts an object to a path of the API.
pub(crate) fn replace_raw(path: &str, object: &Value) {
    let output = run(&["replace", "--raw", path, "-f", "-"], Some(&object.to_string()));
    told(&output).unwrap_or_else(|error| panic!("put {path}: {error}"));
}

/// How long anything may take: other tests kill the operator meanwhile, and fill the machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let answer = wait_for_quietly(what, ask);
    println!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    answer
}

fn wait_for_quietly<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_secs(1));
    }
}

/// A namespace of a test's own; it goes with the test, which does not wait for that.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        // What an earlier attempt has left would be found instead.
        kubectl(&["delete", "namespace", name, "--ignore-not-found"]).unwrap_or_default();
        must(&["create", "namespace", name]);
        Self { name: name.to_owned() }
    }

    /// What a person would look at after a failure.
    fn describe(&self) {
        let looks: [&[&str]; 4] = [
            &["get", "pods,statefulsets,pvc", "-o", "wide"],
            &["get", "cremaclusters", "-o", "yaml"],
            &["get", "events", "--sort-by=.metadata.creationTimestamp"],
            &["logs", "--prefix", "--tail=15", "--selector=app.kubernetes.io/component=cache"],
        ];
        for look in looks {
            let args: Vec<&str> = ["-n", &self.name].into_iter().chain(look.iter().copied()).collect();
            eprintln!("---- kubectl {args:?}\n{}", kubectl(&args).unwrap_or_else(|error| error));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if thread::panicking() {
            self.describe();
            crate::operator::describe();
        }
        // The next test needs room, not that this one is gone.
        kubectl(&["delete", "namespace", &self.name, "--wait=false"]).unwrap_or_default();
    }
}

/// A pod of Redis's own client that waits to be used, and a command in it.
pub(crate) struct RedisPod<'a> {
    namespace: &'a str,
}

impl<'a> RedisPod<'a> {
    pub(crate) fn start(namespace: &'a str) -> Self {
        let container = json!({
            "name": "tools",
            "image": "registry.test/tools:1",
            "args": ["sleep", "86400"],
        });
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "redis", "namespace": namespace },
            "spec": { "containers": [container], "terminationGracePeriodSeconds": 0 },
        });
        apply(&pod).unwrap_or_else(|error| panic!("start a pod: {error}"));
        must(&["-n", namespace, "wait", "--for=condition=Ready", "pod/redis", "--timeout=60s"]);
        Self { namespace }
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, host: &str, args: &[&str]) -> Result<String, String> {
        let own = ["-n", self.namespace, "exec", "redis", "--", "redis-cli", "-h", host];
        kubectl(&own.into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    }
}
