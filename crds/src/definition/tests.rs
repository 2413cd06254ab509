use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;

fn definition() -> Value {
    serde_json::to_value(CremaCluster::crd()).expect("JSON")
}

fn schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every property below a schema, with its path and schema.
fn properties(path: &str, schema: &Value, out: &mut Vec<(String, Value)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        out.push((path.clone(), property.clone()));
        properties(&path, property, out);
    }
}

fn spec_properties() -> Vec<(String, Value)> {
    let mut out = Vec::new();
    properties("spec", &schema()["properties"]["spec"], &mut out);
    assert!(out.len() > 50, "{out:?}");
    out
}

#[test]
fn what_is_in_the_folder_is_current() {
    for (name, text) in definitions().expect("definitions") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("REWRITE").is_some() {
            fs::write(&path, text).expect("rewrite a definition");
        } else {
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == text, "{path:?} is stale; cargo run -p crema-crds --bin crdgen writes it");
        }
    }
}

#[test]
fn every_field_says_when_a_change_takes_effect() {
    for (path, property) in spec_properties() {
        let text = property["description"].as_str().unwrap_or_default().to_lowercase();
        let says = ["live", "rolling", "immutable"].iter().any(|word| text.contains(word));
        assert!(says || property.get("properties").is_some(), "{path}: {text:?}");
    }
}

#[test]
fn a_default_that_is_not_needed_is_left_to_the_operator() {
    let defaults: Vec<_> = spec_properties()
        .into_iter()
        .filter_map(|(path, property)| Some((path, property.get("default")?.clone())))
        .collect();
    let wanted = [
        ("spec.replicas", json!(3)),
        ("spec.replicationFactor", json!(3)),
        ("spec.shards", json!(16)),
        ("spec.storage", json!({ "type": "memory" })),
        ("spec.storage.type", json!("memory")),
    ];
    let mut defaults: Vec<_> = defaults.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    defaults.sort_by_key(|(path, _)| *path);
    assert_eq!(defaults, wanted);
}

#[test]
fn the_rules_have_messages_that_name_a_field() {
    let mut rules: Vec<Value> = Vec::new();
    let mut all = spec_properties();
    all.push(("spec".to_owned(), schema()["properties"]["spec"].clone()));
    all.push((String::new(), schema()));
    for (_, property) in &all {
        rules.extend(property["x-kubernetes-validations"].as_array().into_iter().flatten().cloned());
    }
    assert!(rules.len() >= 12, "{rules:#?}");
    for rule in rules {
        let message = rule["message"].as_str().unwrap_or_default();
        assert!(message.contains(": "), "{rule}");
    }
}

#[test]
fn it_can_be_scaled_and_looked_at() {
    let version = &definition()["spec"]["versions"][0];
    let scale = json!({
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    });
    assert_eq!(version["subresources"], json!({ "scale": scale, "status": {} }));
    let columns: Vec<_> =
        version["additionalPrinterColumns"].as_array().into_iter().flatten().map(|column| &column["name"]).collect();
    assert_eq!(columns, ["Ready", "Nodes", "Shards", "Quorum", "Moving", "Version", "Age"]);
    assert_eq!(definition()["spec"]["names"]["shortNames"], json!(["crema"]));
    assert_eq!(definition()["spec"]["scope"], "Namespaced");
}

#[test]
fn the_text_is_small_enough_for_an_annotation_of_kubectl() {
    for (name, text) in definitions().expect("definitions") {
        assert!(text.len() < 128 << 10, "{name} has {} bytes", text.len());
    }
}
