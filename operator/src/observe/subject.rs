//! The CremaCluster itself, whatever its spec says.

use crema_crds::{CremaCluster, CremaClusterSpec, CremaClusterStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, Resource as _,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use super::ObserveError;
use crate::{model::ObjectView, objects::Identity};

/// The object as it was read. Its spec may be one that no definition would let in: an object can be older than that.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its metadata.
    pub view: ObjectView,
    /// Its spec; else why it can't be read.
    pub spec: Result<CremaClusterSpec, String>,
    /// What its status said; one that can't be read is as good as wiped.
    pub status: CremaClusterStatus,
    object: DynamicObject,
}

impl Subject {
    /// Reads it; `None` when it is gone.
    ///
    /// # Errors
    /// The API server did not say.
    pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<Self>, ObserveError> {
        let object = Self::api(client, namespace).get_opt(name).await;
        let object = object.map_err(|source| ObserveError::of("the CremaCluster", source))?;
        Ok(object.and_then(Self::of))
    }

    /// Where it lives.
    #[must_use]
    pub fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<CremaCluster>(&()))
    }

    /// `None` for what the API server never gives.
    fn of(object: DynamicObject) -> Option<Self> {
        let meta = &object.metadata;
        let view = ObjectView {
            name: meta.name.clone()?,
            namespace: meta.namespace.clone()?,
            uid: meta.uid.clone()?,
            resource_version: meta.resource_version.clone()?,
            generation: meta.generation.unwrap_or(0),
            deleting: meta.deletion_timestamp.is_some(),
            annotations: meta.annotations.clone().unwrap_or_default(),
        };
        let part = |name: &str| object.data.get(name).cloned().unwrap_or(Value::Null);
        let spec = serde_json::from_value(part("spec")).map_err(|error| format!("spec: {error}"));
        let status = serde_json::from_value(part("status")).unwrap_or_default();
        Some(Self { view, spec, status, object })
    }

    /// Whose the objects are that are made for it, at this revision of its pods.
    #[must_use]
    pub fn identity(&self, revision: String) -> Identity {
        let ObjectView { name, namespace, uid, .. } = &self.view;
        Identity { name: name.clone(), namespace: namespace.clone(), uid: uid.clone(), revision }
    }

    /// What events are about.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(CremaCluster::api_version(&()).into_owned()),
            kind: Some(CremaCluster::kind(&()).into_owned()),
            name: Some(self.view.name.clone()),
            namespace: Some(self.view.namespace.clone()),
            uid: Some(self.view.uid.clone()),
            ..ObjectReference::default()
        }
    }

    /// The object with another status, to be written against this version of it.
    ///
    /// # Errors
    /// A status that can't be told in JSON.
    pub fn with_status(
        &self,
        resource_version: &str,
        status: &CremaClusterStatus,
    ) -> Result<DynamicObject, serde_json::Error> {
        let mut object = self.object.clone();
        object.metadata.resource_version = Some(resource_version.to_owned());
        // Who wrote what is for the API server to say.
        object.metadata.managed_fields = None;
        let status = serde_json::to_value(status)?;
        match &mut object.data {
            Value::Object(fields) => drop(fields.insert("status".to_owned(), status)),
            // An object without a spec has no fields at all.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                object.data = serde_json::json!({ "status": status });
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: &Value, status: &Value) -> Subject {
        let meta = json!({"name": "cart", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2});
        let value = json!({
            "apiVersion": "crema.io/v1alpha1", "kind": "CremaCluster", "metadata": meta, "spec": spec, "status": status,
        });
        Subject::of(serde_json::from_value(value).expect("an object")).expect("a subject")
    }

    #[test]
    fn a_spec_that_is_none_is_told_and_a_strange_status_forgotten() {
        let subject = object(&json!({"image": "crema:1", "replicas": "three"}), &json!({"replicas": []}));
        let error = subject.spec.expect_err("not a number");
        assert!(error.starts_with("spec: ") && error.contains("three"), "{error}");
        assert_eq!(subject.status, CremaClusterStatus::default());
        assert_eq!((subject.view.generation, subject.view.deleting), (2, false));
    }

    #[test]
    fn a_written_status_leaves_the_rest_as_it_is() {
        let subject = object(&json!({"image": "crema:1", "tomorrow": 1}), &json!({"replicas": 2}));
        assert_eq!(subject.status.replicas, 2);
        let status = CremaClusterStatus { replicas: 3, ..CremaClusterStatus::default() };
        let written = subject.with_status("9", &status).expect("an object");
        assert_eq!(written.metadata.resource_version.as_deref(), Some("9"));
        assert_eq!(written.metadata.uid.as_deref(), Some("u"));
        assert_eq!(written.data["spec"]["tomorrow"], 1);
        assert_eq!(written.data["status"]["replicas"], 3);
    }
}
