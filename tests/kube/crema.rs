//! One CremaCluster of a test, and what can be seen of it.

use std::net::SocketAddr;

use crema_tests::load::{Load, Told};
use serde_json::{Value, json};

use crate::{
    kubectl::{self, Namespace, apply, get, kubectl, list, must, wait_for},
    machines::{DOOMED, Doomed},
};

/// The image that clusters start with.
pub(crate) const IMAGE: &str = "ghcr.io/crema-cache/crema-node:0.1.0";
/// The same, under another name.
pub(crate) const NEXT_IMAGE: &str = "ghcr.io/crema-cache/crema-node:0.1.1";
/// One that no machine has, and no registry.
pub(crate) const NO_IMAGE: &str = "ghcr.io/crema-cache/crema-node:missing";
/// The name of every cluster: they are in namespaces of their own.
pub(crate) const NAME: &str = "shop";

const KIND: &str = "cremaclusters.crema.io";

/// Where a test's clusters keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Memory,
    Disk { when_deleted: &'static str },
}

/// A cluster.
pub(crate) struct Crema {
    pub(crate) namespace: Namespace,
}

impl Crema {
    /// Makes the namespace and a cluster of three, and waits until it is well.
    pub(crate) fn start(namespace: &str, storage: Storage) -> Self {
        Self::start_with(namespace, storage, &Value::Null)
    }

    /// The same with one pod on the machine that is to be lost; and that pod's number.
    pub(crate) fn start_doomed(namespace: &str, storage: Storage, machine: &Doomed) -> (Self, u32) {
        let crema = Self::start_with(namespace, storage, &machine.spec());
        let there = |ordinal: &u32| crema.machine_of(*ordinal).as_deref() == Some(DOOMED);
        let ordinal = (0..3).find(there).expect("a pod on the machine that it prefers");
        (crema, ordinal)
    }

    fn start_with(namespace: &str, storage: Storage, more: &Value) -> Self {
        crate::operator::ensure();
        let crema = Self { namespace: Namespace::new(namespace) };
        let mut object = crema.object(storage);
        if let (Some(spec), Some(more)) = (object["spec"].as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        apply(&object).unwrap_or_else(|error| panic!("create the cluster: {error}"));
        crema.wait_well(3);
        crema
    }

    /// Creates the object.
    pub(crate) fn create(&self, storage: Storage) {
        apply(&self.object(storage)).unwrap_or_else(|error| panic!("create the cluster: {error}"));
    }

    /// The object that tests begin with.
    pub(crate) fn object(&self, storage: Storage) -> Value {
        let storage = match storage {
            Storage::Memory => json!({ "type": "memory" }),
            Storage::Disk { when_deleted } => {
                json!({ "type": "rocksdb", "size": "1Gi", "retention": { "whenDeleted": when_deleted } })
            }
        };
        json!({
            "apiVersion": "crema.io/v1alpha1",
            "kind": "CremaCluster",
            "metadata": { "name": NAME, "namespace": self.namespace.name },
            "spec": {
                "replicas": 3,
                "shards": 8,
                "image": IMAGE,
                "storage": storage,
                "repair": { "after": "10s" },
            },
        })
    }

    /// kubectl in its namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(&["-n", &self.namespace.name].into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    }

    /// kubectl in its namespace, which must succeed.
    pub(crate) fn must(&self, args: &[&str]) -> String {
        must(&["-n", &self.namespace.name].into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    }

    /// An object of its namespace.
    pub(crate) fn get(&self, args: &[&str]) -> Option<Value> {
        get(&["-n", &self.namespace.name].into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    }

    /// Objects of its namespace.
    pub(crate) fn list(&self, args: &[&str]) -> Vec<Value> {
        list(&["-n", &self.namespace.name].into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    }

    /// Merges this into the spec; what the API server has against it, when it has.
    pub(crate) fn try_patch(&self, spec: &Value) -> Result<String, String> {
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", KIND, NAME, "--type=merge", "-p", &patch])
    }

    /// Merges this into the spec.
    pub(crate) fn patch(&self, spec: &Value) {
        self.try_patch(spec).unwrap_or_else(|error| panic!("patch {spec}: {error}"));
    }

    /// `kubectl scale`.
    pub(crate) fn scale(&self, replicas: u32) {
        self.must(&["scale", KIND, NAME, &format!("--replicas={replicas}")]);
    }

    /// Deletes the object, and waits until it is gone.
    pub(crate) fn delete(&self) {
        self.must(&["delete", KIND, NAME, "--timeout=60s"]);
    }

    /// Ends a pod without a chance to do anything.
    pub(crate) fn kill_pods(&self, ordinals: &[u32]) {
        let names: Vec<String> = ordinals.iter().map(|ordinal| format!("{NAME}-{ordinal}")).collect();
        let flags = ["delete", "pod", "--grace-period=0", "--force"];
        self.must(&flags.into_iter().chain(names.iter().map(String::as_str)).collect::<Vec<_>>());
    }

    /// The object; `null` when there is none.
    pub(crate) fn look(&self) -> Value {
        let namespace = &self.namespace.name;
        kubectl::look(&format!("/apis/crema.io/v1alpha1/namespaces/{namespace}/cremaclusters/{NAME}"))
            .unwrap_or_default()
    }

    /// A condition: its status, reason and message.
    pub(crate) fn condition(&self, kind: &str) -> Option<(String, String, String)> {
        let object = self.look();
        let all = object["status"]["conditions"].as_array()?;
        let one = all.iter().find(|one| one["type"] == kind)?;
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// The id of the cluster that is formed.
    pub(crate) fn id(&self) -> String {
        self.look()["status"]["clusterId"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until so many nodes hold every shard and nothing is left to be done.
    pub(crate) fn wait_well(&self, nodes: usize) {
        wait_for(&format!("{nodes} nodes that are well"), || self.is_well(nodes).then_some(()));
    }

    /// Whether status says of the present spec: so many nodes, every shard whole, nothing moves, nothing to wait for.
    pub(crate) fn is_well(&self, nodes: usize) -> bool {
        let object = self.look();
        let (status, count) = (&object["status"], json!(nodes));
        let condition = |kind: &str| {
            let all = status["conditions"].as_array();
            all.and_then(|all| all.iter().find(|one| one["type"] == kind)).map(|one| one["status"].clone())
        };
        let members =
            status["members"].as_array().map_or(0, |all| all.iter().filter(|one| one["state"] == "up").count());
        status["observedGeneration"] == object["metadata"]["generation"]
            && (&status["replicas"], &status["readyReplicas"]) == (&count, &count)
            && members == nodes
            && status["shards"]["healthy"] == status["shards"]["total"]
            && status["shards"]["moving"] == 0
            && condition("Available") == Some(json!("True"))
            && condition("Progressing") == Some(json!("False"))
            && condition("Degraded") == Some(json!("False"))
    }

    /// The pods, by ordinal.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let namespace = &self.namespace.name;
        let selector = "labelSelector=app.kubernetes.io%2Fcomponent%3Dcache";
        kubectl::look_at_all(&format!("/api/v1/namespaces/{namespace}/pods?{selector}"))
    }

    /// The image and the uid of each pod.
    pub(crate) fn images(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of_pod = |pod: &Value| (text(&pod["spec"]["containers"][0]["image"]), text(&pod["metadata"]["uid"]));
        self.pods().iter().map(of_pod).collect()
    }

    /// How many pods are ready.
    pub(crate) fn ready(&self) -> usize {
        self.pods().iter().filter(|pod| is_ready(pod)).count()
    }

    /// The machine that a pod is on.
    pub(crate) fn machine_of(&self, ordinal: u32) -> Option<String> {
        let namespace = &self.namespace.name;
        let pod = kubectl::look(&format!("/api/v1/namespaces/{namespace}/pods/{NAME}-{ordinal}"))?;
        pod["spec"]["nodeName"].as_str().map(str::to_owned)
    }

    /// Where Redis clients connect: the service.
    pub(crate) fn service(&self) -> SocketAddr {
        let ip = self.must(&["get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}"]);
        format!("{ip}:6379").parse().expect("an address of the service")
    }

    /// Clients that load the service.
    pub(crate) fn load(&self) -> Load {
        let load = Load::gentle(vec![self.service()], 16);
        load.wait_answers(20);
        load
    }

    /// Ends the load, reads everything once more at every node, and judges what was told: nothing acknowledged is lost.
    pub(crate) fn judge(&self, load: Load, name: &str) -> Told {
        load.wait_answers(20);
        let address = |pod: &Value| format!("{}:6379", pod["status"]["podIP"].as_str()?).parse().ok();
        let nodes: Vec<SocketAddr> = self.pods().iter().filter(|pod| is_ready(pod)).filter_map(address).collect();
        assert!(!nodes.is_empty(), "no pod has an address");
        let told = load.finish(&nodes);
        told.judge(name);
        told
    }

    /// As [`Self::judge`]; nobody was told of a failure either.
    pub(crate) fn judge_without_failures(&self, load: Load, name: &str) {
        let told = self.judge(load, name);
        assert!(told.errors.is_empty(), "{name}: requests failed: {:?}", told.errors);
    }

    /// Whether there is an event of this reason about the cluster.
    pub(crate) fn has_event(&self, reason: &str) -> bool {
        self.list(&["events", "--field-selector", &format!("reason={reason}")])
            .iter()
            .any(|event| event["involvedObject"]["name"] == NAME)
    }

    /// Puts an empty status, as a restore from a backup does.
    pub(crate) fn wipe_status(&self) {
        let mut object = self.look();
        object["status"] = json!({});
        let namespace = &self.namespace.name;
        kubectl::replace_raw(
            &format!("/apis/crema.io/v1alpha1/namespaces/{namespace}/cremaclusters/{NAME}/status"),
            &object,
        );
    }
}

/// Whether a pod, or another object with conditions, is ready.
pub(crate) fn is_ready(object: &Value) -> bool {
    let all = object["status"]["conditions"].as_array();
    all.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}
