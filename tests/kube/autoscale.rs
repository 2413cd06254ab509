//! An autoscaler on the scale subresource: load comes and goes, and nobody is told of a failure.

use std::fs;

use serde_json::{Value, json};

use crate::{
    crema::{Crema, NAME, Storage},
    kubectl::{apply, must},
    machines,
};

/// The version of autoscalers that knows metrics of resources, of those that are served.
fn version() -> &'static str {
    let served = must(&["api-versions"]);
    if served.lines().any(|line| line == "autoscaling/v2") { "autoscaling/v2" } else { "autoscaling/v2beta2" }
}

/// Between three and five nodes, of about 100 thousandths of a processor each.
fn autoscaler(namespace: &str) -> Value {
    let target = json!({ "type": "AverageValue", "averageValue": "100m" });
    json!({
        "apiVersion": version(),
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": NAME, "namespace": namespace },
        "spec": {
            "scaleTargetRef": { "apiVersion": "crema.io/v1alpha1", "kind": "CremaCluster", "name": NAME },
            "minReplicas": 3,
            "maxReplicas": 5,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": target } }],
        },
    })
}

/// What the stand-in for the metrics API says of every pod, until this is dropped.
struct Usage;

impl Usage {
    fn set(&self, millis: u32) {
        fs::write(machines::folder().join("cpu-millis"), millis.to_string()).expect("write the usage");
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        // Another test may not have begun with it.
        let _ = fs::remove_file(machines::folder().join("cpu-millis"));
    }
}

#[test]
fn both_ways() {
    let crema = Crema::start("autoscale", Storage::Memory);
    let load = crema.load();
    let usage = Usage;
    usage.set(250);
    let autoscaler = autoscaler(&crema.namespace.name);
    apply(&autoscaler).unwrap_or_else(|error| panic!("make an autoscaler: {error}"));
    crema.wait_well(5);
    usage.set(20);
    crema.wait_well(3);
    crema.judge_without_failures(load, "an autoscaler");
}
