//! The definitions that the API server is given, as files.

use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{CremaCluster, yaml};

/// The first line of each file.
const HEADER: &str = "# Written by crdgen (cargo run -p crema-crds --bin crdgen); the types are in crds/src.\n";

/// Every definition: the name of its file, and its text.
///
/// # Errors
/// When a type can't be told in JSON, which would be a mistake in this crate.
pub fn definitions() -> serde_json::Result<Vec<(String, String)>> {
    let definition = serde_json::to_value(CremaCluster::crd())?;
    Ok(vec![("crema.io_cremaclusters.yaml".to_owned(), text(&definition))])
}

fn text(definition: &Value) -> String {
    format!("{HEADER}{}", yaml::to_string(definition))
}

#[cfg(test)]
mod tests;
